import type { Context } from "../context.js";
import type { Conversation } from "../conversation/conversation.js";
import { usersOf } from "../conversation/membership/leaves.js";

/** How often it is told that this user is there, in milliseconds; some more or less, so that not all do it at once. */
const RENEWAL = 60_000;
/** How long a user is there of whom nothing more is heard, in milliseconds. */
export const EXPIRY = 2.5 * RENEWAL;
/** How long after a change is looked whom to tell, and how long until conversations are tried again that are behind. */
const LOOK = 1_000;
/** How many conversations are told at once; the next follow after {@link LOOK}. */
const BATCH = 20;
/** How long it takes to answer who comes, for each member of a conversation, so that not all do it at once. */
const ANSWER = 100;
/** Nobody is told again within that time, whoever comes. */
const MIN_INTERVAL = 5_000;

/** Whether a user is there. */
export interface UserPresence {
  readonly userId: string;
  /** True if it said so in the last two and a half minutes, and has not taken leave since. */
  readonly online: boolean;
  /** When it was last known to be there, by this device's clock; absent if it never was. */
  readonly at?: number;
}

interface Heard {
  at: number;
  /** What ends it when nothing more is heard, by device. */
  readonly devices: Map<string, () => void>;
}

/** Whether people are there with whom this user shares a conversation, and that it is itself. Does nothing unless asked to. */
export class Presence {
  readonly #context: () => Context;
  readonly #conversations: () => readonly Conversation[];
  readonly #isOn: boolean;
  readonly #send: (conversation: Conversation, online: boolean) => Promise<void>;
  readonly #heard = new Map<string, Heard>();
  /** When a conversation is told again, and when it was told, in this session. */
  readonly #due = new Map<string, number>();
  readonly #told = new Map<string, number>();
  /** The conversation in which a user is told. */
  #via = new Map<string, Conversation>();
  /** Who is not told; unknown until the relay has said so. */
  #blocked: Set<string> | undefined;
  #cancel: () => void = () => {};
  #lookAt = Number.POSITIVE_INFINITY;

  constructor(
    context: () => Context,
    conversations: () => readonly Conversation[],
    isOn: boolean,
    send: (conversation: Conversation, online: boolean) => Promise<void>,
  ) {
    this.#context = context;
    this.#conversations = conversations;
    this.#isOn = isOn;
    this.#send = send;
  }

