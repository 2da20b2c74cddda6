import { equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SerialQueue } from "../../../base/serial-queue.js";
import { epochAuthenticator, type GroupState } from "../../../mls/group/index.js";
import type { Change } from "../../../stores/store.js";
import type { Context } from "../../context.js";
import { layout } from "../../layout.js";
import type { Conversation } from "../conversation.js";
import { accountOf, accountsOf, type Leaf, leavesOf } from "../membership/leaves.js";
import type { Sealed } from "../sending/intent.js";
import type { ConversationState } from "../state.js";
import type { Step } from "../step.js";
import { hasClaimed, noteClaims } from "./equivocations.js";
import { type Head, type Hearsay, type ListHead, MAX_HEADS, MAX_LISTS, NOTHING } from "./hearsay.js";

/** Of how many past epochs a device still knows what they were. */
const KEPT_EPOCHS = 1024n;
/** What one member says of a group that this device cannot compare yet: the last of it, in memory. */
const MAX_HEARD = MAX_HEADS;
/** A message with more bytes carries nothing besides: it may be as large as messages can be. */
const MAX_CARRIER_BYTES = 16 * 1024;

/** The changes with which the epoch that a commit ends stays known, for as many commits as {@link KEPT_EPOCHS}. */
export function keepHead(ended: GroupState): Change[] {
  const { groupId, epoch } = ended.groupContext;
  const kept = { put: layout.epochHead(groupId, epoch), value: epochAuthenticator(ended) };
  if (epoch < KEPT_EPOCHS) return [kept];
  return [kept, { delete: layout.epochHead(groupId, epoch - KEPT_EPOCHS) }];
}

/** What a message carries besides, and by what it is known afterwards that this was told: what of, and where it stands. */
export interface Aside {
  readonly hearsay: Hearsay;
  readonly topics: ReadonlyMap<string, string>;
}

const NO_ASIDE: Aside = { hearsay: NOTHING, topics: new Map() };

/** Where a list stands in a conversation: who came in since has not heard of it. */
const standOf = ({ record }: Pick<ConversationState, "record">, version: number) =>
  `${record.growth} ${version}`;

/**
 * Tells members of a conversation, along with messages that are sent anyway, what device lists this device knows of its
 * accounts, and which history it has of other groups that they share; and compares what they tell. A relay that shows
 * two of them different lists or logs would have to keep them apart everywhere at once.
 */
export class Gossip {
  readonly #context: () => Context;
  readonly #conversations: () => readonly Conversation[];
  /** By conversation, where each topic stood when it was told there in this process. */
  readonly #told = new Map<string, Map<string, string>>();
  /** Steps in which something was told already. */
  readonly #telling = new WeakSet<Step>();
  /** What messages carry that may not be taken yet. */
  readonly #carried = new WeakMap<Sealed, readonly string[]>();
  /** By group and member, what was heard and not compared yet. */
  readonly #heard = new Map<string, Map<string, Head[]>>();
  readonly #queue = new SerialQueue();

  constructor(context: () => Context, conversations: () => readonly Conversation[]) {
    this.#context = context;
    this.#conversations = conversations;
  }

