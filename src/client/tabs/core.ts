import type { Bytes } from "../../base/bytes.js";
import type { SubrosaError } from "../../base/errors.js";
import type { Body } from "../attachments/body.js";
import type { AttachmentReference } from "../attachments/reference.js";
import type { Destination } from "../attachments/upload.js";
import type { JoinMode } from "../conversation/membership/policy.js";
import type { PolicyChange } from "../conversation/membership/policy-change.js";
import type { ConversationSummary, GroupSummary, MemberSummary } from "../conversations.js";
import type { ConversationName, HistoryData, HistoryPage } from "../delivery/history.js";
import type { ReceivedMessage } from "../delivery/read-marks.js";
import type { Deletion } from "../delivery/removal.js";
import type { ClientEvents, InvitationEvent, JoinRequestEvent, MessageData } from "../events.js";
import type { SafetyNumber } from "../identity/safety-number.js";
import type { UserSummary } from "../roster.js";
import type { UserPresence } from "../signals/presence.js";

/** What a message is known by, chosen by whoever sends it before it is handed to the outbox. */
export interface Stamp {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly sentAt: number;
}

/**
 * What a client asks of the one that has the store open. Arguments and results can be cloned, so that the two may
 * live in different tabs.
 */
export interface Calls {
  /** Resolves to the message's id. */
  sendDirect(userId: string, content: Body, stamp: Stamp, fingerprint?: string): Promise<string>;
  sendToGroup(group: string, content: Body, stamp: Stamp): Promise<string>;
  markRead(messages: readonly (ReceivedMessage | string)[]): Promise<void>;
  /** Uploads, chunk by chunk, with what is to be encrypted already so. Throws what keeps it from being sent there. */
  beginUpload(blobId: Bytes, to: Destination): Promise<void>;
  uploadChunk(blobId: Bytes, index: number, chunk: Bytes): Promise<void>;
  finishUpload(blobId: Bytes, chunks: number): Promise<void>;
  deleteBlob(blobId: Bytes): Promise<void>;
  /** Has a chunk in the store, checked. */
  fetchChunk(reference: AttachmentReference, index: number): Promise<void>;
  /** The plaintext of a chunk. */
  readChunk(reference: AttachmentReference, index: number): Promise<Bytes>;
  /** What was fetched of an attachment is not needed any more. */
  dropSpool(reference: AttachmentReference): Promise<void>;
  createGroup(group: string, join: JoinMode): Promise<void>;
  joinGroup(group: string, fingerprint?: string): Promise<void>;
  invite(group: string, userId: string, fingerprint?: string): Promise<void>;
  remove(group: string, userId: string): Promise<void>;
  leaveGroup(group: string): Promise<void>;
  deleteGroup(group: string): Promise<void>;
  administer(group: string, change: PolicyChange): Promise<void>;
  banned(group: string): Promise<string[]>;
  setDisappearing(conversation: ConversationName, milliseconds: number): Promise<void>;
  groups(): Promise<GroupSummary[]>;
  members(group: string): Promise<MemberSummary[]>;
  conversations(): Promise<ConversationSummary[]>;
  history(conversation: ConversationName, page: HistoryPage): Promise<HistoryData[]>;
  deleteMessages(conversation: ConversationName, which: Deletion): Promise<void>;
  safetyNumber(userId: string): Promise<SafetyNumber & { readonly verified: boolean }>;
  markVerified(userId: string): Promise<void>;
  acceptIdentity(userId: string, fingerprint: string): Promise<void>;
  setTyping(conversation: ConversationName, typing: boolean): Promise<void>;
  presence(userId: string): Promise<UserPresence>;
  /** What is not encrypted. A channel is followed as long as one holder wants it, for one session. */
  writeData(data: string | Uint8Array): Promise<void>;
  publish(channel: string, data: string | Uint8Array): Promise<void>;
  followChannel(holder: string, channel: string, on: boolean): Promise<void>;
  setBlocked(userId: string, blocked: boolean): Promise<void>;
  blocked(): Promise<string[]>;
  users(): Promise<UserSummary[]>;
  /** Answers a join request or an invitation that an event has shown. */
  answer(handle: string, accept: boolean, fingerprint?: string): Promise<void>;
  /** Sends what waits, for a while; resolves to the number of messages that still wait. */
  flush(): Promise<number>;
}

export type CallName = keyof Calls;

/** An event with something to answer, as data: the handle names it in {@link Calls.answer}. */
type Answerable<Event> = { readonly handle: string } & {
  readonly [Key in keyof Event as Event[Key] extends (...args: never[]) => unknown ? never : Key]: Event[Key];
};

/** What listeners get, before it is made into what they get. */
export interface EventData extends Omit<ClientEvents, "message" | "joinRequest" | "invitation"> {
  joinRequest: Answerable<JoinRequestEvent>;
  invitation: Answerable<InvitationEvent>;
}

export type EventDataName = keyof EventData;

/** Where the connection stands. */
export type ConnectionState = "idle" | "connecting" | "connected" | "reconnecting";

/** Told what happens; the client of the app. */
export interface CoreHandler {
  emit<Name extends EventDataName>(name: Name, event: EventData[Name]): void;
  state(state: ConnectionState): void;
  /** Resolves when the app is done with a message; rejects when it did not take it. */
  deliver(message: MessageData): Promise<void>;
  /** No message will be handed over any more. */
  stopped(): void;
  /** Nothing more can be done. */
  fatal(error: SubrosaError): void;
}

/** The client behind the surface: in this tab, or in another one of the same user. */
export interface Core {
  /** 32 hexadecimal digits. */
  readonly deviceId: string;
  call<Name extends CallName>(name: Name, ...args: Parameters<Calls[Name]>): ReturnType<Calls[Name]>;
  /** Resolves when there is a session. An attempt that all who waited for it gave up ends. */
  connect(signal: AbortSignal | undefined): Promise<void>;
  /** Whether somebody takes messages here. */
  listen(on: boolean): void;
  /** Ends everything; with `flush`, what waits is sent first, for a while. Resolves to the number of unsent messages. */
  close(flush: boolean): Promise<number>;
}
