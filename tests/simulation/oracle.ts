import { toHex } from "../../src/base/encoding.js";
import type { ErrorCode, SubrosaError } from "../../src/base/errors.js";
import { usersOf } from "../../src/client/conversation/membership/leaves.js";
import { decodeConversationRecord } from "../../src/client/conversation/record.js";
import { decodeIntent } from "../../src/client/conversation/sending/intent.js";
import { loadState, policyIn } from "../../src/client/conversation/state.js";
import type { ClientEvents, EventName } from "../../src/client/events.js";
import { layout } from "../../src/client/layout.js";
import { decode } from "../../src/codec/reader.js";
import { epochAuthenticator } from "../../src/mls/group/index.js";
import { bytesOf, keys } from "../../src/relay/embedded/keys.js";
import { accessRecord, directRecord } from "../../src/relay/embedded/records.js";
import type { StoreSession } from "../../src/stores/store.js";
import { NEWCOMER } from "./base.js";
import type { Call, Device } from "./device.js";
import { type History, LEGITIMATE, type Sent } from "./history.js";
import { failedReceipts, firstTaken, isLossy } from "./oracle-common.js";
import { deletionProblems, Gone } from "./oracle-deletions.js";
import { isFor, mayStayLost, wasHidden } from "./oracle-losses.js";
import { nameProblems, policyProblems } from "./oracle-policy.js";
import { receiptProblems } from "./oracle-receipts.js";
import { mayBeStranger } from "./oracle-strangers.js";
import type { Accepted, LogTruth, Membership } from "./truth.js";
import type { World } from "./world.js";

/** Everything that is not as it must be once a world has been healed and has settled. */
export async function problemsOf(world: World, history: History): Promise<string[]> {
  const problems = [...world.problems, ...world.truth.impossible, ...badCalls(world)];
  for (const device of world.devices.values()) {
    problems.push(
      ...leftovers(world, device),
      ...badEvents(device, isLossy(world), cameBack(world, device.user)),
      ...badDeliveries(device),
    );
  }
  const gone = new Gone(world, history);
  problems.push(...directProblems(world, history, gone), ...groupProblems(world, history, gone));
  problems.push(...receiptProblems(world, history, gone), ...deletionProblems(world));
  for (const log of world.truth.logs.values()) {
    if (!isSuperseded(world, log) && !isOrphaned(world, log))
      problems.push(...(await disagreements(world, log)));
    problems.push(...policyProblems(world, log));
  }
  return problems;
}

/** What a device says that was set back: that it noticed, and that it has not got what its app got before. */
const SET_BACK: readonly Call["outcome"][] = ["store-outdated", "invalid-argument"];

function badCalls(world: World): string[] {
  const orphaned = [...world.truth.logs.values()].some((log) => isOrphaned(world, log));
  return world.calls.flatMap(({ user, name, outcome }) => {
    if (outcome === "done" || outcome === "never known") return [];
    if (world.device(user).setBack && SET_BACK.includes(outcome)) return [];
    // Who admits somebody waits for as long as it takes, in a group that nobody can repair for ever.
    if (outcome === "open" && orphaned && (name === "approve" || name === "accept")) return [];
    // Another process has it open, or the app has closed it.
    if (outcome === "store-in-use" || outcome === "closed") return [];
    return LEGITIMATE[name]?.includes(outcome as never) ? [] : [`${user}: ${name} ended with ${outcome}`];
  });
}

function leftovers(world: World, device: Device): string[] {
  return [layout.intents, layout.pointers, layout.joins, layout.pending, layout.failures].flatMap((prefix) =>
    device.place.under(prefix).flatMap(([key]) => {
      const groupId = groupOf(device, prefix, key);
      const log = groupId === undefined ? undefined : world.truth.logs.get(groupId);
      // To who is set back to when it was leaving the relay says no more than if it had lost the group: it waits, hidden.
      if (prefix === layout.intents && device.setBack && isLeave(device, key)) return [];
      // A request to join a group that was deleted meanwhile is answered by nobody; nor does anybody put back how one came
      // into a group whose keys nobody has.
      if (log !== undefined && (isOrphaned(world, log) || (prefix === layout.joins && log.isClosed)))
        return [];
      return [`${device.user} is left with ${key}`];
    }),
  );
}

