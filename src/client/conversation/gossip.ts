import { type Bytes, equalBytes } from "../../base/bytes.js";
import { toHex } from "../../base/encoding.js";
import { SerialQueue } from "../../base/serial-queue.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import { epochAuthenticator, type GroupState } from "../../mls/group/index.js";
import type { Change } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import { DIGEST_LENGTH } from "../../wire/protocol.js";
import type { Context } from "../context.js";
import { DAY, layout } from "../layout.js";
import { type Head, MAX_HEADS, MESSAGE_ID_LENGTH } from "./content.js";
import type { Conversation } from "./conversation.js";
import type { Action, Intent } from "./intent.js";
import { type Leaf, leavesOf } from "./leaves.js";
import type { ConversationState } from "./state.js";
import type { Step } from "./step.js";

/** Of how many past epochs a device still knows what they were. */
const KEPT_EPOCHS = 1024n;
/** What one member says of a group that this device cannot compare yet: the last of it, in memory. */
const MAX_HEARD = MAX_HEADS;
/** How long it is kept that a member named another history. */
const EVIDENCE_KEPT_FOR = 400 * DAY;

/** That members named another history of a group than this device has. */
export interface Equivocation {
  /** What the epoch is here; 32 bytes each. */
  readonly own: Bytes;
  readonly claims: readonly {
    readonly from: string;
    readonly theirs: Bytes;
    /** Milliseconds since 1970 when it was heard. */
    readonly time: number;
  }[];
}

function encodeEquivocation(writer: Writer, { own, claims }: Equivocation): void {
  writer.u8(1).fixed(own);
  writer.vector(claims, (w, { from, theirs, time }) => {
    encodeName(w, from);
    w.fixed(theirs).uint53(time);
  });
}

export function decodeEquivocation(reader: Reader): Equivocation {
  if (reader.u8() !== 1) reader.fail("unknown version of equivocation");
  const own = reader.fixed(DIGEST_LENGTH);
  const claims = reader.vector((r) => ({
    from: decodeName(r),
    theirs: r.fixed(DIGEST_LENGTH),
    time: r.uint53(),
  }));
  return { own, claims };
}

/** The changes with which the epoch that a commit ends stays known, for as many commits as {@link KEPT_EPOCHS}. */
export function keepHead(ended: GroupState): Change[] {
  const { groupId, epoch } = ended.groupContext;
  const kept = { put: layout.epochHead(groupId, epoch), value: epochAuthenticator(ended) };
  if (epoch < KEPT_EPOCHS) return [kept];
  return [kept, { delete: layout.epochHead(groupId, epoch - KEPT_EPOCHS) }];
}

const accountsIn = new WeakMap<GroupState["tree"], ReadonlySet<string>>();

const accountOf = ({ userId, accountKey }: Pick<Leaf, "userId" | "accountKey">) =>
  `${toHex(accountKey)} ${userId}`;

function accountsOf(group: GroupState): ReadonlySet<string> {
  const accounts = accountsIn.get(group.tree) ?? new Set(leavesOf(group).map(accountOf));
  accountsIn.set(group.tree, accounts);
  return accounts;
}

type SendIntent = Intent & { readonly action: Extract<Action, { type: "send" }> };

/**
 * Tells members of a group which history of it this device has, in other conversations that they share, and compares
 * what they tell: a relay that shows two members different logs would have to do so in all of these at once.
 */
export class Gossip {
  readonly #context: () => Context;
  readonly #conversations: () => readonly Conversation[];
  /** By conversation, the epoch of each other group that was told there in this process. */
  readonly #told = new Map<string, Map<string, bigint>>();
  /** By group and member, what was heard and not compared yet. */
  readonly #heard = new Map<string, Map<string, Head[]>>();
  readonly #queue = new SerialQueue();

  constructor(context: () => Context, conversations: () => readonly Conversation[]) {
    this.#context = context;
    this.#conversations = conversations;
  }

