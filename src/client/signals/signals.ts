import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import type { GroupState } from "../../mls/group/index.js";
import type { Ready } from "../../wire/frames.js";
import type { Context } from "../context.js";
import type { Conversation } from "../conversation/conversation.js";
import { leavesOf } from "../conversation/membership/leaves.js";
import type { Registry } from "../conversation/registry.js";
import type { ConversationName } from "../delivery/history.js";
import { isGenuine, openSignal, SIGNAL_LENGTH, SignalKind, sealSignal } from "./cipher.js";
import { Presence } from "./presence.js";
import { Typing } from "./typing.js";

/** How far from the relay's time a signal may be, in milliseconds. */
const MAX_AGE = 30_000;
/** How many are opened in a second, and how many of one member's verified. */
const MAX_OPENED = 200;
const MAX_VERIFIED = 10;

/**
 * What members say of the moment: encrypted and signed, kept nowhere, and gone if nobody hears it. What comes and is
 * not in order is dropped without a word, before it has cost much.
 */
export class Signals {
  readonly typing: Typing;
  readonly presence: Presence;
  readonly #context: () => Context;
  readonly #registry: () => Registry | undefined;
  /** The time of the last signal of each leaf that was believed, by epoch. */
  readonly #last = new WeakMap<GroupState["secrets"], Map<number, number>>();
  /** What was opened and verified in the present second, in all and by member. */
  readonly #spent = new Map<string, number>();
  #second = 0;
  /** By how much the relay's clock is ahead of this one. */
  #ahead = 0;
  #sentAt = 0;

  constructor(context: () => Context, registry: () => Registry | undefined, tellsPresence: boolean) {
    this.#context = context;
    this.#registry = registry;
    const send = (conversation: Conversation, kind: SignalKind, value: boolean) =>
      this.#send(conversation, kind, value);
    this.typing = new Typing(context, (conversation, value) => send(conversation, SignalKind.typing, value));
    this.presence = new Presence(
      context,
      () => registry()?.all() ?? [],
      tellsPresence,
      (conversation, value) => send(conversation, SignalKind.presence, value),
    );
  }

  get #now(): number {
    return this.#context().clock.now() + this.#ahead;
  }

  /** A session has begun. */
  ready({ time }: Ready): void {
    this.#ahead = time - this.#context().clock.now();
    this.presence.begin();
  }

  /** Says in a conversation that this user types, or does no longer. Throws `not-a-member`. */
  async setTyping(name: ConversationName, typing: boolean): Promise<void> {
    const registry = this.#registry();
    const conversation = typeof name === "string" ? registry?.direct(name) : registry?.active(name.group);
    if (conversation !== undefined) await this.typing.say(conversation, typing);
  }

  /** Says it to who is there now, if this device is where the others are; resolves when it is on its way, or is not. */
  async #send(conversation: Conversation, kind: SignalKind, value: boolean): Promise<void> {
    const { relay, identity } = this.#context();
    const { group, record } = conversation.state;
    if (group === undefined || record.status !== "active" || !conversation.isCurrent || !relay.isReady)
      return;
    const time = Math.max(this.#now, this.#sentAt + 1);
    this.#sentAt = time;
    const payload = await sealSignal(group, { kind, value, time }, identity.device.privateKey);
    relay.signal(record.groupId, payload);
  }

  /** Takes what the relay says came from a member. */
  hear(groupId: Uint8Array, payload: Uint8Array): void {
    const conversation = this.#registry()?.get(groupId);
    const group = conversation?.state.group;
    if (conversation?.state.record.status !== "active" || group === undefined) return;
    if (payload.length !== SIGNAL_LENGTH || !this.#spend("", MAX_OPENED)) return;
    void this.#take(conversation, group, payload).catch((error) => {
      if (!SubrosaError.is(error) || error.code === "internal") this.#context().report(error);
    });
  }

  async #take(conversation: Conversation, group: GroupState, payload: Uint8Array): Promise<void> {
    const signal = await openSignal(group, payload);
    const { contacts, identity } = this.#context();
    const leaf = leavesOf(group).find(({ leafIndex }) => leafIndex === signal.leaf);
    if (leaf === undefined || leaf.userId === identity.userId) return;
    if (Math.abs(this.#now - signal.time) > MAX_AGE) return;
    const last = this.#last.get(group.secrets) ?? new Map<number, number>();
    this.#last.set(group.secrets, last);
    const isNew = () => signal.time > (last.get(signal.leaf) ?? 0);
    if (!isNew() || !this.#spend(`${conversation.key} ${signal.leaf}`, MAX_VERIFIED)) return;
    if (!(await isGenuine(group, signal))) return;
    // Others may have been verified, and the epoch may have ended, meanwhile.
    if (!isNew() || conversation.state.group?.secrets !== group.secrets) return;
    last.set(signal.leaf, signal.time);
    if (!contacts.isPinned(leaf.userId, leaf.accountKey)) return;
    if (signal.kind === SignalKind.typing) this.typing.hear(conversation, leaf.userId, signal.value);
    else this.presence.hear(leaf.userId, toHex(leaf.deviceId), signal.value);
  }

  /** Counts one more in this second; false if that is too many. */
  #spend(what: string, max: number): boolean {
    const second = Math.floor(this.#context().clock.now() / 1000);
    if (second !== this.#second) this.#spent.clear();
    this.#second = second;
    const count = (this.#spent.get(what) ?? 0) + 1;
    this.#spent.set(what, count);
    return count <= max;
  }

  /** Who is in the conversation, or what it is, may have changed. */
  changed(conversation: Conversation): void {
    this.typing.changed(conversation);
    this.presence.changed();
  }

  stop(): void {
    this.typing.stop();
    this.presence.stop();
  }
}