  /** A session has begun: everybody is told anew. */
  begin(): void {
    if (!this.#isOn) return;
    this.#due.clear();
    this.#told.clear();
    this.#blocked = undefined;
    const { relay, background } = this.#context();
    const asking = relay.request("listBlocked", {}).then(({ users }) => {
      this.#blocked = new Set(users);
      this.changed();
    });
    background(asking);
  }

  /** This user has blocked another one, or does no longer. */
  setBlocked(userId: string, blocked: boolean): void {
    if (blocked) this.#blocked?.add(userId);
    else this.#blocked?.delete(userId);
    this.changed();
  }

  /** Conversations, or who is in them, have changed. */
  changed(): void {
    if (!this.#isOn) return;
    const shared = new Set(this.#shared().flatMap(({ users }) => users));
    for (const userId of this.#heard.keys()) if (!shared.has(userId)) this.#forget(userId);
    this.#lookIn(LOOK);
  }

  /** Takes leave of everybody who was told. */
  async leave(): Promise<void> {
    this.#cancel();
    const told = this.#conversations().filter(({ key }) => this.#told.has(key));
    this.#told.clear();
    await Promise.all(told.map((conversation) => this.#send(conversation, false)));
  }

  of(userId: string): UserPresence {
    const heard = this.#heard.get(userId);
    if (heard === undefined) return { userId, online: false };
    return { userId, online: heard.devices.size > 0, at: heard.at };
  }

  hear(userId: string, device: string, online: boolean): void {
    if (!this.#isOn) return;
    const { clock } = this.#context();
    const now = clock.now();
    const heard = this.#heard.get(userId) ?? { at: now, devices: new Map<string, () => void>() };
    const wasOnline = heard.devices.size > 0;
    heard.devices.get(device)?.();
    heard.devices.delete(device);
    if (!online && !wasOnline) return;
    heard.at = now;
    this.#heard.set(userId, heard);
    if (online)
      heard.devices.set(
        device,
        clock.after(EXPIRY, () => this.#gone(userId, device)),
      );
    const isOnline = heard.devices.size > 0;
    if (isOnline !== wasOnline) this.#context().emit("presence", { userId, online: isOnline, at: now });
    if (isOnline && !wasOnline) this.#answer(userId);
  }

  /** Who comes does not know yet who is there. */
  #answer(userId: string): void {
    const { clock, random } = this.#context();
    const now = clock.now();
    // Who has only just come into a conversation is not known to be reached by it.
    if (!this.#via.has(userId) && this.#blocked !== undefined) this.#choose(this.#blocked);
    const via = this.#via.get(userId);
    const due = via && this.#due.get(via.key);
    let at = now + LOOK;
    if (via !== undefined && due !== undefined) {
      const members = via.state.group === undefined ? 0 : usersOf(via.state.group).length;
      const earliest = (this.#told.get(via.key) ?? 0) + MIN_INTERVAL;
      at = Math.min(due, Math.max(now + ANSWER * members * random(), earliest));
      this.#due.set(via.key, at);
    }
    this.#lookIn(at - now);
  }

  /** Nothing more was heard of a device. */
  #gone(userId: string, device: string): void {
    const heard = this.#heard.get(userId);
    if (!heard?.devices.delete(device) || heard.devices.size > 0) return;
    this.#context().emit("presence", { userId, online: false, at: heard.at });
  }

  /** A user with whom nothing is shared any more. */
  #forget(userId: string): void {
    const heard = this.#heard.get(userId);
    this.#heard.delete(userId);
    if (heard === undefined || heard.devices.size === 0) return;
    for (const cancel of heard.devices.values()) cancel();
    this.#context().emit("presence", { userId, online: false, at: heard.at });
  }

  stop(): void {
    this.#cancel();
    this.#lookAt = Number.POSITIVE_INFINITY;
    for (const { devices } of this.#heard.values()) for (const cancel of devices.values()) cancel();
    this.#heard.clear();
  }

  #lookIn(ms: number): void {
    const { clock } = this.#context();
    const at = clock.now() + ms;
    if (at >= this.#lookAt) return;
    this.#cancel();
    this.#lookAt = at;
    this.#cancel = clock.after(ms, () => {
      this.#lookAt = Number.POSITIVE_INFINITY;
      this.#tell();
    });
  }

  /** Tells whom it is time to tell. */
  #tell(): void {
    const { clock, random, relay, background } = this.#context();
    if (!relay.isReady || this.#blocked === undefined) return;
    const now = clock.now();
    const chosen = this.#choose(this.#blocked);
    for (const key of [...this.#due.keys()]) {
      if (!chosen.some((conversation) => conversation.key === key)) this.#due.delete(key);
    }
    let left = BATCH;
    let next = now + RENEWAL;
    for (const conversation of chosen) {
      const { key } = conversation;
      const isDue = (this.#due.get(key) ?? now) <= now;
      if (isDue && conversation.isCurrent && left-- > 0) {
        this.#due.set(key, now + RENEWAL * (0.9 + 0.2 * random()));
        this.#told.set(key, now);
        background(this.#send(conversation, true));
      }
      next = Math.min(next, this.#due.get(key) ?? now);
    }
    this.#lookIn(Math.max(next - now, LOOK));
  }

  /** Conversations that the app knows of, each with its other members. */
  #shared(): { readonly conversation: Conversation; readonly users: readonly string[] }[] {
    const { userId } = this.#context().identity;
    return this.#conversations().flatMap((conversation) => {
      const { group, record } = conversation.state;
      if (group === undefined || record.status !== "active") return [];
      return [{ conversation, users: usersOf(group).filter((user) => user !== userId) }];
    });
  }

  /** As few conversations as reach everybody: always the one next in which most are that are in none so far. */
  #choose(blocked: ReadonlySet<string>): Conversation[] {
    const chosen: Conversation[] = [];
    const via = new Map<string, Conversation>();
    let candidates = this.#shared().filter(({ users }) => users.every((user) => !blocked.has(user)));
    while (candidates.length > 0) {
      candidates = candidates
        .map(({ conversation, users }) => ({ conversation, users: users.filter((user) => !via.has(user)) }))
        .filter(({ users }) => users.length > 0)
        .sort((a, b) => b.users.length - a.users.length);
      const best = candidates.shift();
      if (best === undefined) break;
      chosen.push(best.conversation);
      for (const user of best.users) via.set(user, best.conversation);
    }
    this.#via = via;
    return chosen;
  }
}
