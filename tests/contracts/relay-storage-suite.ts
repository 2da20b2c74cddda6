import { describe, it } from "vitest";
import { type OpenedStorage, relayStorageConformance } from "../../src/relay.js";

/** Holds a storage to what every RelayStorage must do; the cases ship with the package, in src/relay/conformance. */
export function relayStorageSuite(name: string, open: () => Promise<OpenedStorage>): void {
  describe(`relay storage: ${name}`, async () => {
    for (const one of await relayStorageConformance(open)) it(one.name, one.run);
  });
}
