import { type Bytes, EMPTY, equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { type ErrorCode, SubrosaError } from "../../../base/errors.js";
import { type GroupState, readKeyPackage, validateKeyPackage } from "../../../mls/group/index.js";
import { ENTRY_ID_LENGTH, EntryKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { DAY, layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import type { Conversation } from "../conversation.js";
import { announceChange } from "../effects.js";
import { checkedKeyPackage, leafToReplace } from "../membership/additions.js";
import { authenticate, hasGrown, isSameDevice, type Leaf, leavesOf, usersOf } from "../membership/leaves.js";
import type { OwnRequests } from "../membership/own-requests.js";
import { isAdmin, isSamePolicy } from "../membership/policy.js";
import type { Starter } from "../membership/start.js";
import { waitingRequests } from "../membership/stored-requests.js";
import type { Registry } from "../registry.js";
import { type Action, isWish } from "../sending/intent.js";
import { type ConversationState, policyIn } from "../state.js";
import { forgetMessage, keptMessages } from "./journal.js";

/** How long an admin's request to be added anew stands unanswered, while connected, before it begins the group anew. */
const PATIENCE = 120_000;
/** How much later each further admin does, by the order of their leaves. */
const TURN = 60_000;
/**
 * How long it waits while others than the maker of that commit have not said that they are stranded too: they may only be away.
 * So may an admin be that has closed the group to begin it anew.
 */
const LONG_PATIENCE = DAY;
/** How long the deletion of a group is doubted by who is stranded in it, and cannot read who did it. */
const MOURNING = 60_000;

/** How many members are left out in turn where one of them keeps the relay, or the group, from taking the others. */
const MAX_TRIES = 16;

/** No fault of those who are to be added: whoever is left out, it comes to nothing now. */
const HOPELESS: readonly ErrorCode[] = [
  "not-an-admin",
  "not-a-member",
  "name-taken",
  "forbidden",
  "rate-limited",
  "stale",
];

/**
 * Whether a group takes the place of one of the same name that this device is stranded in: an admin of that one made it,
 * and nobody is in it who was not in that one. What only a relay answers strands nobody: the last commit must have been
 * unreadable, or another than the one that this device knows.
 */
export function isSuccessor(before: ConversationState, signer: Leaf, group: GroupState): boolean {
  if (!isStranded(before)) return false;
  const [policy, policyAfter] = [policyIn(before.group), policyIn(group)];
  if (policy.kind !== "group" || policyAfter.kind !== "group") return false;
  const leaves = leavesOf(before.group);
  const accounts = new Map(leaves.map(({ userId, accountKey }) => [userId, accountKey]));
  return (
    leaves.some((leaf) => isSameDevice(leaf, signer)) &&
    isAdmin(policy, signer.userId) &&
    isSamePolicy({ ...policy, admins: [] }, { ...policyAfter, admins: [] }) &&
    policyAfter.admins.every((admin) => policy.admins.includes(admin)) &&
    leavesOf(group).every(({ userId, accountKey }) => equalBytes(accounts.get(userId) ?? EMPTY, accountKey))
  );
}

type Stranded = ConversationState & { readonly group: GroupState };

/** The log goes on with a commit that this device cannot read, and nobody has added it anew yet. */
function isStranded(state: ConversationState): state is Stranded {
  const { status, repair } = state.record;
  const isCut = repair?.reason === "cursor-mismatch" && !repair.refused;
  return (
    status === "repairing" &&
    (repair?.reason === "decryption-failed" || isCut) &&
    !repair.readded &&
    state.group !== undefined
  );
}

/**
 * A commit that nobody but its maker can read leaves nobody else to add the others anew; nor does one in the place of what
 * a relay has lost, or nothing but noise. If its maker does not, an admin closes the group and begins one of the same name,
 * with the same members and admins, in its place.
 */
export class Recreation {
  readonly #context: Context;
  readonly #registry: Registry;
  readonly #starter: Starter;
  readonly #ownRequests: OwnRequests;
  /** What waits for its time in this session, by group. */
  readonly #watched = new Map<string, () => void>();
  readonly #mourned = new Map<string, () => void>();
  readonly #busy = new Set<string>();
  /** What is to take the place of another once all are in. */
  readonly #held = new Set<string>();

  constructor(context: Context, registry: Registry, starter: Starter, ownRequests: OwnRequests) {
    this.#context = context;
    this.#registry = registry;
    this.#starter = starter;
    this.#ownRequests = ownRequests;
  }

  /** This device asks to be added anew to a group. An admin waits for the answer only so long. */
  watch(conversation: Conversation): void {
    const { key, state } = conversation;
    if (!isStranded(state) || this.#watched.has(key) || this.#busy.has(key)) return;
    const policy = policyIn(state.group);
    const admins = leavesOf(state.group).filter(({ userId }) => isAdmin(policy, userId));
    const rank = admins.findIndex(({ leafIndex }) => leafIndex === state.group.ownLeafIndex);
    if (policy.kind !== "group" || rank < 0) return;
    const cancel = this.#context.clock.after(PATIENCE + TURN * rank, () => {
      this.#watched.delete(key);
      this.#context.background(this.#attempt(conversation));
    });
    this.#watched.set(key, cancel);
  }

  /**
   * The group was closed while this device was stranded: for good, if it is said inside of it (`isDeleted`), else perhaps because
   * an admin begins it anew. Should that one come to grief, the next does in its turn, as if the group were there still.
   */
  closed(groupId: Bytes, isDeleted = false): void {
    const key = toHex(groupId);
    const conversation = this.#registry.get(groupId);
    if (conversation === undefined || this.#mourned.has(key)) return;
    if (isDeleted) {
      this.#watched.get(key)?.();
      this.#watched.set(key, () => {});
    }
    const cancel = this.#context.clock.after(isDeleted ? MOURNING : LONG_PATIENCE, () => {
      this.#mourned.delete(key);
      if (conversation.state.record.status !== "repairing" || this.#busy.has(key)) return;
      this.#context.background(conversation.lose());
    });
    this.#mourned.set(key, cancel);
  }

  /** The session is over: a wait counts only while connected. */
  stop(): void {
    for (const timers of [this.#watched, this.#mourned]) {
      for (const cancel of timers.values()) cancel();
      timers.clear();
    }
  }

  async #attempt(conversation: Conversation): Promise<void> {
    const { state, key } = conversation;
    const { relay, clock } = this.#context;
    if (!isStranded(state) || !relay.isReady || this.#busy.has(key)) return;
    const { repairedAt, repair, subject } = state.record;
    // What takes its place is made already, and the relay has yet to take it.
    if (subject.kind === "group" && this.#registry.creating(subject.name)) return this.watch(conversation);
    const silent = await this.#silent(state);
    // Where the relay has lost what was there, who is silent may know how to go on.
    const makers = repair?.reason === "decryption-failed" ? 1 : 0;
    const isEarly = silent.size > makers && clock.now() - repairedAt < LONG_PATIENCE;
    if (repairedAt === 0 || isEarly) return this.watch(conversation);
    this.#busy.add(key);
    try {
      await this.#beginAnew(conversation, state, silent);
    } catch (error) {
      if (!SubrosaError.is(error) || !HOPELESS.includes(error.code)) throw error;
    } finally {
      this.#busy.delete(key);
      this.watch(conversation);
    }
  }

  /** Users of whom no device has asked to be added anew: who made the unreadable commit, and who is away. */
  async #silent({ group, record }: Stranded): Promise<Set<string>> {
    const silent = new Set(usersOf(group));
    silent.delete(this.#context.identity.userId);
    for (const { request } of await waitingRequests(this.#context, record.groupId)) {
      const leaf = await leafToReplace(group, request);
      if (leaf !== undefined && equalBytes(leaf.accountKey, request.accountKey)) silent.delete(leaf.userId);
    }
    return silent;
  }

  async #beginAnew(
    conversation: Conversation,
    { group }: Stranded,
    silent: ReadonlySet<string>,
  ): Promise<void> {
    const policy = policyIn(group);
    if (policy.kind !== "group") return;
    const { outbox, identity } = this.#context;
    const self = identity.userId;
    const { packages, later } = await this.#keyPackages(group);
    /** With all but these, who are added one by one then. */
    const begin = async (apart: readonly string[]) => {
      const isIn = (userId: string) => packages.has(userId) && !apart.includes(userId);
      const admins = policy.admins.filter((admin) => admin === self || isIn(admin));
      const keyPackages = [...packages].flatMap(([userId, own]) => (isIn(userId) ? own : []));
      const actions = [...apart, ...later].flatMap((userId): Action[] => {
        const promote: Action = { type: "policy", change: { type: "promote", userId } };
        return [{ type: "add", userId }, ...(policy.admins.includes(userId) ? [promote] : [])];
      });
      const free = () => this.#close(conversation);
      const next = await this.#starter.createAnew({ ...policy, admins }, keyPackages, actions, free);
      for (const intent of next.intents()) {
        const { action } = intent;
        if (action.type !== "add") continue;
        outbox.finished(intent).catch((error) => {
          if (!outbox.has(intent)) this.#leftOut(action.userId, error);
        });
      }
    };
    const users = [...packages.keys()];
    // Who has not said that it is stranded is the first that something may be wrong with.
    const suspects = users.sort((a, b) => Number(silent.has(b)) - Number(silent.has(a))).slice(0, MAX_TRIES);
    let cause: unknown;
    for (const apart of [[], ...suspects.map((userId) => [userId]), users]) {
      try {
        return await begin(apart);
      } catch (error) {
        if (!SubrosaError.is(error) || isOwnTrouble(error) || HOPELESS.includes(error.code)) throw error;
        cause = error;
      }
    }
    throw cause;
  }

  /** A key package for each device of the members; and whose the relay does not hand out just now. */
  async #keyPackages(group: GroupState): Promise<{ packages: Map<string, Bytes[]>; later: string[] }> {
    const { relay, contacts, identity, clock } = this.#context;
    const { extensions } = group.groupContext;
    const now = BigInt(Math.floor(clock.now() / 1000));
    const packages = new Map<string, Bytes[]>();
    const later: string[] = [];
    for (const { userId, accountKey } of firstLeaves(group, identity.deviceId)) {
      try {
        const { account, devices } = await relay.request("fetchKeyPackages", { userId });
        if (userId !== identity.userId) await contacts.checkAccount(account, userId);
        if (!equalBytes(account.accountKey, accountKey)) {
          throw new SubrosaError("identity-changed", "the account is another than that of the member");
        }
        const own: Bytes[] = [];
        for (const device of devices) {
          if (equalBytes(device.deviceId, identity.deviceId)) continue;
          const keyPackage = checkedKeyPackage(account, device);
          // One that cannot be added would keep all the others out.
          await validateKeyPackage(readKeyPackage(keyPackage), extensions, { authenticate, now });
          own.push(keyPackage);
        }
        packages.set(userId, own);
      } catch (error) {
        if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
        if (error.code === "rate-limited") later.push(userId);
        else this.#leftOut(userId, error);
      }
    }
    return { packages, later };
  }

  #leftOut(userId: string, error: SubrosaError): void {
    const reason = `${userId} is left out of a group that was begun anew: ${error.message}`;
    this.#context.report(new SubrosaError(error.code, reason));
  }

  /** Closes the group for everybody: who is stranded cannot read why, and waits for what comes in its place. */
  async #close({ log, state }: Conversation): Promise<void> {
    const { relay, randomId } = this.#context;
    const entry = { kind: EntryKind.close, entryId: randomId(ENTRY_ID_LENGTH), payload: EMPTY };
    try {
      await relay.request("append", { log, after: state.place.handshake, entry });
    } catch (error) {
      // An earlier attempt came as far as this.
      if (!SubrosaError.is(error) || error.code !== "unknown-group") throw error;
    }
  }

  #settleLater(next: Conversation): void {
    if (this.#held.has(next.key)) return;
    this.#held.add(next.key);
    const off = this.#context.outbox.onEnd(() => {
      off();
      this.#held.delete(next.key);
      // Not while the others are told.
      this.#context.background(Promise.resolve().then(() => this.settle(next)));
    });
  }

  /** A group is there: it takes the place of the one of its name that this device is stranded in, if there is one. */
  async settle(next: Conversation | undefined): Promise<void> {
    const { status, subject } = next?.state.record ?? {};
    if (next === undefined || status !== "active" || subject?.kind !== "group") return;
    const old = this.#registry.stranded(subject.name);
    if (old === undefined) return;
    // The members are not all in yet, or not what they were.
    if (next.intents().some(({ action: { type } }) => ["start", "add", "policy"].includes(type)))
      return this.#settleLater(next);
    const { write, history, outbox, store } = this.#context;
    const { groupId } = old.state.record;
    const target = { groupId: next.state.record.groupId };
    // What is being written for the old one counts too.
    await write([]);
    await old.step(async (step) => {
      if (step.record.status === "ended") return;
      const { group } = next.state;
      // Who has come in since is not to have what was lost before.
      const isGrown = !step.group || !group || hasGrown(step.group, group);
      if (step.group && group) {
        const by = leavesOf(group)[0]?.userId ?? this.#context.identity.userId;
        announceChange(this.#context, step, step.group, group, { by, subject });
      }
      for (const message of await keptMessages(store, groupId)) {
        // What the relay has lost of it; the rest fails with this one.
        if (isGrown || message.seq !== undefined || message.growth !== step.record.growth) continue;
        step.found.add(toHex(message.content.id));
        const { growth } = next.state.record;
        step.change(
          outbox.revive({ ...message, growth }, target),
          forgetMessage(groupId, message.content.id),
        );
      }
      for (const intent of old.intents()) if (isWish(intent.action)) step.moveIntent(intent, target);
      step.end();
      const id = { groupId: next.key, group: subject.name };
      step.change({ delete: layout.join(groupId) }, ...history.passOn(toHex(groupId), id));
    });
    this.#mourned.get(toHex(groupId))?.();
    this.#mourned.delete(toHex(groupId));
    this.#ownRequests.joined(old);
    next.flush();
  }
}

/** A leaf of each user, this device's aside. */
function firstLeaves(group: GroupState, deviceId: Bytes): Leaf[] {
  const leaves = leavesOf(group).filter((leaf) => !equalBytes(leaf.deviceId, deviceId));
  return leaves.filter((leaf, at) => leaves.findIndex(({ userId }) => userId === leaf.userId) === at);
}
