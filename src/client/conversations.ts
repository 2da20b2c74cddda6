import { fromHex, toHex, toUtf8 } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { SerialQueue } from "../base/serial-queue.js";
import type { Body } from "./attachments/body.js";
import type { Destination } from "./attachments/upload.js";
import type { Effect } from "./context.js";
import { bodyOf, MESSAGE_ID_LENGTH, type MessageContent, messageContent } from "./conversation/content.js";
import type { Conversation } from "./conversation/conversation.js";
import { usersOf } from "./conversation/membership/leaves.js";
import { isAdmin, isBanned, type JoinMode } from "./conversation/membership/policy.js";
import type { PolicyChange } from "./conversation/membership/policy-change.js";
import type { Target } from "./conversation/sending/intent.js";
import { policyIn } from "./conversation/state.js";
import type { ConversationId, ConversationName } from "./delivery/history.js";
import { fingerprintOf, type SafetyNumber, safetyNumberOf } from "./identity/safety-number.js";
import { type ClientLimits, DEFAULT_MAX_MESSAGE_BYTES } from "./options.js";
import type { RunningClient } from "./running-client.js";
import type { Stamp } from "./tabs/core.js";

/** A group as {@link Client.groups} lists it. */
export interface GroupSummary {
  readonly name: string;
  readonly join: JoinMode;
  /** Whether this user is an admin. */
  readonly admin: boolean;
  /** User ids, this user among them. */
  readonly members: readonly string[];
  /** User ids that nobody can add. */
  readonly banned: readonly string[];
  /** How long messages are kept, in milliseconds; 0: without end. */
  readonly disappearAfter: number;
}

export interface MemberSummary {
  readonly userId: string;
  readonly admin: boolean;
}

/** A conversation as {@link Client.conversations} lists it: a user, or a group's name. */
export type ConversationSummary = { readonly user: string } | { readonly group: string };

/** The message with the time that the conversation's policy gives it. */
function timed(content: MessageContent, conversation: Conversation | undefined): MessageContent {
  const { group, record } = conversation?.state ?? {};
  const disappearAfter = group ? policyIn(group).disappearAfter : (record?.disappearAfter ?? 0);
  return disappearAfter > 0 ? { ...content, disappearAfter } : content;
}

/** What the app asks of conversations, by the names it knows them by. */
export class Conversations {
  readonly running: RunningClient;
  readonly #maxBytes: number;
  readonly #sends = new SerialQueue();
  /** How many messages are being written that are to wait for a conversation, by user: what comes later must not overtake them. */
  readonly #homeless = new Map<string, number>();

  constructor(running: RunningClient, limits: ClientLimits) {
    this.running = running;
    this.#maxBytes = limits.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES;
  }

