export { ERROR_CODES, type ErrorCode, SubrosaError } from "./base/errors.js";
export type { ClientState } from "./client/api/base-client.js";
export type { SendOptions } from "./client/api/messaging-client.js";
export type { Unencrypted } from "./client/api/unencrypted.js";
export { Attachment } from "./client/attachments/attachment.js";
export type { AttachmentSource } from "./client/attachments/source.js";
export type { AttachmentOptions, Progress, TransferOptions } from "./client/attachments/upload.js";
export { Client } from "./client/client.js";
export type { JoinMode } from "./client/conversation/membership/policy.js";
export type { ConversationSummary, GroupSummary, MemberSummary } from "./client/conversations.js";
export type { ConversationName, HistoryMessage } from "./client/delivery/history.js";
export type { ReceivedMessage } from "./client/delivery/read-marks.js";
export type {
  ClientEvents,
  EventName,
  InvitationEvent,
  JoinRequestEvent,
  Listener,
  Message,
  Receipt,
  UnencryptedData,
} from "./client/events.js";
export type { SafetyNumber } from "./client/identity/safety-number.js";
export type { ClientLimits, ClientOptions } from "./client/options.js";
export type { UserSummary } from "./client/roster.js";
export type { UserPresence } from "./client/signals/presence.js";
export type { WaitOptions } from "./client/waiting.js";
export { memoryStore } from "./stores/memory.js";
export type { Change, ListOptions, Store, StoreSession } from "./stores/store.js";
