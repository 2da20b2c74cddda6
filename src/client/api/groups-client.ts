import { assertOptions, type Names } from "../../base/arguments.js";
import { assertArgument } from "../../base/errors.js";
import { assertName } from "../../wire/identifiers.js";
import { assertConversation } from "../arguments.js";
import { isDisappearTime, JOIN_MODES, type JoinMode } from "../conversation/membership/policy.js";
import type { PolicyChange } from "../conversation/membership/policy-change.js";
import type { GroupSummary, MemberSummary } from "../conversations.js";
import type { ConversationName } from "../delivery/history.js";
import { assertFingerprint } from "../identity/safety-number.js";
import { WAIT_NAMES, type WaitOptions } from "../waiting.js";
import { MessagingClient, type SendOptions } from "./messaging-client.js";

const CREATE_NAMES: Names<{ join: JoinMode } & WaitOptions> = { join: true, ...WAIT_NAMES };
const JOIN_NAMES: Names<SendOptions & WaitOptions> = { fingerprint: true, ...WAIT_NAMES };

/** Groups: who is in them, and what they are. */
export abstract class GroupsClient extends MessagingClient {
  /** Creates a group of which this user is a member and an admin. Throws `name-taken`, `timeout`, `quota-exceeded`. */
  async createGroup(group: string, options: { readonly join?: JoinMode } & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertOptions(options, CREATE_NAMES);
    const { join = "approval", ...waiting } = options;
    assertJoinMode(join);
    await this.wait((core) => core.call("createGroup", group, join), waiting);
  }

  /**
   * Asks to join a group; resolves once this user is a member. After `timeout` the request stands: a later approval
   * raises `groupJoin`. With `fingerprint`, the member who admits must have it. If the group was renamed meanwhile, it
   * comes as an `invitation` under its new name. Throws `join-rejected`, `banned`, `unknown-group` (then, too),
   * `already-a-member`, `identity-mismatch`, `name-taken` (its name is another group's by now), `timeout`, `aborted`.
   */
  async joinGroup(
    group: string,
    options: { readonly fingerprint?: string } & WaitOptions = {},
  ): Promise<void> {
    assertName(group, "group");
    assertOptions(options, JOIN_NAMES);
    const { fingerprint, ...waiting } = options;
    assertFingerprint(fingerprint);
    await this.wait((core) => core.call("joinGroup", group, fingerprint), waiting);
  }

  /**
   * Adds a user to a group, who then gets an `invitation`; one that is a member under an identity which it has no more
   * comes in its place, if an admin asks for it. Throws `not-an-admin`, `unknown-user`, `already-a-member`, `banned`,
   * `identity-changed`, …
   */
  async invite(group: string, userId: string, options: SendOptions & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    assertOptions(options, JOIN_NAMES);
    const { fingerprint, ...waiting } = options;
    assertFingerprint(fingerprint);
    await this.wait((core) => core.call("invite", group, userId, fingerprint), waiting);
  }

  /** Removes a user from a group; what is sent afterwards is not for it. Throws `not-an-admin`, `not-a-member`, … */
  async remove(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    await this.wait((core) => core.call("remove", group, userId), options);
  }

  /** Leaves a group; the last member deletes it by leaving. Throws `not-a-member`, `timeout`. */
  async leaveGroup(group: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    await this.wait((core) => core.call("leaveGroup", group), options);
  }

  /** Deletes a group for all its members. Throws `not-an-admin`, `not-a-member`, `timeout`. */
  async deleteGroup(group: string, options: WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    await this.wait((core) => core.call("deleteGroup", group), options);
  }

  /** Makes a member an admin. Throws `not-an-admin`, `not-a-member`, `quota-exceeded`, `timeout`. */
  async promote(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    await this.#administer(group, { type: "promote", userId: checkedUser(userId) }, options);
  }

  /**
   * Makes an admin, who may be this user, a mere member. Throws `last-admin` where nobody else is one, `not-an-admin`,
   * `not-a-member`, `timeout`.
   */
  async demote(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    await this.#administer(group, { type: "demote", userId: checkedUser(userId) }, options);
  }

  /**
   * Keeps a user out of a group, whoever would add it, until `unban`; removes it if it is a member. Its requests to
   * join are refused by themselves. Throws `not-an-admin`, `quota-exceeded`, `timeout`.
   */
  async ban(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    assertArgument(userId !== this.userId, "userId: another user than oneself");
    await this.#administer(group, { type: "ban", userId: checkedUser(userId) }, options);
  }

  /** Lets a user be added to a group again. Throws `not-an-admin`, `timeout`. */
  async unban(group: string, userId: string, options: WaitOptions = {}): Promise<void> {
    await this.#administer(group, { type: "unban", userId: checkedUser(userId) }, options);
  }

  /** Who is banned from a group; throws `not-a-member`. */
  async banned(group: string): Promise<string[]> {
    return (await this.open()).call("banned", group);
  }

  /** Changes who may join a group. Throws `not-an-admin`, `timeout`. */
  async setJoinMode(group: string, join: JoinMode, options: WaitOptions = {}): Promise<void> {
    assertJoinMode(join);
    await this.#administer(group, { type: "join", join }, options);
  }

  /**
   * Gives a group another name; its history comes with it. Throws `not-an-admin`, `name-taken`, `rate-limited`,
   * `timeout`.
   */
  async renameGroup(group: string, name: string, options: WaitOptions = {}): Promise<void> {
    assertName(name, "name");
    await this.#administer(group, { type: "rename", name }, options);
  }

  /**
   * Sets for how long messages of a conversation, with a user or of a `{ group }`, are kept by all who are in it, in
   * milliseconds, from five seconds to a year; 0: without end. Either user of a direct conversation may, and in a group its admins. Throws
   * `not-an-admin`, `unknown-user`, `timeout`.
   */
  async setDisappearing(
    conversation: ConversationName,
    milliseconds: number,
    options: WaitOptions = {},
  ): Promise<void> {
    assertConversation(conversation);
    assertArgument(conversation !== this.userId, "conversation: with another user than oneself");
    assertArgument(isDisappearTime(milliseconds), "milliseconds: 0, or from five seconds to a year");
    const name = typeof conversation === "string" ? conversation : { group: conversation.group };
    await this.wait((core) => core.call("setDisappearing", name, milliseconds), options);
  }

  async #administer(group: string, change: PolicyChange, options: WaitOptions): Promise<void> {
    assertName(group, "group");
    await this.wait((core) => core.call("administer", group, change), options);
  }

  /** The groups this user is a member of. */
  async groups(): Promise<GroupSummary[]> {
    return (await this.open()).call("groups");
  }

  /** The members of a group; throws `not-a-member`. */
  async members(group: string): Promise<MemberSummary[]> {
    return (await this.open()).call("members", group);
  }
}

function assertJoinMode(join: JoinMode): void {
  assertArgument(JOIN_MODES.includes(join), "join: approval, open or closed");
}

function checkedUser(userId: string): string {
  assertName(userId, "userId");
  return userId;
}
