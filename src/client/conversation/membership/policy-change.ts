import { SubrosaError } from "../../../base/errors.js";
import type { Reader } from "../../../codec/reader.js";
import type { Writer } from "../../../codec/writer.js";
import { decodeName, encodeName } from "../../../wire/identifiers.js";
import {
  decodeTime,
  type GroupPolicy,
  inByteOrder,
  isAdmin,
  isSamePolicy,
  JOIN_MODES,
  type JoinMode,
  MAX_ADMINS,
  MAX_BANNED,
  type Policy,
} from "./policy.js";

/** What a user wants of a conversation's policy: made of whatever the policy is when it is committed. */
export type PolicyChange =
  | { readonly type: UserChange; readonly userId: string }
  | { readonly type: "join"; readonly join: JoinMode }
  | { readonly type: "rename"; readonly name: string }
  | { readonly type: "disappearAfter"; readonly disappearAfter: number };

const USER_CHANGES = ["promote", "demote", "ban", "unban"] as const;
type UserChange = (typeof USER_CHANGES)[number];
const TYPES = [...USER_CHANGES, "join", "rename", "disappearAfter"] as const;

export function encodePolicyChange(writer: Writer, change: PolicyChange): void {
  writer.u8(TYPES.indexOf(change.type));
  if (change.type === "join") writer.u8(JOIN_MODES.indexOf(change.join));
  else if (change.type === "disappearAfter") writer.uint53(change.disappearAfter);
  else encodeName(writer, change.type === "rename" ? change.name : change.userId);
}

export function decodePolicyChange(reader: Reader): PolicyChange {
  const type = TYPES[reader.u8()] ?? reader.fail("unknown change of policy");
  switch (type) {
    case "join":
      return { type, join: JOIN_MODES[reader.u8()] ?? reader.fail("unknown join mode") };
    case "rename":
      return { type, name: decodeName(reader) };
    case "disappearAfter":
      return { type, disappearAfter: decodeTime(reader) };
    default:
      return { type, userId: decodeName(reader) };
  }
}

/**
 * The policy with a change by `self`. `members`: users who stay. Throws `not-an-admin`, `not-a-member`, `last-admin`,
 * `quota-exceeded` where a list is full.
 */
export function changedPolicy(
  policy: Policy,
  change: PolicyChange,
  { members, self }: { readonly members: ReadonlySet<string>; readonly self: string },
): Policy {
  if (!isAdmin(policy, self)) throw new SubrosaError("not-an-admin", "only admins change the policy");
  if (change.type === "disappearAfter") return { ...policy, disappearAfter: change.disappearAfter };
  if (policy.kind === "direct") throw new SubrosaError("forbidden", "not in a direct conversation");
  if (change.type === "join") return { ...policy, join: change.join };
  if (change.type === "rename") return { ...policy, name: change.name };
  return changedLists(policy, change, members);
}

function changedLists(
  policy: GroupPolicy,
  { type, userId }: PolicyChange & { readonly type: UserChange },
  members: ReadonlySet<string>,
): Policy {
  const { admins, banned } = policy;
  const isOther = (user: string) => user !== userId;
  switch (type) {
    case "promote":
      requireMember(members, userId);
      return { ...policy, admins: withUser(admins, userId, MAX_ADMINS) };
    case "demote": {
      requireMember(members, userId);
      const left = admins.filter(isOther);
      if (!left.some((admin) => members.has(admin)))
        throw new SubrosaError("last-admin", "a group is not left without an admin: promote another first");
      return { ...policy, admins: left };
    }
    case "ban":
      return {
        ...policy,
        admins: admins.filter(isOther),
        banned: inByteOrder(withUser(banned, userId, MAX_BANNED)),
      };
    case "unban":
      return { ...policy, banned: banned.filter(isOther) };
  }
}

function requireMember(members: ReadonlySet<string>, userId: string): void {
  if (!members.has(userId)) throw new SubrosaError("not-a-member", "the user is not a member");
}

function withUser(users: readonly string[], userId: string, max: number): readonly string[] {
  if (users.includes(userId)) return users;
  if (users.length >= max) throw new SubrosaError("quota-exceeded", `a group lists ${max} users at most`);
  return [...users, userId];
}

/** What a commit has changed, as the `groupUpdated` event says it; undefined if that is nothing. */
export interface PolicyNews {
  readonly name?: { readonly before: string; readonly after: string } | undefined;
  readonly join?: JoinMode;
  readonly promoted?: readonly string[];
  readonly demoted?: readonly string[];
  readonly banned?: readonly string[];
  readonly unbanned?: readonly string[];
  readonly disappearAfter?: number;
}

/**
 * What a commit changed but the name, which each device lists by itself. `members`: the users after the commit; who is
 * none is told of as one who left.
 */
export function policyNews(
  before: Policy,
  after: Policy,
  members: readonly string[],
): PolicyNews | undefined {
  if (isSamePolicy(before, after)) return undefined;
  const time = before.disappearAfter !== after.disappearAfter && { disappearAfter: after.disappearAfter };
  if (before.kind !== "group" || after.kind !== "group") return time || undefined;
  const news = {
    ...(before.join !== after.join && { join: after.join }),
    ...listed("promoted", after.admins, before.admins),
    ...listed("demoted", before.admins, [...after.admins, ...without(before.admins, members)]),
    ...listed("banned", after.banned, before.banned),
    ...listed("unbanned", before.banned, after.banned),
    ...time,
  };
  return Object.keys(news).length === 0 ? undefined : news;
}

function without(users: readonly string[], others: readonly string[]): string[] {
  const known = new Set(others);
  return users.filter((userId) => !known.has(userId));
}

function listed(
  name: "promoted" | "demoted" | "banned" | "unbanned",
  users: readonly string[],
  others: readonly string[],
): PolicyNews {
  const left = without(users, others);
  return left.length > 0 ? { [name]: left } : {};
}