  /** Messages about to be sealed in a conversation, behind what is to be told in it of others. */
  before(step: Step, messages: readonly SendIntent[]): readonly SendIntent[] {
    const rest = messages.filter(({ action }) => action.content.type !== "heads");
    for (const intent of messages) {
      if (rest.includes(intent)) continue;
      // It did not get out in time. Who reads here may be others now, and what there is to say is something else.
      step.endIntent(intent);
      this.#told.delete(step.key);
    }
    const heads = this.#toTell(step);
    if (heads.length === 0) return rest;
    const { outbox, randomId, clock } = this.#context();
    const content = { type: "heads", id: randomId(MESSAGE_ID_LENGTH), sentAt: clock.now(), heads } as const;
    const { intent } = outbox.add({ groupId: step.record.groupId }, { type: "send", content });
    return [intent as SendIntent, ...rest];
  }

  /** Groups that everybody in this conversation is in, and whose present epoch nobody was told of here. */
  #toTell({ record, group }: Pick<ConversationState, "record" | "group">): Head[] {
    if (group === undefined) return [];
    const told = this.#told.get(toHex(record.groupId));
    const heads: Head[] = [];
    for (const { key, state, isCurrent } of this.#conversations()) {
      const other = state.group;
      if (other === undefined || !isCurrent || !isCompared(state) || other === group) continue;
      const { groupId, epoch } = other.groupContext;
      if (told?.get(key) === epoch || equalBytes(groupId, record.groupId)) continue;
      // A group's id is not for people who are not in it.
      const accounts = accountsOf(other);
      if (![...accountsOf(group)].every((account) => accounts.has(account))) continue;
      heads.push({ groupId, epoch, authenticator: epochAuthenticator(other) });
      if (heads.length === MAX_HEADS) break;
    }
    return heads;
  }

  /** A message was sealed in a conversation: what it tells is told. */
  told(groupId: Bytes, { content }: SendIntent["action"]): void {
    if (content.type !== "heads") return;
    const key = toHex(groupId);
    const told = this.#told.get(key) ?? new Map<string, bigint>();
    this.#told.set(key, told);
    for (const head of content.heads) told.set(toHex(head.groupId), head.epoch);
  }

  /** Somebody says where groups stand. Only a member is believed, and only about a group that this user is in. */
  hear(from: Pick<Leaf, "userId" | "accountKey">, heads: readonly Head[]): void {
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
    const { store, clock, write, emit } = this.#context();
    const { groupId, epoch, authenticator: theirs } = head;
    const isPresent = epoch === group.groupContext.epoch;
    // Of epochs before this device came in, or came back, it has nothing to compare with.
    const own = isPresent ? epochAuthenticator(group) : await store.get(layout.epochHead(groupId, epoch));
    if (own === undefined || equalBytes(own, theirs)) return;
    const name = layout.equivocation(groupId, epoch);
    const stored = await store.get(name);
    const claims = stored === undefined ? [] : decode(decodeEquivocation, stored).claims;
    if (claims.some((claim) => claim.from === from)) return;
    const found = { own, claims: [...claims, { from, theirs, time: clock.now() }] };
    await write([{ put: name, value: encode(encodeEquivocation, found) }]);
    const { subject } = conversation.state.record;
    if (subject.kind === "direct") return;
    const hashes = { own: toHex(own), theirs: toHex(theirs) };
    emit("equivocation", { group: subject.name, from, epoch: Number(epoch), ...hashes });
  }

  /** Forgets evidence that is old. */
  async prune(): Promise<void> {
    const { store, clock, write } = this.#context();
    const oldest = clock.now() - EVIDENCE_KEPT_FOR;
    const old: Change[] = [];
    for (const [key, value] of await store.list(layout.equivocations)) {
      const { claims } = decode(decodeEquivocation, value);
      if (claims.every(({ time }) => time < oldest)) old.push({ delete: key });
    }
    if (old.length > 0) await write(old);
  }
}

/** Direct conversations begin anew by themselves, so that only groups have a history to compare. */
function isCompared({ record }: Pick<ConversationState, "record">): boolean {
  return record.subject.kind === "group" && record.status === "active";
}