function groupOf({ place }: Device, prefix: string, key: string): string | undefined {
  if (prefix === layout.joins || prefix === layout.pointers) return key.slice(prefix.length);
  if (prefix !== layout.intents) return undefined;
  const { target } = decode(decodeIntent, place.values.get(key) as Uint8Array);
  return "groupId" in target ? toHex(target.groupId) : undefined;
}

function isLeave({ place }: Device, key: string): boolean {
  return decode(decodeIntent, place.values.get(key) as Uint8Array).action.type === "leave";
}

/** Errors that say of something asked for that it came too late or has to be asked for again, not that anything is wrong. */
const TOO_LATE: readonly ErrorCode[] = [
  "unknown-group",
  "not-a-member",
  "not-an-admin",
  "closed",
  "gap",
  "connection-failed",
  "name-taken",
  // The network kept back what the relay had sent.
  "timeout",
];

/** Events that say that something is wrong. */
const ALARMING: readonly EventName[] = ["error", "undecryptable", "identityChanged", "equivocation"];

/** What is said when a relay has lost data. */
const LOST: readonly ErrorCode[] = ["data-lost", "cursor-mismatch", "store-outdated"];

/** Whether a user was in some group more than once. */
function cameBack({ truth }: World, user: string): boolean {
  return [...truth.logs.values()].some(
    (log) => log.memberships(truth.creatorOf(log)).filter((one) => one.user === user).length > 1,
  );
}

function badEvents(device: Device, lossy: boolean, mayHaveGap: boolean): string[] {
  return device.events.flatMap(({ name, event }) => {
    if (!ALARMING.includes(name)) return [];
    // Of two histories that there were, some know one and some the other.
    if (name === "equivocation" && lossy) return [];
    const { reason } = event as ClientEvents["undecryptable"];
    if (name === "undecryptable" && mayHaveGap && reason === "gap") return [];
    // Others went on without what the relay had lost: who has to be repaired for that is told what went by.
    if (name === "undecryptable" && lossy) return [];
    const { code, message, rule, cause } = event as SubrosaError;
    if (name === "error" && (TOO_LATE.includes(code) || (lossy && LOST.includes(code)))) return [];
    const text = name === "error" ? `${code} ${message} ${rule ?? ""} ${cause ?? ""}` : JSON.stringify(event);
    return [`${device.user}: ${name} ${text}`];
  });
}

/** A message comes again only in a later life, marked, and only if it was pending when the earlier one ended. */
function badDeliveries(device: Device): string[] {
  if (device.setBack) return [];
  const problems: string[] = [];
  const lives = new Map<string, number>();
  for (const { id, content, redelivered, life } of device.taken) {
    const before = lives.get(id);
    lives.set(id, life);
    if (before === life) problems.push(`${device.user} got ${content} twice in one life`);
    if (before !== undefined && !redelivered) problems.push(`${device.user} got ${content} again, unmarked`);
    if (redelivered && !device.pendingAtDeath.has(id)) {
      problems.push(`${device.user} got ${content} again although it had been taken`);
    }
  }
  return problems;
}

