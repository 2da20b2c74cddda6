import { asBytes, type Bytes, EMPTY, equalBytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { sha256 } from "../../../crypto/hash.js";
import type { GroupState } from "../../../mls/group/index.js";
import { type EntryContent, type LogEntry, labelOf } from "../../../wire/entries.js";
import { type Cursor, isSameCursor, type LogId } from "../../../wire/identifiers.js";
import { EntryKind, isHandshake } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { announceEnd } from "../effects.js";
import { ownLeaves } from "../membership/commit-rules.js";
import { leafHash, ownLeafOf } from "../membership/leaves.js";
import { passBy } from "../repair/repair.js";
import type { Restorer } from "../repair/restorer.js";
import type { Intent, Sealed } from "../sending/intent.js";
import { receiveOwn, unseal } from "../sending/own-entries.js";
import type { Step } from "../step.js";
import { contentDigests, nextCursor } from "./log-digest.js";
import { receiveEntry } from "./receive.js";

/** What the entries of a log are received with. */
export interface Receiving {
  readonly log: () => LogId;
  /** Those of the conversation, as they stand when they are asked for. */
  readonly intents: () => readonly Intent[];
  readonly restorer: () => Pick<Restorer, "receive" | "lost">;
}

/** Carries out entries of a group's log on a step, in order. Throws `protocol-error` where they are not what follows. */
export async function receiveEntries(
  context: Context,
  step: Step,
  entries: readonly LogEntry[],
  receiving: Receiving,
): Promise<void> {
  // What follows the commit that adds this device anew is read with the keys that it brings; what comes while the relay
  // refuses the log, once it does not.
  const isOver = () => {
    const { status, repair } = step.record;
    return status === "ended" || repair?.readded === true || repair?.refused === true;
  };
  if (isOver()) return;
  const first = step.place.cursor.seq + 1;
  const isWhole = entries.every(({ seq }, at) => at === 0 || seq === (entries[at - 1]?.seq ?? 0) + 1);
  if (!isWhole || (entries[0]?.seq ?? first) > first) {
    throw new SubrosaError("protocol-error", "the relay left out entries of a log");
  }
  const fresh = entries.filter(({ seq }) => seq >= first);
  const digests = await contentDigests(fresh);
  const read: Uint8Array[] = [];
  for (const [index, entry] of fresh.entries()) {
    if (isOver()) break;
    const { cursor } = step.place;
    const digest = digests[index] as Awaited<(typeof digests)[number]>;
    const next = await nextCursor(receiving.log(), cursor, digest);
    await receiveOne(context, step, entry, digest, next, receiving);
    step.advance(next, isHandshake(labelOf(entry).kind));
    if (step.record.status !== "repairing") read.push(digest);
  }
  if (read.length > 0 && step.record.subject.kind === "group") step.noteRead(read);
}

async function receiveOne(
  context: Context,
  step: Step,
  entry: LogEntry,
  digest: Uint8Array,
  at: Cursor,
  receiving: Receiving,
): Promise<void> {
  if (labelOf(entry).kind === EntryKind.operatorClose) {
    announceEnd(context, step, { closed: true });
    step.end();
    return;
  }
  if (step.record.status === "repairing") {
    await receiving.restorer().lost.found(step, entry, at);
    return passBy(context, step, entry);
  }
  if (step.record.restoration !== undefined) {
    if ((await receiving.restorer().receive(step, entry, digest, at)) === "known") return;
    if ((step.record.status as string) === "repairing") return;
  }
  // The app has left: what a relay that has lost our leave sends on is not for it.
  if (step.record.status === "leaving" && labelOf(entry).kind === EntryKind.application) return;
  const entryId = toHex(labelOf(entry).entryId);
  // What ended in this step is there until the step is written.
  const intents = receiving.intents().filter((one) => !step.hasEnded(one));
  const intent = intents.find(({ sealed }) => sealed !== undefined && toHex(sealed.entryId) === entryId);
  const sealed = intent?.sealed;
  // What was made for another place in the log is not in force here, whoever put it there.
  // While the log is put back, places have other digests; what was known of them has been matched by now.
  const isInPlace =
    sealed !== undefined &&
    equalBytes(sealed.contentDigest, digest) &&
    (step.record.restoration !== undefined || isSameCursor(sealed.after, step.place.handshake));
  const before = step.group;
  for (const other of intents) {
    // What was sealed for the place before a handshake entry can never be taken; nor can what has the id of this one.
    const isOver = other === intent ? !isInPlace : isHandshake(labelOf(entry).kind);
    if (isOver && other.sealed !== undefined) unseal(context, step, other);
  }
  if (intent !== undefined && isInPlace) {
    receiveOwn(context, step, intent, sealed, at);
    if (isHandshake(sealed.kind)) await keep(context, step, await ownContent(sealed), { at, before, sealed });
    return;
  }
  if (entry.form === "full") {
    const { content } = entry;
    const { until = 0, since = 0 } = step.record.restoration ?? {};
    const mayRepeat = at.seq <= Math.min(until, since);
    await receiveEntry(context, step, content, digest, mayRepeat);
    if (isHandshake(content.kind)) await keep(context, step, content, { at, before });
    return;
  }
  // The relay withholds messages after we left, nothing else.
  throw new SubrosaError("protocol-error", "the relay withholds an entry");
}

async function ownContent({ kind, entryId, payload, bundle }: Sealed): Promise<EntryContent> {
  if (bundle === undefined) return { kind, entryId, payload };
  const { access, welcome } = bundle;
  const welcomeHash = welcome.length === 0 ? EMPTY : await sha256(welcome);
  return { kind, entryId, payload, bundle: { access, welcomeHash } };
}

/** The proposal that has come, unless it was void. This device's own waits from when it was made. */
function leaveRef(
  before: GroupState | undefined,
  after: GroupState | undefined,
  own: boolean,
): Bytes | undefined {
  if (before === undefined || after === undefined) return undefined;
  const ref = own
    ? ownLeaves(after)[0]
    : after.pendingProposals.find((one) => !before.pendingProposals.includes(one))?.ref;
  return ref && asBytes(ref);
}

/** `before`: the group before the entry. */
async function keep(
  context: Context,
  step: Step,
  content: EntryContent,
  {
    at: cursor,
    before,
    sealed,
  }: { readonly at: Cursor; readonly before?: GroupState | undefined; readonly sealed?: Sealed },
): Promise<void> {
  const { status, subject, groupId, restoration } = step.record;
  if (status === "ended" || subject.kind === "direct") return;
  const welcome = sealed?.bundle?.welcome ?? EMPTY;
  const leaf = before && ownLeafOf(before);
  const hash = leaf && { leafHash: await leafHash(leaf) };
  const order = (step.record.kept ?? 0) + 1;
  // What the log shows behind what it is put back to is where it is to go on.
  step.setRecord({ kept: order, ...(restoration && { restoration: { ...restoration, matched: order } }) });
  const own = sealed !== undefined;
  const ref = content.kind === EntryKind.leave ? leaveRef(before, step.group, own) : undefined;
  const kept = {
    order,
    cursor,
    content,
    welcome,
    time: context.clock.now(),
    own,
    ...hash,
    ...(ref && { ref }),
  };
  step.change(context.journal.keepHandshake(groupId, kept));
}
