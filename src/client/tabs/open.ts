import { defaultStore } from "../../stores/default.js";
import type { ClientOptions, Seams } from "../options.js";
import type { Core, CoreHandler } from "./core.js";
import { LocalCore } from "./local-core.js";

/** Opens the client behind the surface. */
export function openCore(options: ClientOptions, seams: Seams, handler: CoreHandler): Promise<Core> {
  const { store = defaultStore() } = options;
  return LocalCore.open(options, store, seams, handler);
}
