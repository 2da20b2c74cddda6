import type { Names } from "../base/arguments.js";
import type { ErrorCode, SubrosaError } from "../base/errors.js";
import type { Attachment } from "./attachments/attachment.js";
import type { Body } from "./attachments/body.js";
import type { PolicyNews } from "./conversation/membership/policy-change.js";

/** A direct or group message. */
export interface Message {
  /** 32 hexadecimal digits, the same at the sender and at every receiver. */
  readonly id: string;
  readonly type: "message";
  /** The sender's user id, authenticated. */
  readonly from: string;
  /** The group's name; absent for direct messages. */
  readonly group?: string;
  readonly content: string | Uint8Array | Attachment;
  /** Milliseconds since 1970 by the sender's clock. */
  readonly sentAt: number;
  /** True if it may have been handed over before a crash or restart. */
  readonly redelivered: boolean;
}

/** A message as data, which passes between tabs. */
export type MessageData = Omit<Message, "content"> & { readonly content: Body };

/** What became of messages this client sent. */
export interface Receipt {
  /** Message ids. */
  readonly ids: readonly string[];
  /** Who says so: the receiver for `delivered` and `read`, this client otherwise. */
  readonly by: string;
  readonly group?: string;
  /**
   * `sent`: durable at the relay. `delivered`: durable at the receiver. `read`: the receiver's app called
   * {@link Client.markRead}; it is `delivered` before. `failed`: given up, `code` says why.
   */
  readonly state: "sent" | "delivered" | "read" | "failed";
  readonly code?: ErrorCode;
}

/** Someone asks to join a group. Answer once; a second answer does nothing. */
export interface JoinRequestEvent {
  readonly group: string;
  readonly userId: string;
  /** The account fingerprint the request was signed with, to compare with the person. */
  readonly fingerprint: string;
  /** `new`: never seen before; `known`: the pinned key; `verified`: marked as verified. */
  readonly identity: "new" | "known" | "verified";
  /** Admits the user; resolves when the relay has taken the commit. */
  approve(options?: { fingerprint?: string }): Promise<void>;
  reject(): Promise<void>;
}

/** Someone put this user into a group that it did not ask for. Nothing of it is shown before `accept()`. */
export interface InvitationEvent {
  readonly group: string;
  readonly from: string;
  readonly members: readonly string[];
  /** Throws `not-a-member` where the invitation has been withdrawn, or this user's device replaced, for which it comes again. */
  accept(): Promise<void>;
  /** Leaves the group. */
  reject(): Promise<void>;
}

/** How much could not be read any more, by kind. */
export interface StoreLosses {
  /** Users whose pinned identity and verification are gone: who they were is not known, and each is a first contact. */
  readonly contacts: number;
  /** Messages that were received and not yet taken by the app. */
  readonly received: number;
  /** Messages, and other things to do, that waited to be sent. */
  readonly unsent: number;
  readonly history: number;
  /** Conversations whose keys are gone; they are repaired by themselves. */
  readonly conversations: number;
  /** Other records, which nobody misses. */
  readonly other: number;
}

/** Data that came beside the encrypted conversations: the relay reads it, and says itself who sent it. */
export interface UnencryptedData {
  /** Absent for what the relay's operator says. */
  readonly channel?: string;
  /** Who published it, as the relay says. */
  readonly from?: string;
  readonly data: string | Uint8Array;
}