  /** What goes along with a message of so many bytes that is sealed on a step: what nobody was told of here. */
  aside(step: Step, bytes: number): Aside {
    const { group } = step;
    if (group === undefined || bytes > MAX_CARRIER_BYTES || this.#telling.has(step)) return NO_ASIDE;
    this.#telling.add(step);
    const topics = new Map<string, string>();
    const hearsay = { heads: this.#heads(step, group, topics), lists: this.#lists(step, group, topics) };
    return { hearsay, topics };
  }

  /** A message carries it: once that is durable, it is told. */
  told(step: Step, sealed: Sealed, { topics }: Aside): void {
    if (topics.size === 0) return;
    this.#carried.set(sealed, [...topics.keys()]);
    step.after(() => this.#note(step, topics));
  }

  /** A message was not taken as it was sealed, so that nobody was told what it carried. */
  untold(step: Step, sealed: Sealed | undefined): void {
    const topics = sealed && this.#carried.get(sealed);
    if (topics) step.after(() => topics.forEach((topic) => void this.#told.get(step.key)?.delete(topic)));
  }

  #note({ key }: Step, topics: Iterable<readonly [string, string]>): void {
    const told = this.#told.get(key) ?? new Map<string, string>();
    this.#told.set(key, told);
    for (const [topic, stand] of topics) told.set(topic, stand);
  }

  /** Groups that everybody in this conversation is in, and whose present epoch nobody was told of here. */
  #heads({ record, key: here }: Step, group: GroupState, topics: Map<string, string>): Head[] {
    const told = this.#told.get(here);
    const heads: Head[] = [];
    for (const { key, state, isCurrent } of this.#conversations()) {
      const other = state.group;
      if (other === undefined || !isCurrent || !isCompared(state) || other === group) continue;
      const { groupId, epoch } = other.groupContext;
      if (told?.get(key) === `${epoch}` || equalBytes(groupId, record.groupId)) continue;
      // A group's id is not for people who are not in it.
      const accounts = accountsOf(other);
      if (![...accountsOf(group).keys()].every((account) => accounts.has(account))) continue;
      heads.push({ groupId, epoch, authenticator: epochAuthenticator(other) });
      topics.set(key, `${epoch}`);
      if (heads.length === MAX_HEADS) break;
    }
    return heads;
  }

  /** The lists of the accounts in this conversation that nobody was told of here, this device by others included. */
  #lists(step: Step, group: GroupState, topics: Map<string, string>): ListHead[] {
    const told = this.#told.get(step.key);
    const lists: ListHead[] = [];
    for (const [account, leaf] of accountsOf(group)) {
      const known = this.#context().accounts.known(leaf);
      if (known?.hash === undefined) continue;
      const stand = standOf(step, known.version);
      if (told?.get(account) === stand) continue;
      lists.push({ leaf: leaf.leafIndex, version: known.version, hash: known.hash });
      topics.set(account, stand);
      if (lists.length === MAX_LISTS) break;
    }
    return lists;
  }

  /** A message in a conversation, of this epoch of it, carries something besides. */
  async hear(step: Step, group: GroupState, sender: Leaf, { heads, lists }: Hearsay): Promise<void> {
    if (heads.length > 0) step.after(() => this.#hearHeads(sender, heads));
    const { accounts } = this.#context();
    for (const { leaf: index, version, hash } of lists) {
      const leaf = leavesOf(group).find(({ leafIndex }) => leafIndex === index);
      if (leaf === undefined) continue;
      const known = accounts.known(leaf);
      // Who says less may not have heard of it yet.
      if (known !== undefined && version < known.version) continue;
      if (known?.hash !== undefined && version === known.version && equalBytes(hash, known.hash)) {
        // All have heard it, and need not be told once more.
        const topic = [accountOf(leaf), standOf(step, version)] as const;
        step.after(() => this.#note(step, [topic]));
      } else await accounts.claimed(step, leaf, { from: sender.userId, version, hash });
    }
  }

  /** Somebody says where groups stand. Only a member is believed, and only about a group that this user is in. */
  #hearHeads(from: Pick<Leaf, "userId" | "accountKey">, heads: readonly Head[]): void {
    const groups = new Map(this.#conversations().map((conversation) => [conversation.key, conversation]));
    const touched = new Set<Conversation>();
    for (const head of heads) {
      const conversation = groups.get(toHex(head.groupId));
      const group = conversation?.state.group;
      if (conversation === undefined || group === undefined) continue;
      if (conversation.state.record.subject.kind !== "group" || !accountsOf(group).has(accountOf(from)))
        continue;
      const byUser = this.#heard.get(conversation.key) ?? new Map<string, Head[]>();
      this.#heard.set(conversation.key, byUser);
      byUser.set(from.userId, [...(byUser.get(from.userId) ?? []), head].slice(-MAX_HEARD));
      touched.add(conversation);
    }
    for (const conversation of touched) this.compare(conversation);
  }

  /** Compares what was heard of a group with what this device has, as far as it has read the group's log. */
  compare(conversation: Conversation): void {
    const { state, key, isCurrent } = conversation;
    const byUser = this.#heard.get(key);
    if (byUser === undefined) return;
    if (state.record.status === "ended") return void this.#heard.delete(key);
    // A relay that has lost data is found out while the log is read: until then an earlier state of it may be meant.
    const { group } = state;
    if (!isCurrent || !isCompared(state) || group === undefined) return;
    this.#heard.delete(key);
    const present = group.groupContext.epoch;
    for (const [from, heads] of byUser) {
      const later = heads.filter(({ epoch }) => epoch > present);
      if (later.length > 0) this.#heard.set(key, (this.#heard.get(key) ?? new Map()).set(from, later));
      for (const head of heads) {
        if (head.epoch > present) continue;
        this.#context().background(this.#queue.run(() => this.#compare(conversation, group, from, head)));
      }
    }
  }

  async #compare(conversation: Conversation, group: GroupState, from: string, head: Head): Promise<void> {
    const context = this.#context();
    const { groupId, epoch, authenticator: theirs } = head;
    const isPresent = epoch === group.groupContext.epoch;
    // Of epochs before this device came in, or came back, it has nothing to compare with.
    const own = isPresent
      ? epochAuthenticator(group)
      : await context.store.get(layout.epochHead(groupId, epoch));
    if (own === undefined || equalBytes(own, theirs)) return;
    const { subject } = conversation.state.record;
    // One message may name as many epochs as a group has had.
    if (subject.kind === "direct" || (await hasClaimed(context, groupId, from))) return;
    const claim = { from, at: Number(epoch), theirs };
    const key = layout.equivocation(groupId, epoch);
    const { changes, tell } = await noteClaims(context, key, { own }, [claim], subject.name);
    if (changes.length > 0) await context.write(changes);
    tell();
  }
}

/** Direct conversations begin anew by themselves, so that only groups have a history to compare. */
function isCompared({ record }: Pick<ConversationState, "record">): boolean {
  return record.subject.kind === "group" && record.status === "active";
}
