import type { ClientEvents, EventName } from "../events.js";
import { assertFingerprint } from "../identity/safety-number.js";
import type { Calls, EventData, EventDataName } from "./core.js";

/** How many unanswered ones are kept. The oldest go first. */
const MAX_OPEN = 1000;

/** Something that was shown and can be answered. */
interface Open {
  readonly name: "joinRequest" | "invitation";
  readonly data: EventData["joinRequest"] | EventData["invitation"];
  readonly answer: (accept: boolean, fingerprint: string | undefined) => Promise<void>;
}

/** Makes events into data: what can be answered gets a handle, the same for every owner of the store. */
export class Handles {
  readonly #open = new Map<string, Open>();

  /** The event as data. */
  toData<Name extends Exclude<EventName, "message">>(name: Name, event: ClientEvents[Name]): EventData[Name] {
    switch (name) {
      case "joinRequest": {
        const { approve, reject, ...rest } = event as ClientEvents["joinRequest"];
        const data = { handle: JSON.stringify([name, rest.group, rest.userId, rest.fingerprint]), ...rest };
        const answer: Open["answer"] = (accept, fingerprint) =>
          accept ? approve(fingerprint === undefined ? {} : { fingerprint }) : reject();
        this.#add({ name, data, answer });
        return data as unknown as EventData[Name];
      }
      case "invitation": {
        const { accept: take, reject, ...rest } = event as ClientEvents["invitation"];
        const data = { handle: JSON.stringify([name, rest.group, rest.from]), ...rest };
        this.#add({ name, data, answer: (accept) => (accept ? take() : reject()) });
        return data as unknown as EventData[Name];
      }
      default:
        return event as unknown as EventData[Name];
    }
  }

  #add(open: Open): void {
    this.#open.delete(open.data.handle);
    this.#open.set(open.data.handle, open);
    const [oldest] = this.#open.keys();
    if (this.#open.size > MAX_OPEN && oldest !== undefined) this.#open.delete(oldest);
  }

  has(handle: string): boolean {
    return this.#open.has(handle);
  }

  /** What was shown and not answered through here. */
  open(): Open[] {
    return [...this.#open.values()];
  }

  /** Answers; what is not open was answered before, which does nothing. */
  async answer(handle: string, accept: boolean, fingerprint?: string): Promise<void> {
    const open = this.#open.get(handle);
    await open?.answer(accept, fingerprint);
    if (this.#open.get(handle) === open) this.#open.delete(handle);
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
