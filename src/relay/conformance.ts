import type { ConformanceCase } from "./conformance/cases.js";
import type { OpenedStorage } from "./conformance/world.js";

export type { ConformanceCase, OpenedStorage };

/**
 * What every {@link RelayStorage} must do, for people who bring their own: each case opens a storage that holds
 * nothing and rejects with an `AssertionError` if it does otherwise. The cases are the ones that the storages of
 * this package are held to, and need no test framework:
 *
 * ```ts
 * import { test } from "node:test";
 * for (const { name, run } of await relayStorageConformance(open)) test(name, run);
 * ```
 */
export async function relayStorageConformance(
  open: () => Promise<OpenedStorage>,
): Promise<readonly ConformanceCase[]> {
  // Relays that only serve do not load it.
  const { conformanceCases } = await import("./conformance/cases.js");
  return conformanceCases(open);
}
