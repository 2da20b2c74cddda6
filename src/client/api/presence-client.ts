import { assertArgument } from "../../base/errors.js";
import { assertName } from "../../wire/identifiers.js";
import { assertConversation } from "../arguments.js";
import type { ConversationName } from "../delivery/history.js";
import type { UserPresence } from "../signals/presence.js";
import { GroupsClient } from "./groups-client.js";
import { Unencrypted } from "./unencrypted.js";

/** What is of the moment, and kept nowhere. */
export abstract class PresenceClient extends GroupsClient {
  /** Data that is **not encrypted**: to the relay's operator, and by channels to whoever subscribes to them. */
  readonly unencrypted = new Unencrypted({
    emitter: this.emitter,
    wait: (call, options) => this.wait(call, options),
  });

  /**
   * Tells those in a conversation (a user id, or `{ group }`) that this user types, or types no more; encrypted. To be
   * called as often as the user types: it is said again after three seconds at the earliest, and holds for six. Does
   * nothing without a connection, and where there is no conversation with the user yet. Throws `not-a-member`.
   */
  async setTyping(conversation: ConversationName, typing: boolean): Promise<void> {
    assertConversation(conversation);
    assertArgument(typeof typing === "boolean", "typing: true or false");
    const name = typeof conversation === "string" ? conversation : { group: conversation.group };
    await (await this.open()).call("setTyping", name, typing);
  }

  /** Whether a user is there, as far as it says so and the `presence` option is on here. */
  async presence(userId: string): Promise<UserPresence> {
    assertName(userId, "userId");
    return (await this.open()).call("presence", userId);
  }
}
