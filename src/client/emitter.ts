import type { ClientEvents, EventName, Listener } from "./events.js";

type AnyListener = (event: never) => unknown;

/** Listeners by event. What a listener throws, or rejects with, goes to the platform's error report and stops nothing. */
export class Emitter {
  readonly #listeners = new Map<EventName, Set<AnyListener>>();

  /** Adds a listener; the result removes it. */
  on<Name extends EventName>(name: Name, listener: Listener<Name>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // An own function for each call, so that one listener can be added twice and removed once.
    const entry: AnyListener = (event: ClientEvents[Name]) => listener(event);
    listeners.add(entry);
    return () => void listeners.delete(entry);
  }

  emit<Name extends EventName>(name: Name, event: ClientEvents[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      void settled(() => (listener as Listener<Name>)(event));
    }
  }
}

/** Runs what belongs to the app; resolves when it is done, well or not. */
export async function settled(call: () => unknown): Promise<void> {
  try {
    await call();
  } catch (error) {
    const { reportError } = globalThis as { reportError?: (error: unknown) => void };
    if (reportError !== undefined) reportError(error);
    else console.error(error);
  }
}
