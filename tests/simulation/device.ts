import type { ErrorCode } from "../../src/base/errors.js";
import { SubrosaError } from "../../src/base/errors.js";
import type { Client } from "../../src/client/client.js";
import { decodeStoredMessage } from "../../src/client/delivery/pending-message.js";
import type { EventName, Message } from "../../src/client/events.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { type Records, Space } from "../../src/stores/records.js";
import { plainSealing } from "../../src/stores/sealing.js";
import { RecordSession } from "../../src/stores/session.js";
import type { Store } from "../../src/stores/store.js";
import { apply, of, type Place } from "../client/crash-world.js";
import type { Cable } from "./cable.js";
import type { Process } from "./clock.js";
import type { World } from "./world.js";

/** One call of an app, and how it ended as far as the app knows. */
export interface Call {
  readonly user: string;
  readonly name: string;
  outcome: "open" | "done" | "never known" | ErrorCode;
  /** At which of the world's steps it ended. */
  endedAt: number;
}

/** One run of a client's process. */
export interface Life extends Process {
  readonly number: number;
  readonly device: Device;
  client: Client;
  readonly cables: Set<Cable>;
  readonly calls: Set<Call>;
  /** False once another process has taken the store over: what this one's app still hears counts for nothing. */
  attached: boolean;
  /** Requests that it sent, for the network to repeat. */
  requests: readonly Uint8Array[];
  /** Frames with entries that it got on its present connection. */
  entries: Uint8Array[];
  /** The app is closing the client. */
  closing: boolean;
}

/** When an app heard something: in which of its lives, and after what else. */
export interface Heard {
  readonly life: number;
  readonly order: number;
}

const never = new Promise<never>(() => {});

/** A user's device: its disk, and the processes that run on it one after the other. */
export class Device {
  readonly user: string;
  place: Place;
  /** Its disk as it once was. */
  copy: Place | undefined;
  /** At which of the world's steps it was set back to {@link copy}: what it knew since then is gone. */
  setBackAt: number | undefined;
  life: Life | undefined;
  /** Who has the store open. */
  holder: Life | undefined;
  /** Frozen processes whose store another has taken over, or will. */
  readonly ghosts = new Set<Life>();
  lives = 0;
  /** Everything its app got, over all lives. */
  readonly taken: (Message & Heard)[] = [];
  readonly events: ({ readonly name: EventName; readonly event: unknown } & Heard)[] = [];
  /** Ids of messages that a process left for the next one to hand over again. */
  readonly pendingAtDeath = new Set<string>();

  constructor(user: string, place: Place) {
    this.user = user;
    this.place = place;
  }

  get setBack(): boolean {
    return this.setBackAt !== undefined;
  }

  notePending(): void {
    for (const [, value] of this.place.under(layout.pending)) {
      this.pendingAtDeath.add(decode(decodeStoredMessage, value).id);
    }
  }

  /** What frozen processes do from now on has no effect, and what their apps hear nobody counts. */
  #detachGhosts(steps: number): void {
    for (const ghost of this.ghosts) {
      if (!ghost.attached) continue;
      ghost.attached = false;
      for (const call of ghost.calls) Object.assign(call, { outcome: "never known", endedAt: steps });
      this.notePending();
    }
  }

  /** The store as one process sees it: writes pass the scheduler, and only the present owner's are taken. */
  store(world: World, life: () => Life): Store {
    const durable = (name: string, work: () => void) =>
      world.write(life(), `${this.user} ${name}`, () => {
        work();
      });
    return {
      open: async () => {
        const holder = this.holder;
        if (holder?.alive && !holder.frozen) throw new SubrosaError("store-in-use", "another has it open");
        this.holder = life();
        await durable("open", () => {
          this.place.owner++;
          this.#detachGhosts(world.steps);
        });
        const place = this.place;
        const owner = place.owner;
        const records: Records = {
          read: async (space, key) => {
            if (!life().alive) return never;
            if (space === Space.values && world.planted.forgets?.(key)) return undefined;
            return of(place, space).get(key);
          },
          range: async (range) => (life().alive ? place.values.range(range) : never),
          commit: (changes) =>
            durable(`writes ${changes.length}`, () => {
              if (place.owner !== owner && !world.planted.ownerUnchecked)
                throw new SubrosaError("store-in-use", "another owner has opened the store");
              apply(place, changes);
              world.truth.noteStore(this.user, changes, world.clock.now);
            }),
          close: async () => {
            if (this.holder === life()) this.holder = undefined;
          },
        };
        const firstUse = place.values.size === 0 && place.keys.size === 0;
        return new RecordSession({ owner, firstUse, records, sealing: plainSealing });
      },
    };
  }
}
