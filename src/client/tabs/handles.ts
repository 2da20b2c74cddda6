import { assertOptions } from "../../base/arguments.js";
import { SubrosaError } from "../../base/errors.js";
import type { ClientEvents, EventName, RaisedEvents } from "../events.js";
import { assertFingerprint } from "../identity/safety-number.js";
import type { Calls, EventData, EventDataName } from "./core.js";

/** How many unanswered ones, and handles of others, are kept. The oldest go first. */
const MAX_KEPT = 1000;

/** Something that was shown and can be answered. */
interface Open {
  readonly name: "joinRequest" | "invitation";
  readonly data: EventData["joinRequest"] | EventData["invitation"];
  readonly answer: (accept: boolean, fingerprint: string | undefined) => Promise<void>;
  /** Whether there is still something to answer. */
  readonly isOpen?: () => boolean;
}

/**
 * Makes events into data: what can be answered gets a handle, made of what tells it from all others, so that every
 * owner of the store gives it the same.
 */
export class Handles {
  readonly #open = new Map<string, Open>();
  /** Handles of what was answered, or is over. */
  readonly #closed = new Set<string>();

  /** The event as data. */
  toData<Name extends Exclude<EventName, "message">>(name: Name, event: RaisedEvents[Name]): EventData[Name] {
    switch (name) {
      case "joinRequest": {
        const { approve, reject, id, ...rest } = event as RaisedEvents["joinRequest"];
        const data = { handle: `${name} ${id}`, ...rest };
        const answer: Open["answer"] = (accept, fingerprint) =>
          accept ? approve(fingerprint === undefined ? {} : { fingerprint }) : reject();
        this.#add({ name, data, answer });
        return data as unknown as EventData[Name];
      }
      case "invitation": {
        const { accept: take, reject, isOpen, id, ...rest } = event as RaisedEvents["invitation"];
        const data = { handle: `${name} ${id}`, ...rest };
        this.#add({ name, data, isOpen, answer: (accept) => (accept ? take() : reject()) });
        return data as unknown as EventData[Name];
      }
      case "memberJoin": {
        const { group, userId } = event as RaisedEvents["memberJoin"];
        this.#drop(({ data }) => data.group === group && "userId" in data && data.userId === userId);
        break;
      }
      case "groupUpdated": {
        const { name: change } = event as RaisedEvents["groupUpdated"];
        for (const [handle, open] of this.#open) {
          if (change === undefined || open.data.group !== change.before) continue;
          this.#open.set(handle, { ...open, data: { ...open.data, group: change.after } });
        }
        break;
      }
      case "groupJoin":
      case "groupLeave":
      case "groupDeleted": {
        const { group } = event as RaisedEvents["groupDeleted"];
        this.#drop(({ data }) => data.group === group);
      }
    }
    return event as unknown as EventData[Name];
  }

  #add(open: Open): void {
    const { handle } = open.data;
    this.#closed.delete(handle);
    this.#open.delete(handle);
    this.#open.set(handle, open);
    const [oldest] = this.#open.keys();
    if (this.#open.size > MAX_KEPT && oldest !== undefined) this.#open.delete(oldest);
  }

  /** What somebody else has answered, or what is over, is not shown to further tabs. */
  #drop(isOver: (open: Open) => boolean): void {
    for (const open of this.#open.values()) if (isOver(open)) this.#close(open.data.handle);
  }

  #close(handle: string): void {
    this.#open.delete(handle);
    this.#closed.add(handle);
    const [oldest] = this.#closed;
    if (this.#closed.size > MAX_KEPT && oldest !== undefined) this.#closed.delete(oldest);
  }

  /** Whether it was shown here, answered or not. */
  has(handle: string): boolean {
    return this.#open.has(handle) || this.#closed.has(handle);
  }

  /** What was shown and waits for an answer. */
  open(): Open[] {
    return [...this.#open.values()].filter(({ isOpen }) => isOpen?.() !== false);
  }

  /** Another device has taken the place of the one that has shown all this: what still stands, it shows again. */
  renew(): void {
    for (const [handle, open] of this.#open) {
      const answer = async () => {
        throw new SubrosaError(
          "not-a-member",
          "this device has taken the place of another since: wait for the next event",
        );
      };
      this.#open.set(handle, { ...open, answer, isOpen: () => false });
    }
  }

  /** Answers; what is not open was answered before, which does nothing. */
  async answer(handle: string, accept: boolean, fingerprint?: string): Promise<void> {
    const open = this.#open.get(handle);
    await open?.answer(accept, fingerprint);
    if (open !== undefined && this.#open.get(handle) === open) this.#close(handle);
  }
}

/** The event as the app gets it. */
export function fromData<Name extends EventDataName>(
  name: Name,
  data: EventData[Name],
  answer: Calls["answer"],
): ClientEvents[Name] {
  switch (name) {
    case "joinRequest": {
      const { handle, ...event } = data as EventData["joinRequest"];
      return {
        ...event,
        approve: async (options: { fingerprint?: string } = {}) => {
          assertOptions(options, { fingerprint: true });
          assertFingerprint(options.fingerprint);
          await answer(handle, true, options.fingerprint);
        },
        reject: () => answer(handle, false),
      } as ClientEvents[Name];
    }
    case "invitation": {
      const { handle, ...event } = data as EventData["invitation"];
      return {
        ...event,
        accept: () => answer(handle, true),
        reject: () => answer(handle, false),
      } as ClientEvents[Name];
    }
    default:
      return data as unknown as ClientEvents[Name];
  }
}
