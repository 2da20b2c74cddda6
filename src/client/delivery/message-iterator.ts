import type { SubrosaError } from "../../base/errors.js";
import type { Message } from "../events.js";
import type { Consumer } from "./delivery.js";

interface Offer {
  readonly message: Message;
  readonly take: () => void;
  readonly leave: (reason: Error) => void;
}

/** How an iterator and the delivery find each other. */
export interface Source {
  add(consumer: Consumer<Message>): void;
  remove(consumer: Consumer<Message>): void;
}

/**
 * Messages one at a time. The next call of `next()` says that the one before is done with; leaving the loop by
 * `break`, `return` or an exception does not, and the message comes again.
 */
export class MessageIterator implements AsyncIterableIterator<Message> {
  readonly #source: Source;
  readonly #offers: Offer[] = [];
  #current: Offer | undefined;
  #waiting: ((result: IteratorResult<Message> | Promise<never>) => void) | undefined;
  #done = false;
  /** Why no message can come any more, if not because nobody wants one. */
  #error: SubrosaError | undefined;

  constructor(source: Source, signal?: AbortSignal) {
    this.#source = source;
    if (signal?.aborted) this.#done = true;
    else {
      source.add(this.#consume);
      signal?.addEventListener("abort", () => this.end(), { once: true });
    }
  }

  /** Whether it was ended. */
  get isDone(): boolean {
    return this.#done;
  }

  readonly #consume: Consumer<Message> = (message) =>
    new Promise<void>((take, leave) => {
      this.#offers.push({ message, take, leave });
      this.#serve();
    });

  #serve(): void {
    if (this.#waiting === undefined) return;
    const offer = this.#offers.shift();
    if (offer === undefined) return;
    const resolve = this.#waiting;
    this.#waiting = undefined;
    this.#current = offer;
    resolve({ done: false, value: offer.message });
  }

  next(): Promise<IteratorResult<Message>> {
    this.#current?.take();
    this.#current = undefined;
    return new Promise((resolve) => {
      // A second call before the first was answered ends the first, which nobody can be waiting for in a loop.
      this.#waiting?.({ done: true, value: undefined });
      this.#waiting = resolve;
      if (this.#done) this.#answerLast();
      else this.#serve();
    });
  }

  return(): Promise<IteratorResult<Message>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Ends the iteration, by an error if there is one; what was offered and not taken stays pending. */
  end(error?: SubrosaError): void {
    if (this.#done) return;
    this.#done = true;
    this.#error = error;
    this.#source.remove(this.#consume);
    const left = new Error("the iterator was left");
    for (const offer of this.#current === undefined ? this.#offers : [this.#current, ...this.#offers]) {
      offer.leave(left);
    }
    this.#current = undefined;
    this.#offers.length = 0;
    this.#answerLast();
  }

  #answerLast(): void {
    this.#waiting?.(this.#error ? Promise.reject(this.#error) : { done: true, value: undefined });
    this.#waiting = undefined;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
