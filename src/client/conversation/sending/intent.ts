import type { Bytes } from "../../../base/bytes.js";
import type { Reader } from "../../../codec/reader.js";
import type { Writer } from "../../../codec/writer.js";
import {
  type AccessChange,
  decodeAccessChange,
  decodeReplaced,
  encodeAccessChange,
  encodeReplaced,
} from "../../../wire/entries.js";
import {
  type Cursor,
  decodeCursor,
  decodeName,
  encodeCursor,
  encodeName,
} from "../../../wire/identifiers.js";
import {
  DEVICE_ID_LENGTH,
  DIGEST_LENGTH,
  ENTRY_ID_LENGTH,
  EntryKind,
  GROUP_ID_LENGTH,
} from "../../../wire/protocol.js";
import { type Content, decodeContent, encodeContent, isMessageContent } from "../content.js";
import { decodePolicyChange, encodePolicyChange, type PolicyChange } from "../membership/policy-change.js";

/** What the app, or this client by itself, wants to happen in a conversation. */
export type Action =
  /**
   * An application message; `close` contents delete the group. `deleted`: the app wants to keep nothing of it. `growth`:
   * that of the group when it was sent first, of one that the relay has lost.
   */
  | {
      readonly type: "send";
      readonly content: Content;
      readonly expected?: string;
      readonly deleted?: true;
      readonly growth?: number;
    }
  /** Adds a user's devices: those given (a join request's), else all that the directory names. */
  | {
      readonly type: "add";
      readonly userId: string;
      readonly expected?: string;
      readonly request?: {
        readonly id: Bytes;
        readonly deviceId: Bytes;
        readonly keyPackage: Bytes;
        /** The hashes of the leaves that the new one takes the place of, whichever is there. */
        readonly replaces?: readonly Bytes[];
      };
    }
  | { readonly type: "remove"; readonly userId: string }
  | { readonly type: "policy"; readonly change: PolicyChange }
  /** Once a group is renamed, or is not: the relay is told that it has its name, and another one no more. */
  | { readonly type: "settleName"; readonly release: string }
  | { readonly type: "leave" }
  /** A commit with a fresh path, and with what is due: pending leaves, access that a void commit changed. */
  | { readonly type: "refresh" }
  /** The commit that a new direct conversation starts with. */
  | { readonly type: "start" };

/** One that says something in the conversation. */
export type SendIntent = Intent & { readonly action: Extract<Action, { type: "send" }> };

export const isSend = (intent: Intent): intent is SendIntent => intent.action.type === "send";
export const isClose = (intent: Intent): boolean => isSend(intent) && intent.action.content.type === "close";

/** Whether the app asked for it; the rest this client does by itself, for reasons that go with the conversation. */
export function isWish(action: Action): boolean {
  switch (action.type) {
    case "send":
      return isMessageContent(action.content) || action.content.type === "close";
    case "add":
      return action.request === undefined;
    case "remove":
    case "policy":
    case "leave":
      return true;
    default:
      return false;
  }
}

/** The bytes that go, or went, to the relay for an intent. Resent unchanged until the relay answers `stale`. */
export interface Sealed {
  readonly kind: EntryKind;
  readonly entryId: Bytes;
  readonly after: Cursor;
  readonly payload: Bytes;
  readonly contentDigest: Bytes;
  /** For commits. `staged` is the engine's staged commit, merged when the log shows the entry. */
  readonly bundle?: {
    readonly access: readonly AccessChange[];
    readonly welcome: Bytes;
    readonly staged: Bytes;
  };
}

/** Where an intent goes. A message to a user waits until there is a conversation with that user. */
export type Target = { readonly userId: string } | { readonly groupId: Bytes };

/** One thing to do, durable before anything of it is sent. */
export interface Intent {
  /** Grows with each intent of this device. */
  readonly order: number;
  readonly target: Target;
  action: Action;
  sealed?: Sealed | undefined;
}

const ACTIONS = {
  send: 1,
  add: 2,
  remove: 3,
  leave: 5,
  refresh: 6,
  start: 7,
  policy: 8,
  settleName: 9,
} as const;