/** Whatever a user sent to another arrives, once and in order, unless one of them had it deleted. */
function directProblems(world: World, history: History, gone: Gone): string[] {
  const problems: string[] = [];
  const byPair = new Map<string, Sent[]>();
  for (const sent of history.sends) {
    if (sent.to === undefined) continue;
    const pair = `${sent.from} ${sent.to}`;
    byPair.set(pair, [...(byPair.get(pair) ?? []), sent]);
  }
  for (const device of world.devices.values()) {
    const texts = new Set(history.sends.filter(({ to }) => to === device.user).map(({ text }) => text));
    for (const { group, content } of firstTaken(device)) {
      if (group === undefined && !texts.has(content as string))
        problems.push(`${device.user} got ${content}, which is not for it`);
    }
  }
  for (const sends of byPair.values()) {
    const { from, to } = sends[0] as Sent;
    // What a device knew that was set back, it knows no more: only what it is sent from then on is sure.
    const { setBackAt } = world.device(to as string);
    if (world.device(from).setBack) continue;
    const got = firstTaken(world.device(to as string)).flatMap((one) =>
      one.group === undefined && one.from === from ? [one.content as string] : [],
    );
    const failed = failedReceipts(world.device(from));
    const excused = ({ id = "" }: Sent) =>
      (to === NEWCOMER && failed.get(id) === "unknown-user") ||
      gone.mayFail(from, id, failed.get(id)) ||
      gone.mayStayLost(from, id) ||
      gone.mayMiss(to as string, id);
    const expected = sends
      .filter((sent) => (sent.id !== undefined && !excused(sent)) || got.includes(sent.text))
      .map(({ text }) => text);
    if (setBackAt !== undefined) {
      const later = sends.filter(({ at, text }) => at > setBackAt && expected.includes(text));
      const missing = later.filter(({ text }) => !got.includes(text)).map(({ text }) => text);
      if (missing.length > 0) problems.push(`${to}, set back, has not got [${missing}] of ${from}`);
      continue;
    }
    const sorted = (texts: readonly string[]) => (isLossy(world) ? [...texts].sort() : texts).join();
    if (sorted(got) !== sorted(expected)) problems.push(`${to} has [${got}] of ${from}, not [${expected}]`);
    for (const { id, text } of sends) {
      const code = id === undefined ? undefined : failed.get(id);
      // Nobody can write to a user who has not been there yet.
      if (code === "unknown-user" && to === NEWCOMER) continue;
      // Who has it deleted while it waits to be sent again does not know that it had come before the relay lost that.
      if (gone.mayFail(from, id ?? "", code) && (isLossy(world) || !got.includes(text))) continue;
      if (code !== undefined) problems.push(`${from}: ${text} failed with ${code}`);
    }
  }
  return problems;
}

interface Placed {
  readonly log: LogTruth;
  readonly entry: Accepted;
}

/** Where each message was accepted, by its id. */
function acceptedMessages(world: World): Map<string, Placed[]> {
  const { truth } = world;
  const accepted = new Map<string, Placed[]>();
  for (const log of truth.logs.values()) {
    for (const entry of log.entries) {
      const action = truth.sealed.get(entry.entryId)?.intent.action;
      if (action?.type !== "send" || action.content.type !== "text") continue;
      const id = toHex(action.content.id);
      accepted.set(id, [...(accepted.get(id) ?? []), { log, entry }]);
    }
  }
  return accepted;
}

function groupProblems(world: World, history: History, gone: Gone): string[] {
  const problems: string[] = [];
  const { truth } = world;
  const accepted = acceptedMessages(world);
  const memberships = new Map(
    [...truth.logs.values()].map((log) => [log, log.memberships(truth.creatorOf(log))] as const),
  );
  const textOf = new Map([...truth.messages].map(([text, id]) => [id, text]));
  for (const [id, places] of accepted) {
    // What was not known to have arrived is sent again in the next conversation of two users; in a group, by who was
    // removed and added again before it could read what had become of it.
    const times = new Set(places.map(({ log, entry }) => membershipOf(memberships, log, entry) ?? entry));
    if (places.length > times.size && !isLossy(world))
      problems.push(`${textOf.get(id)} was accepted ${places.length} times`);
  }
  problems.push(...sendProblems(world, history, accepted, memberships, gone));
  for (const device of world.devices.values()) {
    const taken = firstTaken(device).filter(({ group }) => group !== undefined);
    const order = new Map(taken.map(({ id }, at) => [id, at]));
    for (const { id, content } of taken) {
      const place = accepted.get(id)?.[0];
      const mine = (place && memberships.get(place.log)) ?? [];
      const entitled = mine.some(
        (one) => place && isFor(one, device.user, place.entry) && isShown(world, place.log, one),
      );
      if (!entitled && !isLossy(world)) problems.push(`${device.user} got ${content}, which is not for it`);
    }
    for (const [log, all] of memberships) {
      if (log.group.direct !== undefined) continue;
      for (const one of all) {
        if (one.user !== device.user || device.setBack || !isShown(world, log, one)) continue;
        const cameBack = all.some(({ user, from }) => user === one.user && from >= one.until);
        const lossy = isLossy(world);
        // Who has left gets nothing more, also where the relay has lost that.
        const hasLeft = lossy && (wasLeaving(world, log, one) || wasRemoved(world, log, one));
        const gaps = hasLeft || one.end === "left" || (cameBack && one.end === "removed");
        const shown = { ...one, from: lossy ? shownFrom(world, log, one) : one.from };
        const mayMiss = (id: string) => gone.mayMiss(device.user, id) || wasHidden(world, device.user, id);
        const found = receptionProblems(device, log, shown, accepted, order, textOf, lossy, gaps, mayMiss);
        problems.push(...found);
      }
    }
  }
  return problems;
}

