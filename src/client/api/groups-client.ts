import { assertArgument } from "../../base/errors.js";
import { assertName } from "../../wire/identifiers.js";
import { assertOptions } from "../arguments.js";
import type { JoinMode } from "../conversation/policy.js";
import type { GroupSummary, MemberSummary } from "../conversations.js";
import { assertFingerprint } from "../identity/safety-number.js";
import type { WaitOptions } from "../waiting.js";
import { MessagingClient, type SendOptions } from "./messaging-client.js";

/** Groups: who is in them, and what they are. */
export abstract class GroupsClient extends MessagingClient {
  /** Creates a group of which this user is a member and an admin. Throws `name-taken`, `timeout`, `quota-exceeded`. */
  async createGroup(group: string, options: { readonly join?: JoinMode } & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertOptions(options);
    const { join = "approval" } = options;
    assertArgument(["approval", "open", "closed"].includes(join), "join: approval, open or closed");
    await this.wait((core) => core.call("createGroup", group, join), options);
  }

  /**
   * Asks to join a group; resolves once this user is a member. After `timeout` the request stands: a later approval
   * raises `groupJoin`. With `fingerprint`, the member who admits must have it. Throws `join-rejected`,
   * `unknown-group`, `already-a-member`, `identity-mismatch`, `timeout`, `aborted`.
   */
  async joinGroup(
    group: string,
    options: { readonly fingerprint?: string } & WaitOptions = {},
  ): Promise<void> {
    assertName(group, "group");
    assertOptions(options);
    assertFingerprint(options.fingerprint);
    await this.wait((core) => core.call("joinGroup", group, options.fingerprint), options);
  }

  /** Adds a user to a group, who then gets an `invitation`. Throws `not-an-admin`, `unknown-user`, `already-a-member`, … */
  async invite(group: string, userId: string, options: SendOptions & WaitOptions = {}): Promise<void> {
    assertName(group, "group");
    assertName(userId, "userId");
    assertOptions(options);
    assertFingerprint(options.fingerprint);
    await this.wait((core) => core.call("invite", group, userId, options.fingerprint), options);
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

  /** The groups this user is a member of. */
  async groups(): Promise<GroupSummary[]> {
    return (await this.open()).call("groups");
  }

  /** The members of a group; throws `not-a-member`. */
  async members(group: string): Promise<MemberSummary[]> {
    return (await this.open()).call("members", group);
  }
}
