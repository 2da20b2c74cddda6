import { type Bytes, compareBytes } from "../../../base/bytes.js";
import { toUtf8 } from "../../../base/encoding.js";
import { decode, type Reader } from "../../../codec/reader.js";
import { encode, type Writer } from "../../../codec/writer.js";
import { decodeName, encodeName } from "../../../wire/identifiers.js";
import { PUBLIC_KEY_LENGTH } from "../../../wire/protocol.js";

/** The GroupContext extension that holds the policy: a type of RFC 9420 §17.3's private use range. */
export const POLICY_EXTENSION = 0xf5b0;
const VERSION = 1;
/** How many admins, and how many banned users, a group can have. */
export const MAX_ADMINS = 1024;
export const MAX_BANNED = 1024;
/** The shortest time after which messages disappear, in milliseconds: an app that runs has taken them by then. */
export const MIN_DISAPPEAR_AFTER = 5_000;
/** The longest time after which messages disappear, in milliseconds: a year. */
export const MAX_DISAPPEAR_AFTER = 365 * 24 * 3600 * 1000;

/** Who may join a group: whom an admin admits (on request or by invitation), anyone, or only the invited. */
export type JoinMode = "approval" | "open" | "closed";

interface CommonPolicy {
  /** How long messages are to be kept, in milliseconds; 0: for as long as each device likes. */
  readonly disappearAfter: number;
}

/** The rules of a conversation, held by every member before it merges a commit. */
export type Policy = DirectPolicy | GroupPolicy;

export interface DirectPolicy extends CommonPolicy {
  readonly kind: "direct";
  /** The two accounts in the byte order of their names; only their devices may be leaves. */
  readonly users: readonly { readonly userId: string; readonly accountKey: Bytes }[];
}

export interface GroupPolicy extends CommonPolicy {
  readonly kind: "group";
  readonly name: string;
  readonly join: JoinMode;
  /** User ids, each once, all of them members. */
  readonly admins: readonly string[];
  /** User ids, in the byte order of {@link inByteOrder}, none of them a member. */
  readonly banned: readonly string[];
}

const KINDS = { direct: 1, group: 2 } as const;
export const JOIN_MODES = ["approval", "open", "closed"] as const;

function encodePolicy(writer: Writer, policy: Policy): void {
  writer.u8(VERSION).u8(KINDS[policy.kind]);
  if (policy.kind === "direct") {
    writer.vector(policy.users, (w, user) => {
      encodeName(w, user.userId);
      w.fixed(user.accountKey);
    });
  } else {
    encodeName(writer, policy.name);
    writer.u8(JOIN_MODES.indexOf(policy.join));
    writer.vector(policy.admins, encodeName).vector(policy.banned, encodeName);
  }
  writer.uint53(policy.disappearAfter);
}

/** User ids in the order of their UTF-8, in which the policy lists them. */
export function inByteOrder(userIds: readonly string[]): string[] {
  return [...userIds].sort((a, b) => compareBytes(toUtf8(a), toUtf8(b)));
}

function decodePolicy(reader: Reader): Policy {
  if (reader.u8() !== VERSION) reader.fail("unknown version of policy");
  const kind = reader.u8();
  if (kind === KINDS.direct) {
    const users = reader.vector(
      (r) => ({ userId: decodeName(r), accountKey: r.fixed(PUBLIC_KEY_LENGTH) }),
      2,
    );
    if (users.length !== 2 || users[0]?.userId === users[1]?.userId) reader.fail("not two users");
    return { kind: "direct", users, disappearAfter: decodeTime(reader) };
  }
  if (kind !== KINDS.group) return reader.fail("unknown kind of policy");
  const name = decodeName(reader);
  const join = JOIN_MODES[reader.u8()] ?? reader.fail("unknown join mode");
  const admins = reader.vector(decodeName, MAX_ADMINS);
  const banned = reader.vector(decodeName, MAX_BANNED);
  if (new Set(admins).size !== admins.length) reader.fail("an admin twice");
  const ordered = inByteOrder([...new Set(banned)]);
  if (banned.some((userId, at) => userId !== ordered[at])) reader.fail("banned users not in their order");
  return { kind: "group", name, join, admins, banned, disappearAfter: decodeTime(reader) };
}

/** Whether {@link Policy.disappearAfter} may be this. */
export function isDisappearTime(time: unknown): time is number {
  if (time === 0) return true;
  return (
    Number.isSafeInteger(time) && Number(time) >= MIN_DISAPPEAR_AFTER && Number(time) <= MAX_DISAPPEAR_AFTER
  );
}

/** A time as {@link Policy.disappearAfter} has it. */
export function decodeTime(reader: Reader): number {
  const time = reader.uint53();
  return isDisappearTime(time) ? time : reader.fail("not 0, and not from five seconds to a year");
}

interface Extension {
  readonly extensionType: number;
  readonly data: Bytes;
}

/** Whether two policies say the same. */
export function isSamePolicy(a: Policy, b: Policy): boolean {
  return compareBytes(encode(encodePolicy, a), encode(encodePolicy, b)) === 0;
}

/** The policy as a GroupContext extension. */
export function policyExtension(policy: Policy): Extension {
  return { extensionType: POLICY_EXTENSION, data: encode(encodePolicy, policy) };
}

/** The policy among GroupContext extensions; throws `malformed` where there is none or it does not decode. */
export function policyOf(extensions: readonly Extension[]): Policy {
  const extension = extensions.find((candidate) => candidate.extensionType === POLICY_EXTENSION);
  return decode(decodePolicy, extension?.data ?? new Uint8Array(0));
}

/** Whether nobody may add the user. */
export function isBanned(policy: Policy, userId: string): boolean {
  return policy.kind === "group" && policy.banned.includes(userId);
}

/** Whether the user may admit and remove others and change the policy. */
export function isAdmin(policy: Policy, userId: string): boolean {
  return policy.kind === "direct"
    ? policy.users.some((user) => user.userId === userId)
    : policy.admins.includes(userId);
}
