import { toHex } from "../../base/encoding.js";
import { SubrosaError } from "../../base/errors.js";
import type { Context } from "../context.js";
import { Conversation } from "./conversation.js";
import type { ConversationRecord } from "./record.js";
import type { ConversationState } from "./state.js";

/** Whether the app sees the group as one that this user is in. */
export function isMember({ status }: Pick<ConversationRecord, "status">): boolean {
  return status === "active" || status === "repairing";
}

/** All conversations of this device, by group id, name and user. */
export class Registry {
  readonly #byId = new Map<string, Conversation>();

  static load(context: Context, states: readonly ConversationState[]): Registry {
    const registry = new Registry();
    for (const state of states) registry.add(context, state);
    return registry;
  }

  add(context: Context, state: ConversationState): Conversation {
    return this.insert(new Conversation(context, state));
  }

  /** Takes up a conversation that has been written. */
  insert(conversation: Conversation): Conversation {
    this.#byId.set(conversation.key, conversation);
    return conversation;
  }

  /** Forgets a conversation that never came to be. */
  delete(conversation: Conversation): void {
    this.#byId.delete(conversation.key);
  }

  get(groupId: Uint8Array): Conversation | undefined {
    return this.#byId.get(toHex(groupId));
  }

  all(): Conversation[] {
    return [...this.#byId.values()];
  }

  /** The conversation with a user, unless it has ended. */
  direct(userId: string): Conversation | undefined {
    return this.all().find(({ state: { record } }) => {
      return record.status !== "ended" && record.subject.kind === "direct" && record.subject.peer === userId;
    });
  }

  /** The conversation with a user, or the last one that has ended. */
  lastDirect(userId: string): Conversation | undefined {
    const time = ({ state }: Conversation) => Math.max(state.record.joinedAt, state.record.refreshedAt);
    const ended = this.all().filter(({ state: { record } }) => {
      return record.subject.kind === "direct" && record.subject.peer === userId;
    });
    return this.direct(userId) ?? ended.sort((a, b) => time(b) - time(a))[0];
  }

  /** The group bound to a name, unless it has ended or is hidden. Two only while one takes the place of the other. */
  named(name: string): Conversation | undefined {
    const [first, ...others] = this.all().filter(({ state: { record } }) => {
      const { subject, status } = record;
      return subject.kind === "group" && subject.name === name && status !== "ended" && status !== "leaving";
    });
    const both = first === undefined || others.length === 0 ? [] : [first, ...others];
    const inOrder = (["active", "repairing"] as const).map((status) =>
      both.find(({ state }) => state.record.status === status),
    );
    return inOrder.find((one) => one !== undefined) ?? first;
  }

  /** Whether a group other than this one has the name; what the relay has not confirmed binds nothing. */
  isBound(name: string, groupId: Uint8Array): boolean {
    const { record } = this.named(name)?.state ?? {};
    return record !== undefined && record.status !== "creating" && toHex(record.groupId) !== toHex(groupId);
  }

  /** The name that the group with this id in hexadecimal has, or had to its end. */
  nameOf(groupId: string): string | undefined {
    const subject = this.#byId.get(groupId)?.state.record.subject;
    return subject?.kind === "group" ? subject.name : undefined;
  }

  /** What came in a group, by the name that it has now. */
  asListed<Item extends { readonly groupId: string; readonly group?: string }>(item: Item): Item {
    const group = this.nameOf(item.groupId);
    return group === undefined ? item : { ...item, group };
  }

  /** Whether this device waits to be repaired in a group. */
  isRepairing(groupId: Uint8Array): boolean {
    return this.get(groupId)?.state.record.status === "repairing";
  }

  /** The group of a name in which this device waits to be repaired. */
  stranded(name: string): Conversation | undefined {
    return this.#withStatus(name, "repairing");
  }

  /** The group of a name that the relay has not confirmed yet. */
  creating(name: string): Conversation | undefined {
    return this.#withStatus(name, "creating");
  }

  #withStatus(name: string, wanted: ConversationRecord["status"]): Conversation | undefined {
    return this.all().find(({ state: { record } }) => {
      const { subject, status } = record;
      return status === wanted && subject.kind === "group" && subject.name === name;
    });
  }

  /** The group of a name that this user is a member of; throws `not-a-member`. */
  active(name: string): Conversation {
    const conversation = this.named(name);
    if (conversation === undefined || !isMember(conversation.state.record)) {
      throw new SubrosaError("not-a-member", `not a member of group ${JSON.stringify(name)}`);
    }
    return conversation;
  }
}
