import * as fake from "fake-indexeddb";
import { vi } from "vitest";
import { createIndexedDbPlace } from "../../contracts/indexeddb-place.js";
import { indexedDbSuite } from "../../contracts/indexeddb-suite.js";
import { databaseContract, storeContract } from "../../contracts/store-suite.js";
import { InProcessLocks } from "./in-process-locks.js";

for (const [name, value] of Object.entries(fake)) {
  if (/^(IDB|indexedDB)/.test(name)) vi.stubGlobal(name, value);
}
vi.stubGlobal("navigator", { locks: new InProcessLocks() });

const name = "indexedDbStore on fake-indexeddb";
storeContract({ name, create: createIndexedDbPlace, takesNonExtractable: true });
databaseContract(name, createIndexedDbPlace);
indexedDbSuite(fake.forceCloseDatabase as unknown as (database: IDBDatabase) => void);