/** Every event with what its listeners get. */
export interface ClientEvents {
  /** A session with the relay is up. */
  connect: { readonly registered: boolean };
  /** The session ended. */
  disconnect: { readonly code: number; readonly reason: string; readonly willReconnect: boolean };
  error: SubrosaError;
  message: Message;
  receipt: Receipt;
  /** Messages of a conversation are gone from this device: deleted by the app, or because their time was over. */
  messagesDeleted: { readonly user?: string; readonly group?: string; readonly ids: readonly string[] };
  /**
   * A user became known here: its identity was pinned for the first time, or, where the relay's directory is open, the
   * relay names it. Once for each in a process.
   */
  userCreated: { readonly userId: string };
  /** The relay says that its operator removed the user. Nothing changes by it: it stays in its groups until removed there. */
  userDeleted: { readonly userId: string };
  /** The relay's operator says something, to everybody or to this user. It is nobody's message: the relay could write anything. */
  notice: { readonly text: string; readonly sentAt: number };
  groupCreated: { readonly group: string };
  groupDeleted: { readonly group: string; readonly by?: string };
  /** This user is a member now. */
  groupJoin: { readonly group: string; readonly members: readonly string[] };
  /**
   * This user is no member any more: it left, was removed (`by`), the relay's operator closed the group, or it is lost: the
   * relay has lost it, or nobody is in it who could let this device in again.
   */
  groupLeave: {
    readonly group: string;
    readonly reason: "left" | "removed" | "closed" | "lost";
    readonly by?: string;
  };
  /**
   * `by` changed what a group is, or, with `user` in place of `group`, the time after which the messages of a direct
   * conversation disappear. Only what has changed is there: user ids of members who became admins, or are none any
   * more, of users who were banned, or are not any more. After a change of its `name`, `group` is the new one.
   */
  groupUpdated: { readonly group?: string; readonly user?: string; readonly by: string } & PolicyNews;
  /**
   * `by` admitted the user; for `memberLeave` it removed the user, or is the user itself, who left. Of what came about while
   * this device could not read the group, it is who added it anew.
   */
  memberJoin: { readonly group: string; readonly userId: string; readonly by: string };
  memberLeave: { readonly group: string; readonly userId: string; readonly by: string };
  joinRequest: JoinRequestEvent;
  invitation: InvitationEvent;
  /** Somebody has begun to type, or types no more: it said so, sent a message, went, or was silent for six seconds. */
  typing: { readonly userId: string; readonly group?: string; readonly typing: boolean };
  /** Somebody came or went, with the `presence` option: `at` is when it was last known to be there, by this clock. */
  presence: { readonly userId: string; readonly online: boolean; readonly at: number };
  /** **Not encrypted**; see {@link Client.unencrypted}, whose `data` event is the same for its own channels alone. */
  unencryptedData: UnencryptedData;
  /** A known user id has another account key; see {@link Client.acceptIdentity}. */
  identityChanged: { readonly userId: string; readonly pinned: string; readonly offered: string };
  /** A user whose devices were known has another one, or one less; ids as of {@link Client.deviceId}. */
  deviceAdded: { readonly userId: string; readonly deviceId: string };
  deviceRemoved: { readonly userId: string; readonly deviceId: string };
  /**
   * A member says that things are otherwise than this device knows: a `group` has another history (`epoch` is `own`
   * here and `theirs` there: epoch authenticators of RFC 9420 §8.7), or a user of a shared conversation has another
   * device list (`own`, of `ownVersion`, is the newest that this device knows, `theirs`, of `version`, the one named:
   * SHA-256 of the signed lists; a newer one was asked for, and the relay did not show it). Hashes are
   * 64 hexadecimal digits. Either the relay shows two members different things (or has lost data, and let members go on
   * from different places), or the account has signed two lists, or the member lies, so that nothing stops by it: who
   * compares by other means which it is can remove the member, or leave the relay. Of one's own list it says that
   * somebody else has this account's key. Once for each member and own list or epoch, and once a day at most for each
   * member and group; after a restart again if it is not sure that the app was told. Both hashes stay in the store for 400 days.
   */
  equivocation: {
    readonly from: string;
    readonly own: string;
    readonly theirs: string;
  } & (
    | { readonly group: string; readonly epoch: number }
    | {
        readonly group?: undefined;
        readonly userId: string;
        readonly version: number;
        readonly ownVersion: number;
      }
  );
  /**
   * The store was damaged, or an older copy of this device's state (`outdated`), and was put in order when it was
   * opened. `newDevice`: this device has another id and key, and its conversations are joined anew by themselves.
   */
  storeRecovered: {
    readonly reason: "damaged" | "outdated";
    readonly newDevice: boolean;
    /** What is gone for good. */
    readonly lost: StoreLosses;
  };
  /**
   * An entry of a conversation could not be read; or, with `missed`, a group was repaired after this device could not
   * read it for a while: so many messages at most went by. `payload`: the ciphertext, unless it is larger than 64 KiB;
   * who is told of an entry only after a restart gets `missed` instead, 1.
   */
  undecryptable: {
    readonly group?: string;
    readonly from?: string;
    readonly reason: ErrorCode;
    readonly missed?: number;
    readonly payload?: Uint8Array;
  };
}

/** Events as they are raised inside: what can be answered comes with what tells it from others, also after a restart. */
export interface RaisedEvents extends ClientEvents {
  joinRequest: JoinRequestEvent & { readonly id: string };
  invitation: InvitationEvent & { readonly id: string; isOpen(): boolean };
}

export const EVENT_NAMES: Names<ClientEvents> = {
  connect: true,
  disconnect: true,
  error: true,
  message: true,
  receipt: true,
  messagesDeleted: true,
  userCreated: true,
  userDeleted: true,
  notice: true,
  groupCreated: true,
  groupDeleted: true,
  groupJoin: true,
  groupLeave: true,
  groupUpdated: true,
  memberJoin: true,
  memberLeave: true,
  joinRequest: true,
  invitation: true,
  typing: true,
  presence: true,
  unencryptedData: true,
  identityChanged: true,
  deviceAdded: true,
  deviceRemoved: true,
  equivocation: true,
  storeRecovered: true,
  undecryptable: true,
};
export type EventName = keyof ClientEvents;
export type Listener<Name extends EventName> = (event: ClientEvents[Name]) => unknown;
