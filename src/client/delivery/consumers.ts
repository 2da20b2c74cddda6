import type { SubrosaError } from "../../base/errors.js";
import { copyBody } from "../attachments/body.js";
import { settled } from "../emitter.js";
import type { Listener, Message } from "../events.js";
import type { Consumer } from "./delivery.js";
import { MessageIterator, type Source } from "./message-iterator.js";

/** Everything of the app that takes messages, also before the store is open and there is a delivery. */
export class Consumers implements Source {
  readonly #consumers = new Set<Consumer<Message>>();
  readonly #iterators = new Set<MessageIterator>();
  readonly #changed: (isListening: boolean) => void;
  #end: { readonly error: SubrosaError | undefined } | undefined;

  /** `changed` is told when the first comes and when the last goes. */
  constructor(changed: (isListening: boolean) => void) {
    this.#changed = changed;
  }

  /** Whether anybody takes messages. */
  get isListening(): boolean {
    return this.#consumers.size > 0;
  }

  add(consumer: Consumer<Message>): void {
    this.#consumers.add(consumer);
    if (this.#consumers.size === 1) this.#changed(true);
  }

  remove(consumer: Consumer<Message>): void {
    const removed = this.#consumers.delete(consumer);
    if (removed && this.#consumers.size === 0) this.#changed(false);
    for (const iterator of this.#iterators) if (iterator.isDone) this.#iterators.delete(iterator);
  }

  /** Hands a message to all; resolves when they are done with it, rejects when nobody took it. */
  async take(message: Message): Promise<void> {
    const results = await Promise.allSettled(
      [...this.#consumers].map((consumer) => consumer({ ...message, content: copyBody(message.content) })),
    );
    if (results.every((result) => result.status === "rejected")) throw new Error("nobody took the message");
  }

  /** Adds a listener; the result removes it. */
  listen(listener: Listener<"message">): () => void {
    const consumer: Consumer<Message> = (message) => settled(() => listener(message));
    this.add(consumer);
    return () => this.remove(consumer);
  }

  iterate(signal: AbortSignal | undefined): AsyncIterableIterator<Message> {
    const iterator = new MessageIterator(this, signal);
    if (this.#end !== undefined) iterator.end(this.#end.error);
    else this.#iterators.add(iterator);
    return iterator;
  }

  /** Ends all iterators, and those to come: no message will come any more. Of several reasons the first counts. */
  end(error?: SubrosaError): void {
    this.#end ??= { error };
    for (const iterator of this.#iterators) iterator.end(this.#end.error);
  }

  /** Messages may come again, against what was said. */
  resume(): void {
    this.#end = undefined;
  }
}
