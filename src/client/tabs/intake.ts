import type { MessageData } from "../events.js";

/** How many messages that the app is done with are remembered. One of each conversation can come again at most. */
const MAX_REMEMBERED = 4096;

/**
 * Hands messages to the app of this tab, once each, whichever tab owns the store meanwhile: what the app is busy with
 * is not handed over again, nor what it is done with.
 */
export class Intake {
  readonly #deliver: (message: MessageData) => Promise<void>;
  readonly #busy = new Map<string, Promise<void>>();
  readonly #done = new Set<string>();
  /** The last message of each conversation that the app is busy with or will be. */
  readonly #last = new Map<string, Promise<void>>();

  constructor(deliver: (message: MessageData) => Promise<void>) {
    this.#deliver = deliver;
  }

  /** Resolves when the app is done with the message; rejects when it did not take it. */
  take(message: MessageData): Promise<void> {
    // A message's id is its sender's to choose.
    const key = JSON.stringify([message.from, message.group ?? null, message.id]);
    if (this.#done.has(key)) return Promise.resolve();
    const busy = this.#busy.get(key);
    if (busy !== undefined) return busy;
    const taking = this.#next(message)
      .then(() => this.#remember(key))
      .finally(() => this.#busy.delete(key));
    this.#busy.set(key, taking);
    return taking;
  }

  /** Hands it over when the app is done with what came before it in the same conversation. */
  async #next(message: MessageData): Promise<void> {
    const conversation = JSON.stringify([message.group ?? null, message.group === undefined && message.from]);
    const before = this.#last.get(conversation);
    const taking = before === undefined ? this.#deliver(message) : this.#after(before, message);
    this.#last.set(conversation, taking);
    try {
      await taking;
    } finally {
      if (this.#last.get(conversation) === taking) this.#last.delete(conversation);
    }
  }

  async #after(before: Promise<void>, message: MessageData): Promise<void> {
    await before.catch(() => {});
    await this.#deliver(message);
  }

  #remember(key: string): void {
    this.#done.add(key);
    for (const oldest of this.#done) {
      if (this.#done.size <= MAX_REMEMBERED) break;
      this.#done.delete(oldest);
    }
  }

  /** Resolves when the app is done with all that it has. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#busy.values());
  }
}
