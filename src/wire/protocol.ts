/** The WebSocket subprotocol: the version of everything in this folder. */
export const SUBPROTOCOL = "subrosa.v1";

export const DEVICE_ID_LENGTH = 16;
export const GROUP_ID_LENGTH = 32;
export const ENTRY_ID_LENGTH = 16;
export const DIGEST_LENGTH = 32;
export const NONCE_LENGTH = 32;
export const PUBLIC_KEY_LENGTH = 65;
export const BLOB_ID_LENGTH = 32;

/** The largest frame either side accepts unless it is told otherwise, in bytes. */
export const DEFAULT_MAX_FRAME_BYTES = 1024 * 1024;

/** The largest part of a frame that is not the payload, the access changes or the welcome, in bytes. */
export const FRAME_OVERHEAD_BYTES = 1024;

/** The largest chunk of a blob, in bytes. */
export const MAX_CHUNK_BYTES = 256 * 1024;

/** The kinds of logs. */
export const LogKind = { inbox: 1, group: 2, requestBox: 3 } as const;
export type LogKind = (typeof LogKind)[keyof typeof LogKind];

/** The kinds of entries; each belongs to one kind of log. */
export const EntryKind = {
  /** Group log: an application message. */
  application: 1,
  /** Group log: a commit with its access changes and welcome. */
  commit: 2,
  /** Group log: a proposal by which a member leaves. */
  leave: 3,
  /** Group log: the application message by which an admin deletes the group; the last entry of its log. */
  close: 4,
  /** Group log: the relay's operator has closed the group; the last entry of its log. Written by the relay only. */
  operatorClose: 5,
  /** Inbox: where the commit stands that added this device. Written by the relay only. */
  pointer: 16,
  /** Inbox: the refusal of a join request. */
  rejection: 17,
  /** Inbox: the operator removed a user with whom the device shares a conversation. Written by the relay only. */
  userRemoved: 18,
  /** Inbox: a notice from the operator. Written by the relay only. */
  notice: 19,
  /** Inbox: another account key has taken the place of that of a user with whom the device shares a conversation. */
  accountChanged: 20,
  /** Request box: a join request. */
  joinRequest: 32,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

/** True for the entries that the append rule counts: those after which the keys or the members may differ. */
export function isHandshake(kind: EntryKind): boolean {
  return kind === EntryKind.commit || kind === EntryKind.leave;
}

/** What a device may do in a group, as far as the relay enforces it. */
export const Role = { member: 1, admin: 2 } as const;
export type Role = (typeof Role)[keyof typeof Role];

/** Why a join request was refused. */
export const RejectionReason = { refused: 1, banned: 2 } as const;
export type RejectionReason = (typeof RejectionReason)[keyof typeof RejectionReason];

/** Close codes of the WebSocket connection; PROTOCOL.md says when each is sent. */
export const CloseCode = {
  normal: 1000,
  goingAway: 1001,
  unsupportedData: 1003,
  tooLarge: 1009,
  internal: 1011,
  malformed: 4400,
  unauthorized: 4401,
  forbidden: 4403,
  authenticationTimeout: 4408,
  replaced: 4409,
  slowReader: 4410,
  expired: 4411,
  revoked: 4412,
  userRemoved: 4413,
  rateLimited: 4429,
  outdated: 4440,
} as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/** True if connecting again with the same credentials cannot help. */
export function isPermanentClose(code: number): boolean {
  return (
    code === CloseCode.unauthorized ||
    code === CloseCode.forbidden ||
    code === CloseCode.replaced ||
    code === CloseCode.revoked ||
    code === CloseCode.userRemoved ||
    code === CloseCode.outdated
  );
}
