import { SubrosaError } from "../../base/errors.js";
import { decode } from "../../codec/reader.js";
import { encode } from "../../codec/writer.js";
import type { Change, StoreSession } from "../../stores/store.js";
import type { Effect } from "../context.js";
import type { MessageData } from "../events.js";
import { layout, orderOf } from "../layout.js";
import {
  decodeStoredMessage,
  encodeStoredMessage,
  type StoredMessage,
  toMessage,
} from "./pending-message.js";

/**
 * Something that takes messages: a listener or an iterator. Resolves when the app is done with the message; rejects,
 * after removing itself, when the app did not take it.
 */
export type Consumer<M = MessageData> = (message: M) => Promise<void>;

export interface DeliveryOptions {
  readonly write: (changes: readonly Effect[]) => Promise<void>;
  /** Whether this is the account key by which the user is known: until then its messages wait. */
  readonly isKnown: (userId: string, accountKey: Uint8Array) => boolean;
  /** The message by the name that its group has now. */
  readonly named: (stored: StoredMessage) => StoredMessage;
  /** Puts a message that had to wait into the history. */
  readonly list: (stored: StoredMessage) => readonly Effect[];
}

interface Pending {
  readonly order: number;
  readonly stored: StoredMessage;
  readonly redelivered: boolean;
}

/**
 * Hands received messages to the app. A message stays in the store until every consumer is done with it;
 * conversations do not wait for each other, messages of one conversation come one after the other.
 * While there is no consumer nothing is taken.
 */
export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #consumers = new Set<Consumer>();
  readonly #queues = new Map<string, Pending[]>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #held = new Set<string>();
  /** What could not be written when the app was done with a message, by conversation: it is written before the next. */
  readonly #owed = new Map<string, readonly Effect[]>();
  /** Messages whose step is being written, by order, with their conversation. */
  readonly #prepared = new Map<number, string>();
  #nextOrder = 1;
  #stopped = false;

  private constructor(options: DeliveryOptions) {
    this.#options = options;
  }

  /** What was pending when the store was closed comes again. */
  static async load(store: StoreSession, options: DeliveryOptions): Promise<Delivery> {
    const delivery = new Delivery(options);
    for (const [key, value] of await store.list(layout.pending)) {
      delivery.#enqueue({
        order: orderOf(key),
        stored: decode(decodeStoredMessage, value),
        redelivered: true,
      });
      delivery.#nextOrder = orderOf(key) + 1;
    }
    return delivery;
  }

  /** The change that stores a message; once it is written, call {@link Prepared.deliver}. */
  prepare(stored: StoredMessage): { change: Change; deliver: () => void } {
    const order = this.#nextOrder++;
    this.#prepared.set(order, stored.groupId);
    return {
      change: { put: layout.pendingMessage(order), value: encode(encodeStoredMessage, stored) },
      deliver: () => {
        if (!this.#prepared.delete(order)) return;
        this.#enqueue({ order, stored, redelivered: false });
        this.#run(stored.groupId);
      },
    };
  }

  /** Keeps a conversation's messages back until {@link release}. */
  hold(groupId: string): void {
    this.#held.add(groupId);
  }

  release(groupId: string): void {
    this.#held.delete(groupId);
    this.#run(groupId);
  }

  /** The changes that drop a conversation's messages, for an invitation that was refused. */
  discard(groupId: string): Change[] {
    const orders = (this.#queues.get(groupId) ?? []).map(({ order }) => order);
    for (const [order, of] of this.#prepared) {
      if (of === groupId && this.#prepared.delete(order)) orders.push(order);
    }
    this.#queues.delete(groupId);
    this.#held.delete(groupId);
    return orders.map((order) => ({ delete: layout.pendingMessage(order) }));
  }

  /** Messages that the app has not taken. */
  waiting(): StoredMessage[] {
    return [...this.#queues.values()].flatMap((queue) => queue.map(({ stored }) => stored));
  }

  /** The changes that drop messages which the app has not taken. */
  forget(messages: ReadonlySet<StoredMessage>): Effect[] {
    const changes: Effect[] = [];
    for (const [groupId, queue] of this.#queues) {
      for (const pending of queue.filter(({ stored }) => messages.has(stored))) {
        const applied = () => void this.#dequeue(groupId, pending);
        changes.push({ delete: layout.pendingMessage(pending.order), applied });
      }
    }
    return changes;
  }

  /** Takes a message out; false if it was not there any more. */
  #dequeue(groupId: string, pending: Pending): boolean {
    const queue = this.#queues.get(groupId) ?? [];
    const rest = queue.filter((other) => other !== pending);
    if (rest.length > 0) this.#queues.set(groupId, rest);
    else this.#queues.delete(groupId);
    return rest.length < queue.length;
  }

  add(consumer: Consumer): void {
    this.#consumers.add(consumer);
    this.recheck();
  }

  /** Somebody became known, or there is a new consumer: hands over what could not be before. */
  recheck(): void {
    for (const groupId of [...this.#owed.keys(), ...this.#queues.keys()]) this.#run(groupId);
  }

  remove(consumer: Consumer): void {
    this.#consumers.delete(consumer);
  }

  /** Nothing more is handed over; resolves when the app is done with what it has. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running.values());
  }

  #enqueue(pending: Pending): void {
    const queue = this.#queues.get(pending.stored.groupId);
    if (queue === undefined) this.#queues.set(pending.stored.groupId, [pending]);
    else queue.push(pending);
  }

  #run(groupId: string): void {
    const isOwed = this.#owed.has(groupId) && !this.#stopped;
    if (this.#running.has(groupId) || (!isOwed && this.#next(groupId) === undefined)) return;
    const running = this.#drain(groupId).then(
      () => {
        this.#running.delete(groupId);
        this.#run(groupId);
      },
      (error: unknown) => {
        this.#running.delete(groupId);
        // A write failed: its error has been handled, and the message comes again with the next opening.
        if (!SubrosaError.is(error) || error.code !== "storage-full") this.#stopped = true;
      },
    );
    this.#running.set(groupId, running);
  }

  /** The first message of a conversation that can be handed over now. */
  #next(groupId: string): Pending | undefined {
    if (this.#stopped || this.#consumers.size === 0 || this.#held.has(groupId)) return undefined;
    return this.#queues.get(groupId)?.find(({ stored }) => {
      return stored.unknownKey === undefined || this.#options.isKnown(stored.from, stored.unknownKey);
    });
  }

  async #drain(groupId: string): Promise<void> {
    await this.#settle(groupId);
    for (let pending = this.#next(groupId); pending !== undefined; pending = this.#next(groupId)) {
      const { order, stored, redelivered } = pending;
      const results = await Promise.allSettled(
        [...this.#consumers].map((consumer) => consumer(toMessage(this.#options.named(stored), redelivered))),
      );
      // Nobody took it: it stays for whoever comes next.
      if (results.every((result) => result.status === "rejected")) continue;
      // It may have been deleted meanwhile.
      if (!this.#dequeue(groupId, pending)) continue;
      const listed = stored.unknownKey === undefined ? [] : this.#options.list(stored);
      this.#owed.set(groupId, [{ delete: layout.pendingMessage(order) }, ...listed]);
      await this.#settle(groupId);
    }
  }

  async #settle(groupId: string): Promise<void> {
    const changes = this.#owed.get(groupId);
    if (changes === undefined) return;
    await this.#options.write(changes);
    this.#owed.delete(groupId);
  }
}
