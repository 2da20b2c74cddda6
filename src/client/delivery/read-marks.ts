import { type Bytes, equalBytes } from "../../base/bytes.js";
import { fromHex } from "../../base/encoding.js";
import { assertArgument, SubrosaError } from "../../base/errors.js";
import { assertName } from "../../wire/identifiers.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import type { Conversation } from "../conversation/conversation.js";
import { leavesOf } from "../conversation/membership/leaves.js";
import { mayOwe } from "../conversation/receipts.js";
import { type Seen, seenKey, seenOf, seenValue } from "../conversation/receiving/seen-set.js";
import type { Message } from "../events.js";
import type { RunningClient } from "../running-client.js";

/** A received message, as an event or the history gives it: so much of it tells which one it is. */
export type ReceivedMessage = Pick<Message, "id" | "from" | "group" | "sentAt">;

/** Throws `invalid-argument` for what is no id of a message. */
export function assertMessageId(id: unknown, what: string): void {
  const digits = 2 * MESSAGE_ID_LENGTH;
  const isId = typeof id === "string" && id.length === digits && /^[0-9a-f]*$/.test(id);
  assertArgument(isId, `${what}: ${digits} hexadecimal digits`);
}

/** What names a message, and nothing else of it. Throws `invalid-argument`. */
export function asReceived(message: ReceivedMessage | string): ReceivedMessage | string {
  if (typeof message === "string") {
    assertMessageId(message, "message");
    return message;
  }
  assertArgument(typeof message === "object" && message !== null, "message: as it was received");
  const { id, from, group, sentAt } = message;
  assertMessageId(id, "message.id");
  assertName(from, "message.from");
  if (group !== undefined) assertName(group, "message.group");
  assertArgument(Number.isSafeInteger(sentAt) && sentAt >= 0, "message.sentAt: milliseconds since 1970");
  return { id, from, sentAt, ...(group !== undefined && { group }) };
}

interface Mark {
  readonly of: string;
  readonly id: Bytes;
  readonly key: string;
  readonly seen: Seen;
}

/**
 * Tells the senders of messages that they have been read, where the app wants receipts, in the next message that gathers
 * them. Throws `not-a-member`, and `invalid-argument` for what was never received; then none is marked.
 */
export async function markRead(
  running: RunningClient,
  messages: readonly (ReceivedMessage | string)[],
): Promise<void> {
  const marks = new Map<Conversation, Mark[]>();
  const found = await Promise.all(
    messages.map((one) => (typeof one === "string" ? lookUp(running, one) : [one])),
  );
  for (const message of found.flat()) {
    const { from, group } = message;
    const conversation = group === undefined ? running.registry.direct(from) : running.registry.active(group);
    const mark = await markOf(running, message, conversation);
    const wanted = running.context.ack[group === undefined ? "direct" : "group"];
    if (!wanted || mark.seen.read || conversation === undefined) continue;
    marks.set(conversation, [...(marks.get(conversation) ?? []), mark]);
  }
  for (const [conversation, all] of marks) {
    await conversation.step((step) => {
      if (!mayOwe(step)) return;
      for (const { of, id, key, seen } of all) {
        step.owed.read.push({ of, id });
        step.change({ put: key, value: seenValue({ ...seen, read: true }) });
      }
    });
    conversation.flush();
  }
}

/** The received messages with an id, as the history has them. */
async function lookUp({ context }: RunningClient, id: string): Promise<ReceivedMessage[]> {
  assertArgument(context.history.enabled, "message: an id alone needs the option history, which is off");
  const found = (await context.history.find(id)).filter(({ from }) => from !== context.identity.userId);
  assertArgument(found.length > 0, "message: not in the history of what was received");
  return found;
}

/** Where it is noted that the message was received: under the account of its sender. */
async function markOf(
  { context }: RunningClient,
  { id, from, sentAt }: ReceivedMessage,
  conversation: Conversation | undefined,
): Promise<Mark> {
  const group = conversation?.state.group;
  const present = group === undefined ? [] : leavesOf(group).filter(({ userId }) => userId === from);
  const pinned = context.contacts.get(from)?.pinnedKey;
  const accounts = present.map(({ accountKey }) => accountKey);
  if (pinned !== undefined && !accounts.some((one) => equalBytes(one, pinned))) accounts.push(pinned);
  const message = { id: fromHex(id), sentAt };
  for (const account of accounts) {
    const key = seenKey(await context.privateTag(account), message);
    const value = await context.store.get(key);
    if (value !== undefined) return { of: from, id: message.id, key, seen: seenOf(value) };
  }
  throw new SubrosaError("invalid-argument", "message: was not received by this device");
}
