import type { Context } from "../context.js";
import type { Conversation } from "../conversation/conversation.js";
import { usersOf } from "../conversation/membership/leaves.js";

/** How long the same is not said again, and how often something may be said within that time, in milliseconds. */
const REPEAT = 3_000;
const MAX_SAID = 4;
/** How long someone types of whom nothing more is heard, in milliseconds. */
const EXPIRY = 6_000;

/** What was said last in a conversation, and what before within {@link REPEAT}. */
interface Said {
  readonly typing: boolean;
  readonly times: readonly number[];
}

interface Heard {
  readonly event: { readonly userId: string; readonly group?: string };
  /** Stops waiting for the end of it. */
  readonly cancel: () => void;
}

/** Who types where, and that this user does. */
export class Typing {
  readonly #context: () => Context;
  readonly #send: (conversation: Conversation, typing: boolean) => Promise<void>;
  readonly #said = new Map<string, Said>();
  /** Who types, by conversation and user. */
  readonly #typing = new Map<string, Map<string, Heard>>();

  constructor(context: () => Context, send: (conversation: Conversation, typing: boolean) => Promise<void>) {
    this.#context = context;
    this.#send = send;
  }

  /** Says it, unless that was said just now or nobody can hear it. */
  async say(conversation: Conversation, typing: boolean): Promise<void> {
    const { clock, relay } = this.#context();
    if (!relay.isReady || !conversation.isCurrent) return;
    const now = clock.now();
    const last = this.#said.get(conversation.key);
    const times = (last?.times ?? []).filter((time) => now - time < REPEAT);
    const saidAt = last?.typing === typing ? last.times.at(-1) : undefined;
    const isOver = !typing && (last === undefined || !last.typing);
    if (isOver || times.length >= MAX_SAID || (saidAt !== undefined && now - saidAt < REPEAT)) return;
    this.#said.set(conversation.key, { typing, times: [...times, now] });
    await this.#send(conversation, typing);
  }

  /** This user has sent a message: nobody thinks any more that it types. */
  sent(key: string): void {
    this.#said.delete(key);
  }

  hear({ key, state }: Conversation, userId: string, typing: boolean): void {
    if (!typing) {
      this.clear(key, userId);
      return;
    }
    const users = this.#typing.get(key) ?? new Map<string, Heard>();
    this.#typing.set(key, users);
    const known = users.get(userId);
    known?.cancel();
    const { subject } = state.record;
    const event = { userId, ...(subject.kind === "group" && { group: subject.name }) };
    const cancel = this.#context().clock.after(EXPIRY, () => this.clear(key, userId));
    users.set(userId, { event, cancel });
    if (known === undefined) this.#context().emit("typing", { ...event, typing: true });
  }

  /** The user does not type there any more: it said so, has sent what it typed, or went. */
  clear(key: string, userId: string): void {
    const users = this.#typing.get(key);
    const known = users?.get(userId);
    if (users === undefined || known === undefined) return;
    known.cancel();
    users.delete(userId);
    if (users.size === 0) this.#typing.delete(key);
    this.#context().emit("typing", { ...known.event, typing: false });
  }

  changed({ key, state }: Conversation): void {
    const { group, record } = state;
    const there = new Set(group === undefined || record.status !== "active" ? [] : usersOf(group));
    for (const userId of [...(this.#typing.get(key)?.keys() ?? [])]) {
      if (!there.has(userId)) this.clear(key, userId);
    }
  }

  stop(): void {
    for (const users of this.#typing.values()) for (const { cancel } of users.values()) cancel();
    this.#typing.clear();
  }
}