/** As whose, and of which time, a message was accepted. */
const membershipOf = (all: ReadonlyMap<LogTruth, readonly Membership[]>, log: LogTruth, entry: Accepted) =>
  all.get(log)?.find((one) => isFor(one, entry.user, entry));

/** Whether the app of this member ever saw the group: an invitation that was never accepted shows nothing. */
function isShown({ truth }: World, log: LogTruth, { user, from, until }: Membership): boolean {
  return truth.taken.some(
    (one) =>
      one.user === user &&
      one.groupId === log.groupId &&
      one.at < until &&
      // One that was over with the commit that this one begins with is another.
      (one.at >= from || (one.endedAt ?? until) > from) &&
      one.statuses.includes("active"),
  );
}

/**
 * Where a membership began for the app: what a relay's loss brought back was turned down by the device itself, and another
 * invitation came before the others knew.
 */
function shownFrom({ truth }: World, { groupId }: LogTruth, { user, from, until }: Membership): number {
  const stays = truth.taken.filter(
    (one) => one.user === user && one.groupId === groupId && one.at >= from && one.at < until,
  );
  const isShown = stays.findIndex(({ statuses }) => statuses.includes("active"));
  return isShown > 0 ? (stays[isShown]?.at ?? from) : from;
}

/** Whether this member had left, as far as its device knew. */
function wasLeaving({ truth }: World, { groupId }: LogTruth, { user }: Membership): boolean {
  return truth.taken.some(
    (one) => one.user === user && one.groupId === groupId && one.statuses.includes("leaving"),
  );
}

/** Whether this member had been removed, as far as its device knew, and was again when that was put back. */
function wasRemoved({ truth }: World, { groupId }: LogTruth, { user, from, end }: Membership): boolean {
  const isOver = truth.taken.some(
    (one) => one.user === user && one.groupId === groupId && one.endedAt !== undefined,
  );
  const before = truth.lost.filter(({ log }) => log.groupId === groupId);
  const memberships = before.flatMap(({ log }) => log.memberships(truth.creatorOf(log)));
  const isSame = (one: Membership) => one.user === user && one.from === from && one.end === "removed";
  return end === "removed" && isOver && memberships.some(isSame);
}

/** How many messages at most a device's app was told that it misses. */
function missedBy({ events }: Device): number {
  return events.reduce((sum, { name, event }) => {
    if (name !== "undecryptable") return sum;
    return sum + ((event as ClientEvents["undecryptable"]).missed ?? 1);
  }, 0);
}

