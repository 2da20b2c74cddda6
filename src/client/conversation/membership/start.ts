import { type Bytes, compareBytes, EMPTY, equalBytes } from "../../../base/bytes.js";
import { toHex, toUtf8 } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { createGroup, type GroupState, makeCapabilities } from "../../../mls/group/index.js";
import { GROUP_ID_LENGTH, Role } from "../../../wire/protocol.js";
import type { CreateBody } from "../../../wire/requests.js";
import type { Context } from "../../context.js";
import { fateChange } from "../../delivery/sent-messages.js";
import { fingerprintOf } from "../../identity/safety-number.js";
import { layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { Conversation } from "../conversation.js";
import type { Inbox } from "../receiving/inbox.js";
import type { ConversationRecord } from "../record.js";
import type { Registry } from "../registry.js";
import type { Action, Intent } from "../sending/intent.js";
import { isMessage } from "../sending/outbox.js";
import { sealCommit } from "../sending/seal.js";
import { type ConversationState, initialChanges, NO_PLACE, policyIn } from "../state.js";
import { checkedKeyPackage } from "./additions.js";
import { nameHash } from "./directory-names.js";
import { LostUsers } from "./lost-users.js";
import { type GroupPolicy, POLICY_EXTENSION, type Policy, policyExtension } from "./policy.js";

/** How long to wait before asking again for what the relay allows only so often, or not for once, in milliseconds. */
const ALLOWANCE_DELAY = 30_000;

/** How a group's creation ended, for whoever waits. */
interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: SubrosaError) => void;
}

/** Starts conversations: groups by name, and the direct one of two users when the first message is sent. */
export class Starter {
  readonly #context: Context;
  readonly #registry: Registry;
  readonly #creating = new Map<string, Promise<void>>();
  readonly #waiters = new Map<string, Waiter>();
  readonly #starting = new Map<string, Promise<void>>();
  readonly #again = new Set<string>();
  readonly #lost: LostUsers;

  readonly #recover: Inbox["recover"];

  constructor(context: Context, registry: Registry, recover: Inbox["recover"]) {
    this.#recover = recover;
    this.#lost = new LostUsers(context, (userId) => this.flushDirect(userId));
    this.#context = context;
    this.#registry = registry;
  }

  /** A new group; resolves when the relay has taken it. Throws `name-taken`. */
  async createNamed(policy: GroupPolicy): Promise<void> {
    const conversation = await this.#prepare({ kind: "group", name: policy.name }, policy);
    await conversation.step((step) => step.change(...initialChanges(conversation.state)));
    this.#registry.insert(conversation);
    await this.#created(conversation);
  }

  /**
   * A group in the place of one of the same name, with these members: it is stored, with what else is to be done in it,
   * then `free` ends the other one, then it is created. Throws what `free` and the relay throw; then there is nothing of
   * it, unless the trouble is this device's own: whether the other one has ended is not known then, and the next session
   * creates it, or finds the name taken.
   */
  async createAnew(
    policy: GroupPolicy,
    keyPackages: readonly Bytes[],
    actions: readonly Action[],
    free: () => Promise<void>,
  ): Promise<Conversation> {
    const conversation = await this.#prepare({ kind: "group", name: policy.name }, policy);
    await conversation.step(async (step) => {
      const { outbox } = this.#context;
      const target = { groupId: step.record.groupId };
      step.change(...initialChanges(conversation.state));
      if (keyPackages.length > 0)
        await sealCommit(this.#context, step, outbox.add(target, { type: "start" }).intent, { keyPackages });
      step.change(...actions.map((action) => outbox.add(target, action).change));
    });
    try {
      await free();
    } catch (error) {
      if (isOwnTrouble(error)) this.#registry.insert(conversation);
      else await this.#forget(conversation);
      throw error;
    }
    this.#registry.insert(conversation);
    await this.#created(conversation);
    return conversation;
  }

  /** Resolves when the relay has taken a conversation. */
  #created(conversation: Conversation): Promise<void> {
    const created = new Promise<void>((resolve, reject) =>
      this.#waiters.set(conversation.key, { resolve, reject }),
    );
    created.catch(() => {});
    this.flushCreations();
    return created;
  }

