import { toHex } from "../../src/base/encoding.js";
import { RelayCore } from "../../src/relay/core.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import type { Kv, KvChanges } from "../../src/relay/embedded/kv.js";
import type { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import { DEFAULT_LIMITS } from "../../src/relay/limits.js";
import type { Cable } from "./cable.js";
import type { Process } from "./clock.js";
import type { World } from "./world.js";

/** Looks for what can be dropped more often than a real relay, so that a run sees it. */
const LIMITS = { ...DEFAULT_LIMITS, maintenanceInterval: 12_000 };

/** One run of the relay's process, on a storage that outlives it. */
export class RelayProcess implements Process {
  alive = true;
  frozen = false;
  readonly #core: RelayCore;

  constructor(world: World, kv: MemoryKv) {
    const durable: Kv = {
      get: (key) => (world.planted.relayForgets?.(key) ? undefined : kv.get(key)),
      range: (start, end) => kv.range(start, end),
      write: (changes: KvChanges) =>
        world.write(this, `relay ${changes.size}`, () => {
          world.truth.noteRelay(changes);
          void kv.write(changes);
        }),
      soon: (write) => queueMicrotask(write),
      sizes: () => kv.sizes(),
      close: () => kv.close(),
    };
    this.#core = new RelayCore({
      storage: new EmbeddedStorage(durable),
      limits: LIMITS,
      clock: world.clock.of(this),
      randomId: (length) => world.ids.bytes(length),
      onError: (error) => {
        if (this.alive) world.problems.push(`relay: ${error instanceof Error ? error.stack : error}`);
      },
    });
  }

  /** Plugs a new cable in; false if the relay refuses. */
  accept(cable: Cable): boolean {
    const session = this.#core.accept(
      {
        bufferedAmount: 0,
        send: (frame) => {
          if (this.alive) cable.sendDown(frame);
        },
        drained: async () => {},
        close: (code, reason) => {
          if (this.alive) cable.closeDown({ code, reason });
        },
        pause: () => {
          cable.paused = true;
        },
        resume: () => {
          cable.paused = false;
        },
      },
      "relay.test",
    );
    if (session !== undefined) cable.relay = session;
    return session !== undefined;
  }
}

/** A storage's contents, to be kept or compared. */
export function contentsOf(kv: MemoryKv): Map<string, Uint8Array<ArrayBuffer>> {
  return new Map(kv.range("", "\u{ffff}"));
}

export const shortHex = (bytes: Uint8Array) => toHex(bytes).slice(0, 8);