/** What a member must have got during one membership, and in which order. */
function receptionProblems(
  device: Device,
  log: LogTruth,
  one: Membership,
  accepted: ReadonlyMap<string, readonly Placed[]>,
  order: ReadonlyMap<string, number>,
  textOf: ReadonlyMap<string, string>,
  lossy: boolean,
  tolerant: boolean,
  mayMiss: (id: string) => boolean,
): string[] {
  const problems: string[] = [];
  const bySender = new Map<string, { id: string; seq: number }[]>();
  for (const [id, places] of accepted) {
    // If it came again, it was known by then.
    const place = places.find((place) => place.log === log && isFor(one, device.user, place.entry));
    if (place === undefined || place.entry.user === device.user) continue;
    if (order.get(id) === undefined && mayMiss(id)) continue;
    const { user, seq } = place.entry;
    bySender.set(user, [...(bySender.get(user) ?? []), { id, seq }]);
  }
  for (const [sender, messages] of bySender) {
    messages.sort((a, b) => a.seq - b.seq);
    const places = messages.map(({ id }) => order.get(id));
    const lost = messages.filter((_, at) => places[at] === undefined);
    // Who leaves hides the group at once: what its app had not taken by then it does not get. Who was removed and
    // added again meanwhile may read from there on only (PROTOCOL.md, Subscribe and ack), and was told so.
    const firstLost = places.indexOf(undefined);
    const excused = tolerant && places.slice(firstLost).every((place) => place === undefined);
    const told = lossy ? missedBy(device) : 0;
    if (lost.length > told && !excused) {
      const texts = lost.map(({ id, seq }) => `${textOf.get(id)} (${seq})`);
      problems.push(
        `${device.user}, in ${log.groupId.slice(0, 8)} from ${one.from} to ${one.until} (${one.end}), never got [${texts}] of ${sender}`,
      );
    }
    const present = places.filter((place) => place !== undefined);
    if (!lossy && present.some((place, at) => at > 0 && place < (present[at - 1] as number))) {
      problems.push(`${device.user} got messages of ${sender} out of order`);
    }
  }
  return problems;
}

/** A message that the app was told is safe gets into its group's log, or its sender learns why not. */
function sendProblems(
  world: World,
  history: History,
  accepted: ReadonlyMap<string, readonly Placed[]>,
  memberships: ReadonlyMap<LogTruth, readonly Membership[]>,
  gone: Gone,
): string[] {
  const problems: string[] = [];
  const last = new Map<string, number>();
  for (const { from, group, text, id } of history.sends) {
    if (group === undefined || world.device(from).setBack) continue;
    const known = id ?? world.truth.messages.get(text);
    const place = known === undefined ? undefined : accepted.get(known)?.[0];
    const code = known === undefined ? undefined : failedReceipts(world.device(from)).get(known);
    if (place !== undefined) {
      if (code !== undefined)
        problems.push(`${from} was told that ${text} failed (${code}), but it was accepted`);
      const key = `${from} ${place.log.groupId}`;
      if (!isLossy(world) && place.entry.seq < (last.get(key) ?? 0))
        problems.push(`${from}'s ${text} was accepted out of order`);
      last.set(key, place.entry.seq);
    } else if (id !== undefined) {
      if (gone.mayFail(from, id, code)) continue;
      // Legitimate only for who was removed, left, or had its group deleted.
      const groupId = world.truth.facts.get(id)?.groupId;
      const ended = [...memberships].some(
        ([log, all]) =>
          log.groupId === groupId && all.some(({ user, end }) => user === from && end !== undefined),
      );
      if (code === undefined) {
        const log = world.truth.logs.get(groupId ?? "");
        // The group itself was lost, which its members were told; or nobody is left who adds its sender anew.
        if (isLossy(world) && (log === undefined || isOrphaned(world, log))) continue;
        if (!gone.mayStayLost(from, id) && !mayStayLost(world, gone, from, id))
          problems.push(`${from}'s ${text} was lost on its way into ${group}`);
      } else if (!isLossy(world) && (code !== "not-a-member" || !ended))
        problems.push(`${from}: ${text} failed with ${code}`);
    }
  }
  return problems;
}

/**
 * Whether nobody is left in a group who knows its keys: all who are in it were set back; or the relay lost a commit, who
 * had not seen it went on without it, and left.
 */
function isOrphaned(world: World, log: LogTruth): boolean {
  const members = log.memberships(world.truth.creatorOf(log)).filter(({ end }) => end === undefined);
  const isLost = ({ user }: Membership) =>
    world.device(user).setBack || (world.truth.hasLost && !hasKeys(world.device(user), log));
  return members.length > 0 && members.every(isLost);
}

function hasKeys({ place }: Device, { groupId }: LogTruth): boolean {
  const stored = place.values.get(`${layout.conversations}${groupId}`) as Uint8Array | undefined;
  const status = stored && decode(decodeConversationRecord, stored).status;
  return status === "active" || status === "invited" || status === "leaving";
}