  /** Asks the relay for every conversation that it has not confirmed yet. */
  flushCreations(): void {
    for (const conversation of this.#registry.all()) {
      if (conversation.state.record.status === "creating")
        this.#context.background(this.#create(conversation));
    }
  }

  #create(conversation: Conversation): Promise<void> {
    const running =
      this.#creating.get(conversation.key) ??
      this.#requestCreation(conversation)
        .catch((error: unknown) => this.#creationFailed(conversation, error))
        .finally(() => this.#creating.delete(conversation.key));
    this.#creating.set(conversation.key, running);
    return running;
  }

  async #requestCreation(conversation: Conversation): Promise<void> {
    const { groupId, subject, generation } = conversation.state.record;
    const start = conversation.intents().find(({ action }) => action.type === "start")?.sealed;
    const first = start && {
      kind: start.kind,
      entryId: start.entryId,
      payload: start.payload,
      bundle: { access: start.bundle?.access ?? [], welcome: start.bundle?.welcome ?? EMPTY },
    };
    const body: CreateBody =
      subject.kind === "group"
        ? { groupId, nameHash: await nameHash(subject.name), ...(first && { first }) }
        : { groupId, direct: { peer: subject.peer, generation: generation ?? 1 }, ...(first && { first }) };
    await this.#context.relay.request("create", body);
    await conversation.step((step) => {
      step.setStatus("active");
      // What takes the place of another group is the same group to the app.
      if (subject.kind === "group" && this.#registry.stranded(subject.name) === undefined) {
        step.after(() => this.#context.emit("groupCreated", { group: subject.name }));
      }
    });
    this.#waiters.get(conversation.key)?.resolve();
    this.#waiters.delete(conversation.key);
    await conversation.subscribe();
    if (subject.kind === "direct") this.flushDirect(subject.peer);
  }

  async #creationFailed(conversation: Conversation, error: unknown): Promise<void> {
    if (isOwnTrouble(error)) return;
    const code = SubrosaError.is(error) ? error.code : "internal";
    const { subject } = conversation.state.record;
    if (code === "rate-limited" && (subject.kind === "direct" || this.#registry.stranded(subject.name))) {
      // Messages wait for it; without what takes its place, a group that has ended is lost to all.
      this.#context.clock.after(ALLOWANCE_DELAY, () => this.flushCreations());
      return;
    }
    await this.#forget(conversation);
    const failure = SubrosaError.is(error)
      ? error
      : new SubrosaError("internal", "a group could not be created");
    this.#waiters.get(conversation.key)?.reject(failure);
    this.#waiters.delete(conversation.key);
    // The other user was first: its welcome is on the way, or on the second look the slot is ours to take.
    if (subject.kind === "direct") {
      if (code === "conflict") this.flushDirect(subject.peer);
      else if (!this.#lost.await(subject.peer, failure)) await this.#failMessages(subject.peer, failure);
    }
  }

  /** A conversation that never came to be. */
  async #forget(conversation: Conversation): Promise<void> {
    const changes = conversation.intents().map((intent) => this.#context.outbox.end(intent));
    await conversation.step((step) => {
      step.end();
      step.change(...changes);
    });
    this.#registry.delete(conversation);
    await this.#context.write([{ delete: layout.conversation(conversation.state.record.groupId) }]);
  }

  /** Gives messages to a user their conversation, starting one where there is none. */
  flushDirect(userId: string): void {
    this.#again.add(userId);
    if (this.#starting.has(userId)) return;
    this.#again.delete(userId);
    const running = this.#startDirect(userId)
      .then(() => this.#lost.found(userId))
      .catch((error: unknown) => this.#directFailed(userId, error))
      .finally(() => {
        this.#starting.delete(userId);
        // Something changed meanwhile: perhaps the other user's welcome came.
        if (this.#again.delete(userId)) this.flushDirect(userId);
      });
    this.#starting.set(userId, running);
    this.#context.background(running);
  }

  #messagesTo(userId: string): Intent[] {
    return this.#context.outbox.forTarget((target) => "userId" in target && target.userId === userId);
  }

  async #startDirect(userId: string): Promise<void> {
    const intents = this.#messagesTo(userId);
    if (intents.length === 0) return;
    const existing = this.#registry.direct(userId);
    if (existing !== undefined) {
      if (existing.state.record.status === "creating") return this.flushCreations();
      await this.adopt(existing, userId);
      return;
    }
    const { relay, contacts, identity } = this.#context;
    if (!relay.isReady) return;
    const { binding } = await relay.request("resolveDirect", { userId });
    // The other user has begun: its pointer is in our inbox, or will be.
    if (binding !== undefined && this.#registry.get(binding.groupId) === undefined) {
      const { groups } = await relay.request("listGroups", {});
      const listed = groups.find(({ groupId }) => equalBytes(groupId, binding.groupId));
      const result = listed && (await this.#recover({ groupId: listed.groupId, at: listed.since }));
      if (result?.type === "joined" || result?.type === "held") return;
      // It was that of another device, of an account that had this name before: ours is a new one.
    }
    if (await this.#adoptLive(userId)) return;
    const found = await relay.request("fetchKeyPackages", { userId });
    await this.#failUnexpected(userId, found.account.accountKey);
    if (this.#messagesTo(userId).length === 0) return;
    await contacts.checkAccount(found.account, userId);
    if (await this.#adoptLive(userId)) return;
    const keyPackages = found.devices.map((device) => checkedKeyPackage(found.account, device));
    if (keyPackages.length === 0)
      throw new SubrosaError("no-key-package", "the relay has no key package of the user");
    const users = [
      { userId: identity.userId, accountKey: identity.account.accountKey },
      { userId, accountKey: found.account.accountKey },
    ].sort((a, b) => compareBytes(toUtf8(a.userId), toUtf8(b.userId)));
    const generation = (binding?.generation ?? 0) + 1;
    const lastDirect = this.#registry.lastDirect(userId);
    const conversation = await this.#prepare(
      { kind: "direct", peer: userId },
      { kind: "direct", users, disappearAfter: lastDirect?.state.record.disappearAfter ?? 0 },
      generation,
    );
    const target = { groupId: conversation.state.record.groupId };
    await conversation.step(async (step) => {
      step.change(...initialChanges(conversation.state));
      const { intent } = this.#context.outbox.add(target, { type: "start" });
      await sealCommit(this.#context, step, intent, { keyPackages });
    });
    const live = this.#registry.direct(userId);
    this.#registry.insert(conversation);
    if (live !== undefined) {
      // The other's came while this one was made, which nobody has heard of yet.
      await this.#forget(conversation);
      return this.adopt(live, userId);
    }
    this.flushCreations();
  }

  /** Whether there is a conversation with the user by now; messages to it go there. */
  async #adoptLive(userId: string): Promise<boolean> {
    const live = this.#registry.direct(userId);
    if (live === undefined) return false;
    if (live.state.record.status === "creating") this.flushCreations();
    else await this.adopt(live, userId);
    return true;
  }

  /** Messages to a user go into this conversation from now on. */
  async adopt(conversation: Conversation, userId: string): Promise<void> {
    const { record, group } = conversation.state;
    const target = { groupId: record.groupId };
    const policy = group && policyIn(group);
    const user = policy?.kind === "direct" && policy.users.find((one) => one.userId === userId);
    if (user) await this.#failUnexpected(userId, user.accountKey);
    const { outbox, write } = this.#context;
    await outbox.decide(async () => {
      const changes = this.#messagesTo(userId).map((intent) => outbox.retarget(intent, target));
      if (changes.length > 0) await write(changes);
    });
    conversation.flush();
  }

  async #directFailed(userId: string, error: unknown): Promise<void> {
    if (!SubrosaError.is(error)) return this.#context.report(error);
    if (this.#lost.await(userId, error)) return;
    switch (error.code) {
      case "connection-failed":
      case "closed":
      case "identity-changed": // wait for `acceptIdentity`
        return;
      case "no-key-package":
        // The user is registered and about to publish, or will when it comes back; or has blocked this one.
        this.#lost.lookLater(userId);
        return;
      case "unknown-user":
      case "identity-mismatch":
      case "invalid-signature":
      case "invalid-message":
      case "protocol-error":
      case "malformed":
      case "invalid-key":
      case "quota-exceeded":
      case "too-large":
        return this.#failMessages(userId, error);
      default:
        if (error.code !== "rate-limited") this.#context.report(error);
        this.#context.clock.after(ALLOWANCE_DELAY, () => this.flushDirect(userId));
    }
  }

  /** Messages meant for another account than this one are not sent to it, however it came about. */
  async #failUnexpected(userId: string, accountKey: Bytes): Promise<void> {
    const fingerprint = await fingerprintOf(userId, accountKey);
    const unexpected = this.#messagesTo(userId).filter(({ action }) => {
      return action.type === "send" && (action.expected?.toLowerCase() ?? fingerprint) !== fingerprint;
    });
    if (unexpected.length === 0) return;
    const error = new SubrosaError("identity-mismatch", "the account's fingerprint is not the expected one");
    await this.#failMessages(userId, error, unexpected);
  }

  async #failMessages(
    userId: string,
    error: SubrosaError,
    intents = this.#messagesTo(userId),
  ): Promise<void> {
    const { outbox, failures, write } = this.#context;
    await outbox.decide(async () => {
      const standing = intents.filter((intent) => outbox.has(intent));
      const failed = standing.flatMap(({ action }) => {
        if (action.type !== "send" || !isMessage(action)) return [];
        const { id } = action.content;
        const { changes, tell } = failures.add(id, error.code);
        const { change } = fateChange(this.#context, id, { state: "failed", peer: userId, epoch: 0n });
        return [{ changes: [...changes, change], tell }];
      });
      await write([
        ...standing.map((intent) => outbox.end(intent)),
        ...failed.flatMap(({ changes }) => changes),
      ]);
      for (const intent of standing) outbox.settle(intent, error);
      for (const { tell } of failed) tell();
    });
  }

  /** A conversation that nothing knows of before it has been written. */
  async #prepare(
    subject: ConversationRecord["subject"],
    policy: Policy,
    generation?: number,
  ): Promise<Conversation> {
    const { identity, clock } = this.#context;
    const groupId: Bytes = this.#context.randomId(GROUP_ID_LENGTH);
    const group: GroupState = await createGroup({
      groupId,
      credential: { kind: "basic", identity: identity.credential },
      signer: identity.device,
      extensions: [policyExtension(policy)],
      capabilities: makeCapabilities({ extensions: [POLICY_EXTENSION] }),
    });
    const { userId, deviceId } = identity;
    const state: ConversationState = {
      record: {
        groupId,
        status: "creating",
        subject,
        refreshedAt: clock.now(),
        joinedAt: clock.now(),
        repairedAt: 0,
        growth: clock.now(),
        creator: true,
        disappearAfter: policy.disappearAfter,
        ...(generation !== undefined && { generation }),
      },
      place: NO_PLACE,
      access: new Map([[toHex(deviceId), { userId, deviceId, role: Role.admin }]]),
      activity: new Map([[toHex(deviceId), clock.now()]]),
      group,
    };
    return new Conversation(this.#context, state);
  }
}
