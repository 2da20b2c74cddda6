import { SubrosaError } from "../../../base/errors.js";
import { SerialQueue } from "../../../base/serial-queue.js";
import { decode } from "../../../codec/reader.js";
import { encode } from "../../../codec/writer.js";
import type { StoreSession } from "../../../stores/store.js";
import type { Effect } from "../../context.js";
import { layout, orderOf } from "../../layout.js";
import { isMessageContent } from "../content.js";
import type { KeptMessage } from "../repair/journal.js";
import { type Action, decodeIntent, encodeIntent, type Intent, type Sealed, type Target } from "./intent.js";

/** How many intents may wait unless the `limits` option says otherwise. */
export const DEFAULT_MAX_INTENTS = 10_000;

/** How many orders each process that opens a store has to itself. */
const ORDERS = 2 ** 28;

/** A message that was sent once, and the account that it may go to. */
type Revived = Pick<KeptMessage, "order" | "content" | "expected" | "growth">;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SubrosaError) => void;
}

/** All intents of this device in the order in which they were made, and who waits for which. */
export class Outbox {
  readonly #intents = new Map<number, Intent>();
  /** How many intents wait for a conversation with a user. */
  readonly #homeless = new Map<string, number>();
  readonly #waiters = new Map<number, Waiter>();
  readonly #endListeners = new Set<() => void>();
  readonly #decisions = new SerialQueue();
  readonly #max: number;
  #next = 1;

  private constructor(max: number) {
    this.#max = max;
  }

  /**
   * Orders are never used again, since what was sent comes back under its own if the relay loses it: each owner of the store
   * has its own, whatever its clock says, and goes on behind those of the outbox `before` this one.
   */
  static async load(store: StoreSession, before?: Outbox, max = DEFAULT_MAX_INTENTS): Promise<Outbox> {
    const outbox = new Outbox(max);
    outbox.#next = before ? before.#next : store.owner * ORDERS;
    for (const [key, value] of await store.list(layout.intents)) {
      outbox.#set(decode(decodeIntent, value));
      outbox.#next = Math.max(outbox.#next, orderOf(key) + 1);
    }
    return outbox;
  }

  /** Intents that have not come to an end. */
  get size(): number {
    return this.#intents.size;
  }

  /** Whether an intent has not come to its end. */
  has(intent: Intent): boolean {
    return this.#intents.get(intent.order) === intent;
  }

  /** The intent that has this order now: one that went elsewhere is another. */
  at(order: number): Intent | undefined {
    return this.#intents.get(order);
  }

  /**
   * Runs what decides on intents that wait for a conversation with a user: one after the other, so that none is moved
   * while it is ended. Those that a conversation has its steps decide on.
   */
  decide<T>(work: () => Promise<T>): Promise<T> {
    return this.#decisions.run(work);
  }

  /** Messages among them, for the app to know what it leaves behind. */
  get unsentMessages(): number {
    return [...this.#intents.values()].filter((intent) => isMessage(intent.action)).length;
  }

  /** A new intent with the change that stores it, and with which it counts. Throws `outbox-full` for what the app asks. */
  add(target: Target, action: Action): { intent: Intent; change: Effect } {
    if (this.#intents.size >= this.#max && isMessage(action)) {
      throw new SubrosaError("outbox-full", `${this.#max} messages wait to be sent already`);
    }
    const intent: Intent = { order: this.#next++, target, action };
    return { intent, change: this.#store(intent, intent) };
  }

  #set(intent: Intent): void {
    this.#delete(intent.order);
    this.#intents.set(intent.order, intent);
    if ("userId" in intent.target) this.#count(intent.target.userId, 1);
  }

  #delete(order: number): void {
    const target = this.#intents.get(order)?.target;
    this.#intents.delete(order);
    if (target !== undefined && "userId" in target) this.#count(target.userId, -1);
  }

  #count(userId: string, by: number): void {
    const count = (this.#homeless.get(userId) ?? 0) + by;
    if (count > 0) this.#homeless.set(userId, count);
    else this.#homeless.delete(userId);
  }

  #store(intent: Intent, stored: Intent): Effect {
    return {
      put: layout.intent(intent.order),
      value: encode(encodeIntent, stored),
      applied: () => this.#set(intent),
    };
  }

  /** The change with which an intent has the bytes that are to be sent, or has none any more, and says something else. */
  seal(intent: Intent, sealed: Sealed | undefined, action = intent.action): Effect {
    const stored = this.#store(intent, { ...intent, action, sealed });
    return {
      ...stored,
      applied: () => {
        stored.applied?.();
        intent.sealed = sealed;
        intent.action = action;
      },
    };
  }

  /** The change with which an intent says something else, in its place. */
  amend(intent: Intent, action: Action): Effect {
    const value = encode(encodeIntent, { ...intent, action });
    const applied = () => {
      intent.action = action;
    };
    return { put: layout.intent(intent.order), value, applied };
  }

  /** The change with which a message that is on its way is not kept once it has arrived. */
  strike(intent: Intent): Effect {
    const { action } = intent;
    return this.amend(intent, action.type === "send" ? { ...action, deleted: true } : action);
  }

  /** The change with which an intent goes elsewhere; it is another one from then on. */
  retarget(intent: Intent, target: Target): Effect {
    const moved: Intent = { order: intent.order, target, action: intent.action };
    return this.#store(moved, moved);
  }

  /** The change with which a message that was sent waits again, before all that came after it. */
  revive({ order, content, expected, growth }: Revived, target: Target): Effect {
    const account = expected !== undefined && { expected };
    const action: Action = { type: "send", content, ...account, ...("groupId" in target && { growth }) };
    // Whatever else has this order is not to be lost by it.
    const free = this.#intents.has(order) ? this.#next++ : order;
    const intent: Intent = { order: free, target, action };
    return this.#store(intent, intent);
  }

  /** The change that ends an intent; call {@link settle} when it is written. */
  end(intent: Intent): Effect {
    return {
      delete: layout.intent(intent.order),
      applied: () => {
        if (this.has(intent)) this.#delete(intent.order);
      },
    };
  }

  /** Tells whoever waits how an intent ended. */
  settle(intent: Intent, error?: SubrosaError): void {
    const waiter = this.#waiters.get(intent.order);
    this.#waiters.delete(intent.order);
    if (error === undefined) waiter?.resolve();
    else waiter?.reject(error);
    for (const listener of this.#endListeners) listener();
  }

  /** Resolves or rejects with the intent's end, as far as this process sees it. */
  finished(intent: Intent): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.set(intent.order, { resolve, reject }));
  }

  /** Users to whom messages wait that have no conversation yet. */
  waitingUsers(): Set<string> {
    return new Set(this.#homeless.keys());
  }

  /** Whether messages to a user wait for a conversation: what comes later must not overtake them. */
  waitsFor(userId: string): boolean {
    return this.#homeless.has(userId);
  }

  /** Calls `listener` whenever an intent ends; the result removes it. */
  onEnd(listener: () => void): () => void {
    this.#endListeners.add(listener);
    return () => void this.#endListeners.delete(listener);
  }

  /** Those for a target, oldest first. */
  forTarget(matches: (target: Target) => boolean): Intent[] {
    return [...this.#intents.values()]
      .filter((intent) => matches(intent.target))
      .sort((a, b) => a.order - b.order);
  }

  /** Rejects everyone who waits; the intents stay in the store. */
  abandon(error: SubrosaError): void {
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    this.#waiters.clear();
  }
}

/** Whether the app sent it as a message. */
export function isMessage(action: Action): boolean {
  return action.type === "send" && isMessageContent(action.content);
}
