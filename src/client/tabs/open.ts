import { systemClock } from "../../base/clock.js";
import { randomBytes } from "../../crypto/random.js";
import { defaultStore, hasIndexedDb } from "../../stores/default.js";
import { indexedDbStore } from "../../stores/indexeddb.js";
import type { ClientOptions, Seams } from "../options.js";
import type { Core, CoreHandler } from "./core.js";
import { LocalCore } from "./local-core.js";
import { browserTabs } from "./platform.js";
import { TabCore } from "./tab-core.js";

/**
 * Opens the client behind the surface: one of several tabs that share this browser's store, where tabs can find each
 * other; else one that has its store for itself. Throws what opening throws.
 */
export async function openCore(options: ClientOptions, seams: Seams, handler: CoreHandler): Promise<Core> {
  const { store = defaultStore() } = options;
  const isShareable = options.store === undefined && hasIndexedDb();
  const platform = seams.tabs ?? (isShareable ? browserTabs() : undefined);
  if (platform === undefined) return LocalCore.open(options, store, seams, handler);
  return TabCore.open({
    client: options,
    store: isShareable ? indexedDbStore({ takeOver: true }) : store,
    seams,
    platform,
    clock: seams.clock ?? systemClock,
    randomId: seams.randomId ?? randomBytes,
    handler,
  });
}
