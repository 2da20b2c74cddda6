import { toHex } from "../../src/base/encoding.js";
import {
  type GroupPolicy,
  isSamePolicy,
  type Policy,
  policyOf,
} from "../../src/client/conversation/membership/policy.js";
import type { PolicyChange } from "../../src/client/conversation/membership/policy-change.js";
import { encode } from "../../src/codec/writer.js";
import { encodeGroupContext, type GroupContext } from "../../src/mls/structs/group-context.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { devicesAfter, isLossy } from "./oracle-common.js";
import type { Accepted, LogTruth } from "./truth.js";
import type { World } from "./world.js";

/** All members had each epoch of a group alike, and nobody changed in it what it had no right to. */
export function policyProblems(world: World, log: LogTruth): string[] {
  // What the relay lost was an epoch too, and another one may have come in its place.
  if (isLossy(world)) return [];
  const problems: string[] = [];
  const name = world.truth.nameOf(log) ?? log.group.direct?.join("+") ?? "?";
  const epochs = new Map<bigint, { context: GroupContext; users: string[]; handshake: number }>();
  for (const { user, handshake, context } of world.truth.epochsOf(log.groupId)) {
    const known = epochs.get(context.epoch);
    if (known === undefined) epochs.set(context.epoch, { context, users: [user], handshake });
    else {
      if (digestOf(known.context) !== digestOf(context))
        problems.push(`${user} had another epoch ${context.epoch} of ${name} than ${known.users}`);
      known.users.push(user);
      known.handshake = Math.min(known.handshake, handshake);
    }
  }
  for (const [epoch, { context, handshake }] of epochs) {
    const before = epochs.get(epoch - 1n);
    const commit = log.entries[handshake - 1];
    if (before === undefined || commit?.kind !== EntryKind.commit) continue;
    const [policy, after] = [policyOf(before.context.extensions), policyOf(context.extensions)];
    if (policy.kind !== "group" || after.kind !== "group") continue;
    const broken = brokenRules(world, log, commit, policy, after);
    problems.push(...broken.map((rule) => `commit ${commit.seq} of ${commit.user} in ${name}: ${rule}`));
  }
  return problems;
}

const digestOf = (context: GroupContext) => toHex(encode(encodeGroupContext, context));

/** Users who have a device in the group after the entry with this number. */
const usersAfter = (world: World, log: LogTruth, seq: number) =>
  new Set(devicesAfter(world, log, seq).values());

/** What a commit did that it must not have done. */
function brokenRules(
  world: World,
  log: LogTruth,
  { seq, user, entryId }: Accepted,
  before: GroupPolicy,
  after: GroupPolicy,
): string[] {
  const problems: string[] = [];
  const [earlier, later] = [usersAfter(world, log, seq - 1), usersAfter(world, log, seq)];
  const isAdmin = before.admins.includes(user);
  const added = [...later].filter((one) => !earlier.has(one));
  const removed = [...earlier].filter((one) => !later.has(one));
  const left = log.memberships(world.truth.creatorOf(log)).filter(({ end }) => end === "left");
  const hasLeft = (one: string) => left.some(({ user: who, until }) => who === one && until < seq);

  if (added.length > 0 && !isAdmin && before.join !== "open") problems.push(`no admin, and added ${added}`);
  for (const one of removed) if (!isAdmin && !hasLeft(one)) problems.push(`no admin, and removed ${one}`);
  for (const one of after.banned) if (later.has(one)) problems.push(`${one} is banned and a member`);
  for (const one of before.banned) if (added.includes(one)) problems.push(`${one} came in, although banned`);
  for (const one of after.admins) if (!later.has(one)) problems.push(`${one} is an admin and no member`);
  if (after.admins.length === 0) problems.push("nobody is an admin");

  // Who is no admin changes nothing; only that an admin went shows, and that another has to take its place.
  const staying = before.admins.filter((one) => later.has(one));
  const heirs = staying.length > 0 ? staying : after.admins.slice(0, 1);
  if (!isAdmin && !isSamePolicy({ ...before, admins: heirs }, after))
    problems.push("no admin, and changed the policy");

  const action = world.truth.sealed.get(entryId)?.intent.action;
  if (action?.type === "policy" && !isMade(action.change, after, later))
    problems.push(`${action.change.type} had no effect`);
  return problems;
}

function isMade(change: PolicyChange, after: GroupPolicy, users: ReadonlySet<string>): boolean {
  switch (change.type) {
    case "promote":
      return after.admins.includes(change.userId);
    case "demote":
      return !after.admins.includes(change.userId);
    case "ban":
      return after.banned.includes(change.userId) && !users.has(change.userId);
    case "unban":
      return !after.banned.includes(change.userId);
    case "join":
      return after.join === change.join;
    case "rename":
      return after.name === change.name;
    case "disappearAfter":
      return after.disappearAfter === change.disappearAfter;
  }
}

/**
 * The relay knows a group by the name that its members have given it. It may have another one for it too: that of
 * an admin who was none any more when it wanted to give it back.
 */
export function nameProblems({ truth }: World, log: LogTruth, policy: Policy): string[] {
  const names = log.group.names.map((hash) => truth.names.get(toHex(hash)));
  if (policy.kind !== "group" || names.includes(policy.name)) return [];
  return [`the relay has [${names}] for a group that its members call ${policy.name}`];
}
