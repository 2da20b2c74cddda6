import { assertArgument } from "../base/errors.js";
import { VERSION } from "../base/version.js";
import { assertName } from "../wire/identifiers.js";
import { PresenceClient } from "./api/presence-client.js";
import type { SafetyNumber } from "./identity/safety-number.js";
import type { UserSummary } from "./roster.js";
import type { WaitOptions } from "./waiting.js";

/**
 * One user on one device. Everything it sends is encrypted for the receivers and durable before `send…` resolves;
 * everything it receives is durable before the relay may forget it.
 */
export class Client extends PresenceClient {
  /** The version of this package. */
  static readonly version: string = VERSION;

  /** What to compare with the person, over another channel. Throws `unknown-user`, `connection-failed` at first contact. */
  async safetyNumber(userId: string): Promise<SafetyNumber & { readonly verified: boolean }> {
    assertName(userId, "userId");
    return (await this.open()).call("safetyNumber", userId);
  }

  /** Notes that the safety number was compared. Throws `unknown-user`. */
  async markVerified(userId: string): Promise<void> {
    assertName(userId, "userId");
    await (await this.open()).call("markVerified", userId);
  }

  /** Accepts the new identity of a user, as `identityChanged` offered it. Throws `identity-mismatch`. */
  async acceptIdentity(userId: string, fingerprint: string): Promise<void> {
    assertName(userId, "userId");
    await (await this.open()).call("acceptIdentity", userId, fingerprint);
  }

  /**
   * Has the relay keep a user away: it gets no key packages of this user, begins no conversation with it and adds it
   * to no group, and is not told. Conversations that both are in go on. Holds for all devices of this user. Throws
   * `invalid-argument` for oneself, `quota-exceeded`, `connection-failed`, `timeout`.
   */
  async block(userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(userId, "userId");
    assertArgument(userId !== this.userId, "userId: another user");
    await this.wait((core) => core.call("setBlocked", userId, true), options);
  }

  /** Ends what {@link block} began. Throws `connection-failed`, `timeout`. */
  async unblock(userId: string, options: WaitOptions = {}): Promise<void> {
    assertName(userId, "userId");
    await this.wait((core) => core.call("setBlocked", userId, false), options);
  }

  /** The users whom this one has blocked. Throws `connection-failed`, `timeout`. */
  async blocked(options: WaitOptions = {}): Promise<string[]> {
    let users: string[] = [];
    await this.wait(async (core) => {
      users = await core.call("blocked");
    }, options);
    return users.sort();
  }

  /** Who is there, as far as this user may know: those it knows, and all where the relay's directory is open. */
  async users(): Promise<UserSummary[]> {
    return (await this.open()).call("users");
  }
}