/** Whether two users have begun a direct conversation anew since: what is left of this one nobody has to follow. */
function isSuperseded(world: World, { groupId, group }: LogTruth): boolean {
  if (group.direct === undefined) return false;
  const prefix = keys.direct(new Uint8Array(0));
  const bindings = [...world.kv.range(prefix, `${prefix}\u{ffff}`)];
  return !bindings.some(([, value]) => toHex(directRecord.decode(value).groupId) === groupId);
}

/** Members are in the same epoch of the same group, at the end of its log; nobody else is in it. */
async function disagreements(world: World, log: LogTruth): Promise<string[]> {
  const problems: string[] = [];
  const { truth } = world;
  const name = truth.nameOf(log) ?? log.group.direct?.join("+") ?? "?";
  const members = log.isClosed
    ? []
    : log.memberships(truth.creatorOf(log)).flatMap(({ user, end }) => (end === undefined ? [user] : []));
  const last = log.entries.at(-1);
  // The leaf of a device in whose place another came stays until somebody removes it, also when its user has left.
  const sure = (users: readonly string[]) => [...users].filter((one) => !world.device(one).setBack).sort();
  const expected = `at ${last?.seq ?? 0} ${last?.digest.slice(0, 8) ?? "00000000"} with ${sure(members)}`;
  const epochs = new Set<string>();
  for (const device of world.devices.values()) {
    const { place, user } = device;
    const store = {
      get: async (key: string) => place.values.get(key),
      list: async (prefix: string) => place.under(prefix),
    } as unknown as StoreSession;
    const stored = place.values.get(`${layout.conversations}${log.groupId}`) as Uint8Array | undefined;
    const state = stored && (await loadState(store, stored));
    const status = state?.record.status;
    if (!members.includes(user)) {
      // To who is set back to when it was leaving the relay says no more than if it had lost the group: it waits, hidden.
      const isWaiting = device.setBack && status === "leaving";
      if (status !== undefined && status !== "ended" && !isWaiting)
        problems.push(`${user} has ${name} ${status}, and is no member`);
      continue;
    }
    if (mayBeStranger(world, log, device, state?.record)) continue;
    if (state?.group === undefined || (status !== "active" && status !== "invited")) {
      problems.push(`${user} is a member of ${name}, and has it ${status}`);
      continue;
    }
    const { cursor } = state.place;
    const view = `at ${cursor.seq} ${toHex(cursor.digest).slice(0, 8)} with ${sure(usersOf(state.group))}`;
    if (view !== expected) problems.push(`${user} has ${name} ${view}, not ${expected}`);
    const policy = JSON.stringify(policyIn(state.group));
    epochs.add(`${toHex(epochAuthenticator(state.group)).slice(0, 8)} ${policy}`);
    if (epochs.size === 1 && !log.isClosed && !isLossy(world))
      problems.push(...nameProblems(world, log, policyIn(state.group)));
  }
  if (epochs.size > 1) problems.push(`members of ${name} do not agree: ${[...epochs].join(" / ")}`);
  if (!log.isClosed) problems.push(...accessProblems(world, log, members, name));
  return problems;
}

/** The relay lets in who is a member; whom others than admins removed it lets in until an admin commits, not for long. */
function accessProblems(world: World, log: LogTruth, members: readonly string[], name: string): string[] {
  const id = bytesOf(Buffer.from(log.groupId, "hex").toString("latin1"), 0);
  const prefix = keys.accesses(id);
  const allowed = [...world.kv.range(prefix, `${prefix}\u{ffff}`)]
    .map(([, value]) => accessRecord.decode(value))
    .filter(({ until, removalAsked }) => until === undefined && !removalAsked)
    .map(({ userId }) => userId)
    .sort();
  const isSure = (user: string) => !world.device(user).setBack;
  const users = [...new Set(allowed)].filter(isSure);
  const wanted = members.filter(isSure).sort();
  return users.join() === wanted.join() ? [] : [`the relay lets [${users}] into ${name}, not [${wanted}]`];
}
