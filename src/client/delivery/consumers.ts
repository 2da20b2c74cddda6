import { settled } from "../emitter.js";
import type { Listener, Message } from "../events.js";
import type { Consumer } from "./delivery.js";
import { MessageIterator, type Source } from "./message-iterator.js";

/** Everything of the app that takes messages, also before the store is open and there is a delivery. */
export class Consumers implements Source {
  readonly #consumers = new Set<Consumer>();
  readonly #iterators = new Set<MessageIterator>();
  #delivery: Source | undefined;
  #ended = false;

  /** Messages go to all consumers from now on. */
  attach(delivery: Source): void {
    this.#delivery = delivery;
    for (const consumer of this.#consumers) delivery.add(consumer);
  }

  add(consumer: Consumer): void {
    this.#consumers.add(consumer);
    this.#delivery?.add(consumer);
  }

  remove(consumer: Consumer): void {
    this.#consumers.delete(consumer);
    this.#delivery?.remove(consumer);
    for (const iterator of this.#iterators) if (iterator.isDone) this.#iterators.delete(iterator);
  }

  /** Adds a listener; the result removes it. */
  listen(listener: Listener<"message">): () => void {
    const consumer: Consumer = (message) => settled(() => listener(message));
    this.add(consumer);
    return () => this.remove(consumer);
  }

  iterate(signal: AbortSignal | undefined): AsyncIterableIterator<Message> {
    const iterator = new MessageIterator(this, signal);
    if (this.#ended) iterator.end();
    else this.#iterators.add(iterator);
    return iterator;
  }

  /** Ends all iterators: no message will come any more. */
  end(): void {
    this.#ended = true;
    for (const iterator of this.#iterators) iterator.end();
  }
}
