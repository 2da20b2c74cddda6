import { createIndexedDbPlace } from "../contracts/indexeddb-place.js";
import { indexedDbSuite } from "../contracts/indexeddb-suite.js";
import { databaseContract, storeContract } from "../contracts/store-suite.js";

const name = "indexedDbStore";
storeContract({ name, create: createIndexedDbPlace, takesNonExtractable: true });
databaseContract(name, createIndexedDbPlace);
indexedDbSuite((database) => database.dispatchEvent(new Event("close")));