  #content(body: Body, { id, sentAt }: Stamp): MessageContent {
    const bytes = typeof body === "string" ? toUtf8(body) : body;
    if (bytes instanceof Uint8Array && bytes.length > this.#maxBytes) {
      throw new SubrosaError(
        "too-large",
        `a message has at most ${this.#maxBytes} bytes; a Blob may have more`,
      );
    }
    return messageContent(body, { id: fromHex(id), sentAt });
  }

  /** Throws what is known to keep an attachment from being sent there. */
  async assertDestination(to: Destination): Promise<void> {
    if ("group" in to) this.running.registry.active(to.group);
    else await this.#assertExpected(to.user, to.fingerprint);
  }

  async #assertExpected(userId: string, expected: string | undefined): Promise<void> {
    const contact = this.running.context.contacts.get(userId);
    if (expected === undefined || contact === undefined) return;
    if ((await fingerprintOf(userId, contact.pinnedKey)) !== expected.toLowerCase()) {
      throw new SubrosaError("identity-mismatch", "the account's fingerprint is not the expected one");
    }
  }

  async #enqueue(
    target: Target,
    content: MessageContent,
    conversation: ConversationId,
    options: { expected?: string | undefined; also: readonly Effect[] },
  ): Promise<string> {
    const { outbox, history, expiries, write, identity, signals } = this.running.context;
    const { expected, also } = options;
    const { disappearAfter } = content;
    const id = toHex(content.id);
    const { change } = outbox.add(target, {
      type: "send",
      content,
      ...(expected !== undefined && { expected }),
    });
    const entry = { id, from: identity.userId, content: bodyOf(content), sentAt: content.sentAt };
    const expiring = { ...entry, conversation };
    const timed =
      disappearAfter === undefined ? [] : [expiries.add(content.sentAt + disappearAfter, expiring)];
    await write([change, ...history.add(entry, conversation), ...timed, ...also]);
    if ("groupId" in target) signals.typing.sent(toHex(target.groupId));
    return id;
  }

  /** `also` is written in the transaction that makes the message durable. */
  async sendDirect(
    userId: string,
    content: Body,
    stamp: Stamp,
    expected?: string,
    also: readonly Effect[] = [],
  ): Promise<string> {
    const encoded = this.#content(content, stamp);
    // What is checked first must not let a later message overtake; only the check is waited for here, not the write.
    const { written } = await this.#sends.run(async () => {
      await this.#assertExpected(userId, expected);
      return { written: this.#writeDirect(userId, encoded, { expected, also }) };
    });
    return written;
  }

  async #writeDirect(
    userId: string,
    content: MessageContent,
    options: { expected: string | undefined; also: readonly Effect[] },
  ): Promise<string> {
    const conversation = this.running.registry.lastDirect(userId);
    const waits = this.running.context.outbox.waitsFor(userId) || this.#homeless.has(userId);
    const isActive = conversation?.state.record.status === "active" && !waits;
    const target: Target = isActive ? { groupId: conversation.state.record.groupId } : { userId };
    if (!isActive) this.#countHomeless(userId, 1);
    const written = this.#enqueue(target, timed(content, conversation), { user: userId }, options);
    const id = await written.finally(() => void (!isActive && this.#countHomeless(userId, -1)));
    if (isActive) conversation.flush();
    else this.running.starter.flushDirect(userId);
    return id;
  }

  #countHomeless(userId: string, by: number): void {
    const count = (this.#homeless.get(userId) ?? 0) + by;
    if (count > 0) this.#homeless.set(userId, count);
    else this.#homeless.delete(userId);
  }

  async sendToGroup(
    name: string,
    content: Body,
    stamp: Stamp,
    also: readonly Effect[] = [],
  ): Promise<string> {
    const encoded = this.#content(content, stamp);
    const conversation = this.running.registry.active(name);
    const { groupId } = conversation.state.record;
    const place = { groupId: toHex(groupId), group: name };
    const id = await this.#enqueue({ groupId }, timed(encoded, conversation), place, { also });
    conversation.flush();
    return id;
  }

  async createGroup(name: string, join: JoinMode): Promise<void> {
    if (this.running.registry.named(name) !== undefined) {
      throw new SubrosaError("name-taken", `already in a group named ${JSON.stringify(name)}`);
    }
    const { userId } = this.running.context.identity;
    const rules = { name, join, admins: [userId], banned: [], disappearAfter: 0 };
    await this.running.starter.createNamed({ kind: "group", ...rules });
  }

  async joinGroup(name: string, expected: string | undefined): Promise<void> {
    const isInvited = () => this.running.registry.named(name)?.state.record.status === "invited";
    for (;;) {
      const invited = this.running.registry.named(name);
      if (invited !== undefined && isInvited() && (await this.running.invitations.accept(invited, expected)))
        return;
      await this.running.connected();
      try {
        return await this.running.ownRequests.ask(name, expected);
      } catch (error) {
        const isPassing = SubrosaError.is(error) && error.code === "connection-failed";
        if (!isPassing && !isInvited()) throw error;
      }
    }
  }

  /** The group, if this user is one of its admins. */
  #administered(name: string): Conversation {
    const conversation = this.running.registry.active(name);
    const { group } = conversation.state;
    if (group === undefined || !isAdmin(policyIn(group), this.running.context.identity.userId)) {
      throw new SubrosaError("not-an-admin", `not an admin of group ${JSON.stringify(name)}`);
    }
    return conversation;
  }

  async invite(name: string, userId: string, expected: string | undefined): Promise<void> {
    const conversation = this.running.registry.active(name);
    const { group } = conversation.state;
    const policy = group && policyIn(group);
    const isOpen = policy?.kind === "group" && policy.join === "open";
    const allowed = isOpen ? conversation : this.#administered(name);
    if (policy !== undefined && isBanned(policy, userId))
      throw new SubrosaError("banned", `${userId} is banned from group ${JSON.stringify(name)}`);
    await allowed.perform({ type: "add", userId, ...(expected !== undefined && { expected }) });
  }

  async remove(name: string, userId: string): Promise<void> {
    if (userId === this.running.context.identity.userId) return this.leaveGroup(name);
    await this.#administered(name).perform({ type: "remove", userId });
  }

  async leaveGroup(name: string): Promise<void> {
    const conversation = this.running.registry.active(name);
    const { group } = conversation.state;
    if (group !== undefined && usersOf(group).length === 1) return this.deleteGroup(name);
    await conversation.perform({ type: "leave" });
  }

  async deleteGroup(name: string): Promise<void> {
    const { randomId, clock } = this.running.context;
    const content = { type: "close", id: randomId(MESSAGE_ID_LENGTH), sentAt: clock.now() } as const;
    await this.#administered(name).perform({ type: "send", content });
  }

  /** Changes what a group is. */
  async administer(name: string, change: PolicyChange): Promise<void> {
    await this.#administered(name).perform({ type: "policy", change });
  }

  async renameGroup(name: string, next: string): Promise<void> {
    const { groupId } = this.running.registry.active(name).state.record;
    if (this.running.registry.isBound(next, groupId)) {
      throw new SubrosaError("name-taken", `already in a group named ${JSON.stringify(next)}`);
    }
    await this.administer(name, { type: "rename", name: next });
  }

  banned(name: string): string[] {
    const { group } = this.running.registry.active(name).state;
    const policy = group && policyIn(group);
    return policy?.kind === "group" ? [...policy.banned] : [];
  }

  /** Of a direct conversation that is not there yet it is what it begins with. */
  async setDisappearing(conversation: ConversationName, disappearAfter: number): Promise<void> {
    const change = { type: "disappearAfter", disappearAfter } as const;
    if (typeof conversation !== "string") return this.administer(conversation.group, change);
    const { registry, starter, context } = this.running;
    const direct = registry.direct(conversation);
    if (direct?.state.record.status === "active" && !context.outbox.waitsFor(conversation))
      return direct.perform({ type: "policy", change });
    const { intent, change: stored } = context.outbox.add(
      { userId: conversation },
      { type: "policy", change },
    );
    const finished = context.outbox.finished(intent);
    finished.catch(() => {});
    await context.write([stored]);
    starter.flushDirect(conversation);
    await finished;
  }

  groups(): GroupSummary[] {
    return this.running.registry.all().flatMap(({ state: { record, group } }) => {
      const { subject, status } = record;
      if (subject.kind !== "group" || status !== "active" || group === undefined) return [];
      const policy = policyIn(group);
      if (policy.kind !== "group") return [];
      const admin = isAdmin(policy, this.running.context.identity.userId);
      const { join, banned, disappearAfter } = policy;
      return [{ name: subject.name, join, admin, members: usersOf(group), banned, disappearAfter }];
    });
  }

  members(name: string): MemberSummary[] {
    const { group } = this.running.registry.active(name).state;
    if (group === undefined) return [];
    const policy = policyIn(group);
    return usersOf(group).map((userId) => ({ userId, admin: isAdmin(policy, userId) }));
  }

  list(): ConversationSummary[] {
    const users = new Set(this.running.context.outbox.waitingUsers());
    for (const name of this.running.context.history.conversations()) {
      if (typeof name === "string") users.add(name);
    }
    const groups = new Set<string>();
    for (const { state } of this.running.registry.all()) {
      const { subject, status } = state.record;
      if (subject.kind === "direct") users.add(subject.peer);
      else if (status === "active") groups.add(subject.name);
    }
    return [...[...users].map((user) => ({ user })), ...[...groups].map((group) => ({ group }))];
  }

  async setBlocked(userId: string, blocked: boolean): Promise<void> {
    await this.running.connected();
    const { relay, signals } = this.running.context;
    await relay.request("setBlocked", { userId, blocked });
    signals.presence.setBlocked(userId, blocked);
  }

  async blocked(): Promise<string[]> {
    await this.running.connected();
    return [...(await this.running.context.relay.request("listBlocked", {})).users];
  }

  async safetyNumber(userId: string): Promise<SafetyNumber & { verified: boolean }> {
    const { contacts, relay, identity } = this.running.context;
    const contact =
      contacts.get(userId) ??
      (await contacts.checkAccount(await relay.request("fetchAccount", { userId }), userId));
    const own = { userId: identity.userId, accountKey: identity.account.accountKey };
    const number = await safetyNumberOf(own, { userId, accountKey: contact.pinnedKey });
    return { ...number, verified: contact.verified };
  }
}
