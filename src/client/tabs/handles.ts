import type { ClientEvents, EventName } from "../events.js";
import { assertFingerprint } from "../identity/safety-number.js";
import type { Calls, EventData, EventDataName } from "./core.js";

type Answer = (accept: boolean, fingerprint: string | undefined) => Promise<void>;

/** Makes events into data: what can be answered gets a handle, the same for every owner of the store. */
export class Handles {
  readonly #answers = new Map<string, Answer>();

  /** The event as data. */
  toData<Name extends Exclude<EventName, "message">>(name: Name, event: ClientEvents[Name]): EventData[Name] {
    switch (name) {
      case "joinRequest": {
        const { approve, reject, ...data } = event as ClientEvents["joinRequest"];
        const handle = JSON.stringify([name, data.group, data.userId, data.fingerprint]);
        this.#answers.set(handle, (accept, fingerprint) =>
          accept ? approve(fingerprint === undefined ? {} : { fingerprint }) : reject(),
        );
        return { handle, ...data } as unknown as EventData[Name];
      }
      case "invitation": {
        const { accept: take, reject, ...data } = event as ClientEvents["invitation"];
        const handle = JSON.stringify([name, data.group, data.from]);
        this.#answers.set(handle, (accept) => (accept ? take() : reject()));
        return { handle, ...data } as unknown as EventData[Name];
      }
      default:
        return event as unknown as EventData[Name];
    }
  }

  /** What answers the event of this handle, once it was shown. */
  get(handle: string): Answer | undefined {
    return this.#answers.get(handle);
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