function encodeAction(writer: Writer, action: Action): void {
  writer.u8(ACTIONS[action.type]);
  switch (action.type) {
    case "send":
      encodeContent(writer, action.content);
      return void writer
        .optional(action.expected, encodeName)
        .u8(action.deleted ? 1 : 0)
        .optional(action.growth, (w, growth) => w.uint53(growth));
    case "add":
      encodeName(writer, action.userId);
      writer.optional(action.expected, encodeName);
      return void writer.optional(action.request, (w, request) =>
        encodeReplaced(
          w.fixed(request.id).fixed(request.deviceId).opaque(request.keyPackage),
          request.replaces,
        ),
      );
    case "remove":
      encodeName(writer, action.userId);
      return;
    case "policy":
      encodePolicyChange(writer, action.change);
      return;
    case "settleName":
      encodeName(writer, action.release);
      return;
    default:
      return;
  }
}

function decodeAction(reader: Reader): Action {
  const type = reader.u8();
  switch (type) {
    case ACTIONS.send: {
      const content = decodeContent(reader);
      const expected = reader.optional(decodeName);
      const deleted = reader.u8() === 1;
      const growth = reader.optional((r) => r.uint53());
      return {
        type: "send",
        content,
        ...(expected !== undefined && { expected }),
        ...(deleted && { deleted }),
        ...(growth !== undefined && { growth }),
      };
    }
    case ACTIONS.add: {
      const userId = decodeName(reader);
      const expected = reader.optional(decodeName);
      const request = reader.optional((r) => {
        const id = r.fixed(ENTRY_ID_LENGTH);
        const rest = { deviceId: r.fixed(DEVICE_ID_LENGTH), keyPackage: r.opaque() };
        return { id, ...rest, ...decodeReplaced(r) };
      });
      return {
        type: "add",
        userId,
        ...(expected !== undefined && { expected }),
        ...(request && { request }),
      };
    }
    case ACTIONS.remove:
      return { type: "remove", userId: decodeName(reader) };
    case ACTIONS.policy:
      return { type: "policy", change: decodePolicyChange(reader) };
    case ACTIONS.settleName:
      return { type: "settleName", release: decodeName(reader) };
    case ACTIONS.leave:
      return { type: "leave" };
    case ACTIONS.refresh:
      return { type: "refresh" };
    case ACTIONS.start:
      return { type: "start" };
    default:
      return reader.fail("unknown action");
  }
}

function encodeSealed(writer: Writer, sealed: Sealed): void {
  writer.u8(sealed.kind).fixed(sealed.entryId);
  encodeCursor(writer, sealed.after);
  writer.opaque(sealed.payload).fixed(sealed.contentDigest);
  writer.optional(sealed.bundle, (w, bundle) =>
    w.vector(bundle.access, encodeAccessChange).opaque(bundle.welcome).opaque(bundle.staged),
  );
}

function decodeSealed(reader: Reader): Sealed {
  const kind = reader.u8();
  if (!Object.values(EntryKind).some((known) => known === kind)) reader.fail("unknown kind of entry");
  const sealed = {
    kind: kind as EntryKind,
    entryId: reader.fixed(ENTRY_ID_LENGTH),
    after: decodeCursor(reader),
    payload: reader.opaque(),
    contentDigest: reader.fixed(DIGEST_LENGTH),
  };
  const bundle = reader.optional((r) => ({
    access: r.vector(decodeAccessChange),
    welcome: r.opaque(),
    staged: r.opaque(),
  }));
  return bundle ? { ...sealed, bundle } : sealed;
}

export function encodeIntent(writer: Writer, intent: Intent): void {
  writer.u8(1).uint53(intent.order);
  if ("userId" in intent.target) encodeName(writer.u8(1), intent.target.userId);
  else writer.u8(2).fixed(intent.target.groupId);
  encodeAction(writer, intent.action);
  writer.optional(intent.sealed, encodeSealed);
}

export function decodeIntent(reader: Reader): Intent {
  if (reader.u8() !== 1) reader.fail("unknown version of intent");
  const order = reader.uint53();
  const kind = reader.u8();
  if (kind !== 1 && kind !== 2) reader.fail("unknown target");
  const target = kind === 1 ? { userId: decodeName(reader) } : { groupId: reader.fixed(GROUP_ID_LENGTH) };
  const action = decodeAction(reader);
  const sealed = reader.optional(decodeSealed);
  return { order, target, action, ...(sealed && { sealed }) };
}
