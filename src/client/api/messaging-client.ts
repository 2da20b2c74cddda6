import { assertOptions, type Names } from "../../base/arguments.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { assertName } from "../../wire/identifiers.js";
import { assertConversation, ownCopy } from "../arguments.js";
import type { Body } from "../attachments/body.js";
import { type AttachmentSource, isAttachmentSource } from "../attachments/source.js";
import { ATTACHMENT_NAMES, type AttachmentOptions, type Destination, Upload } from "../attachments/upload.js";
import type { ConversationSummary } from "../conversations.js";
import type { ConversationName, HistoryMessage, HistoryPage } from "../delivery/history.js";
import { asReceived, assertMessageId, type ReceivedMessage } from "../delivery/read-marks.js";
import type { Deletion } from "../delivery/removal.js";
import { assertFingerprint } from "../identity/safety-number.js";
import type { Core, Stamp } from "../tabs/core.js";
import { BaseClient } from "./base-client.js";

/** What names a conversation, and nothing else of what the app passed. */
const ownName = (name: ConversationName): ConversationName =>
  typeof name === "string" ? name : { group: name.group };

function asDeletion(which: string | readonly string[] | { readonly before: number }): Deletion {
  if (which === "all") return which;
  if (typeof which === "object" && which !== null && "before" in which) {
    assertArgument(Number.isFinite(which.before), "before: a position of the history");
    return { before: which.before };
  }
  const ids = typeof which === "string" ? [which] : which;
  assertArgument(Array.isArray(ids), "messages: ids, { before } or all");
  for (const id of ids) assertMessageId(id, "messages");
  return [...ids];
}

/** What a send can ask for. */
export interface SendOptions {
  /** The account fingerprint that the receiver must have; see `safetyNumber`. */
  readonly fingerprint?: string;
}

const SEND_NAMES: Names<SendOptions & AttachmentOptions> = { fingerprint: true, ...ATTACHMENT_NAMES };
const HISTORY_NAMES: Names<HistoryPage> = { before: true, limit: true };

/** Messages: sent, kept, and looked up. */
export abstract class MessagingClient extends BaseClient {
  /**
   * Encrypts a message to a user; resolves to its id once it is safely in the outbox. Works offline, and while the other
   * user is. What becomes of it comes as `receipt` events. Throws `too-large`, `outbox-full`,
   * `identity-mismatch`, `invalid-argument`.
   *
   * A `Blob`, a `File`, a stream or an iterable of bytes is sent as an attachment of any size: it is encrypted and
   * uploaded piece by piece, which waits out disconnects, and the message, for which the promise is, goes into the outbox
   * when all of it is at the relay; messages sent meanwhile go before it. Throws `aborted`, `quota-exceeded`,
   * `unknown-blob` (after more than an hour without a connection), and what the stream fails with.
   */
  async sendDirectMessage(
    userId: string,
    content: string | Uint8Array | AttachmentSource,
    options: SendOptions & AttachmentOptions = {},
  ): Promise<string> {
    assertName(userId, "userId");
    assertArgument(userId !== this.userId, "userId: another user than oneself");
    assertOptions(options, SEND_NAMES);
    const { fingerprint } = options;
    assertFingerprint(fingerprint);
    return this.#send(content, { user: userId, fingerprint }, options, (core, body, stamp) =>
      core.call("sendDirect", userId, body, stamp, fingerprint),
    );
  }

  /** The same to a group; throws `not-a-member` too. */
  async sendGroupMessage(
    group: string,
    content: string | Uint8Array | AttachmentSource,
    options: AttachmentOptions = {},
  ): Promise<string> {
    assertName(group, "group");
    assertOptions(options, ATTACHMENT_NAMES);
    return this.#send(content, { group }, options, (core, body, stamp) =>
      core.call("sendToGroup", group, body, stamp),
    );
  }

  async #send(
    content: string | Uint8Array | AttachmentSource,
    to: Destination,
    options: AttachmentOptions,
    send: (core: Core, body: Body, stamp: Stamp) => Promise<string>,
  ): Promise<string> {
    if (!isAttachmentSource(content)) {
      const own = ownCopy(content);
      const stamp = this.stamp();
      return send(await this.open(), own, stamp);
    }
    const upload = new Upload(content, options, this.randomId);
    const { signal } = options;
    const waiting = { timeout: Number.POSITIVE_INFINITY, ...(signal && { signal }) };
    try {
      const reference = await this.wait((core) => upload.run(core, to), waiting);
      return await send(await this.open(), reference, this.stamp());
    } catch (error) {
      // After `closed` the message may be in the outbox, and goes out all the same.
      upload.stop(SubrosaError.is(error) && error.code === "closed");
      throw error;
    }
  }

  /**
   * Tells the senders of received messages that they have been read: those of a kind of conversation that the option
   * `ack` names. A message is as its event or the history gave it; its id will do where the history lists it. Resolves when that is durable; it goes out with others. Again for the same message it does nothing.
   * Throws `not-a-member`, `invalid-argument` for a message that this device has not received; then none is marked.
   */
  async markRead(messages: ReceivedMessage | string | readonly (ReceivedMessage | string)[]): Promise<void> {
    const all = (Array.isArray(messages) ? messages : [messages]).map(asReceived);
    await (await this.open()).call("markRead", all);
  }

  /** Everything this user can write to or has written to: users and groups. */
  async conversations(): Promise<ConversationSummary[]> {
    return (await this.open()).call("conversations");
  }

  /** The newest messages of the local history, oldest first; empty unless the `history` option is on. */
  async history(conversation: ConversationName, options: HistoryPage = {}): Promise<HistoryMessage[]> {
    assertOptions(options, HISTORY_NAMES);
    assertConversation(conversation);
    const { before, limit } = options;
    const page = { ...(before !== undefined && { before }), ...(limit !== undefined && { limit }) };
    const messages = await (await this.open()).call("history", ownName(conversation), page);
    return messages.map((message) => this.withContent(message));
  }

  /**
   * Deletes messages of a conversation on this device alone: by id, those that stand before a position of the history,
   * or all. They go from the history, from what `message` listeners have not taken, and from what waits to be sent,
   * which then ends as a `failed` receipt, `aborted`; what is on its way to the relay arrives. Raises `messagesDeleted`.
   * Ids that are not there are passed over. Throws `invalid-argument`.
   */
  async deleteMessages(
    conversation: ConversationName,
    which: string | readonly string[] | { readonly before: number } | "all",
  ): Promise<void> {
    assertConversation(conversation);
    await (await this.open()).call("deleteMessages", ownName(conversation), asDeletion(which));
  }
}
