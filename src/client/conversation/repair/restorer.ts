import { EMPTY, equalBytes } from "../../../base/bytes.js";
import { type ErrorCode, SubrosaError } from "../../../base/errors.js";
import { dropProposals } from "../../../mls/group/index.js";
import { type EntryContent, type LogEntry, labelOf } from "../../../wire/entries.js";
import { type Cursor, isSameCursor, START } from "../../../wire/identifiers.js";
import { EntryKind, isHandshake } from "../../../wire/protocol.js";
import type { Context, Effect } from "../../context.js";
import { layout } from "../../layout.js";
import type { Conversation } from "../conversation.js";
import { isLogInDoubt } from "../entering.js";
import { usersOf } from "../membership/leaves.js";
import { contentDigest } from "../receiving/log-digest.js";
import type { Restoration } from "../record.js";
import { failKept, reviveKept, unseal } from "../sending/own-entries.js";
import type { Step } from "../step.js";
import { type KeptHandshake, keptHandshakes, putBack } from "./journal.js";
import { LostMessages } from "./lost-messages.js";
import { loseKeys } from "./repair.js";
import { Trail } from "./trail.js";

/** How long others may take to put back what this device cannot, before it asks to be added anew. */
const PATIENCE = 60_000;
/** How long the maker of an entry is waited for: it has a commit's welcome, and knows best whether it leaves. */
const MAKER_FIRST = 2_000;

/** How often it is tried to put back how somebody came in whom the relay has lost too. */
const RETURN = 15_000;

/** The first entry behind the one with this order. */
const nextOf = (kept: readonly KeptHandshake[], matched: number) => kept.find(({ order }) => order > matched);

/** What is said of a place that is none of the relay's log. */
const ELSEWHERE: readonly ErrorCode[] = ["cursor-mismatch", "gap", "store-outdated"];

const isLeave = ({ content }: KeptHandshake) => content.kind === EntryKind.leave;

/** The entry with this content. */
async function sameIn(kept: readonly KeptHandshake[], content: EntryContent) {
  const digest = await contentDigest(content);
  const digests = await Promise.all(kept.map((one) => contentDigest(one.content)));
  return kept[digests.findIndex((one) => equalBytes(one, digest))];
}

/** Nothing that the relay says of a log. */
const isPassing = ({ code }: SubrosaError) => code === "connection-failed" || code === "closed";

/**
 * Puts a group's log back to what it was before the relay lost the end of it: handshake entries as they were, in order;
 * then the messages of this device that are missing, under their ids. Whoever got one before knows it by its id.
 */
export class Restorer {
  readonly #context: Context;
  readonly #conversation: Conversation;
  /** The handshake entries that this device has processed, while the log is being put back. */
  #kept: readonly KeptHandshake[] | undefined;
  /** What this device has read last before it was put back. */
  #trail: Trail | undefined;
  readonly lost: LostMessages;
  #cancelWait: (() => void) | undefined;
  #cancelPatience: (() => void) | undefined;
  #putting = false;
  /** The log was read to its end while an entry was being put back. */
  #again = false;
  /** The entry whose maker has been waited for. */
  #waited: KeptHandshake | undefined;

  constructor(context: Context, conversation: Conversation) {
    this.#context = context;
    this.#conversation = conversation;
    this.lost = new LostMessages(context, () => conversation.state.record.groupId);
  }

  /**
   * Finds the newest place that relay and device both know; resolves to the log's head, or nothing if there is none. It
   * is one step, so that what the relay then sends is received at that place.
   */
  begin(): Promise<number | undefined> {
    return this.#conversation.step(async (step) => {
      const { record, place } = step;
      const { status, subject, groupId } = record;
      // The log may have been set back to where the keys that others went on without are as good as they were.
      const mayBeGood = status === "repairing" && isLogInDoubt(record) && step.group !== undefined;
      // Who is leaving is not gone before the log says so, and only it can.
      const isFollowed = status === "active" || status === "invited" || status === "leaving";
      if ((!isFollowed && !mayBeGood) || subject.kind !== "group") return undefined;
      const kept = await keptHandshakes(this.#context.store, groupId);
      for (const at of [undefined, ...kept].reverse()) {
        if (at !== undefined && isSameCursor(at.cursor, place.cursor)) continue;
        const found = await this.#subscribe(at?.cursor ?? START);
        if (found === undefined) continue;
        const { head, from } = found;
        // What is named is known there or not; and this device goes back to it, never on over what it has not read.
        if (at !== undefined && !isSameCursor(from, at.cursor)) continue;
        if (from.seq > place.cursor.seq || head.seq < from.seq) continue;
        const cameIn = at === undefined ? await this.#cameIn(kept, from) : undefined;
        // Where the log begins for who was in the group before, and came back, the place is none of this stay.
        const begins = record.creator ? 0 : (kept[0]?.cursor.seq ?? Number.POSITIVE_INFINITY);
        if (cameIn === undefined && from.seq < begins) continue;
        this.#kept = undefined;
        this.#trail = undefined;
        await this.lost.doubt(step, cameIn ? 0 : from.seq);
        // What the relay has dropped from its beginning, this device has acknowledged, and so processed.
        const matched = at ?? cameIn ?? kept.filter((one) => one.cursor.seq <= from.seq).at(-1);
        step.moveTo(from, cameIn ? from : (matched?.cursor ?? START));
        if (cameIn) step.change(this.#context.journal.keepHandshake(groupId, { ...cameIn, cursor: from }));
        step.setRecord({
          status: isFollowed ? status : "active",
          repair: undefined,
          restoration: {
            until: head.seq,
            matched: matched?.order ?? 0,
            since: Math.max(record.restoration?.since ?? 0, Trail.since(place.cursor.seq)),
            missed: record.restoration?.missed ?? 0,
          },
        });
        for (const intent of this.#conversation.intents()) {
          // A commit may be in the log: its keys are the only ones to enter the epoch that it leads to. So may a leave.
          if (intent.sealed !== undefined && !isHandshake(intent.sealed.kind)) {
            unseal(this.#context, step, intent);
          }
        }
        this.#context.report(new SubrosaError("data-lost", "the relay has lost the end of a group's log"));
        return head.seq;
      }
      return undefined;
    });
  }

  /** Of the entries that this device knows, the one at the place where the log begins for it, wherever it stood before. */
  async #cameIn(kept: readonly KeptHandshake[], from: Cursor): Promise<KeptHandshake | undefined> {
    if (from.seq === 0) return undefined;
    const { groupId } = this.#conversation.state.record;
    try {
      const { content, at } = await this.#context.relay.request("fetchBundle", { groupId, seq: from.seq });
      return isSameCursor(at, from) ? await sameIn(kept, content) : undefined;
    } catch (error) {
      if (!SubrosaError.is(error) || isPassing(error)) throw error;
      return undefined;
    }
  }

  /**
   * The relay had forgotten that, or how, this device is in the group, and the commit that added it has been put back, at another
   * place: the keys are as good as they were. False if this is another commit.
   */
  resume(content: EntryContent, at: Cursor, changes: readonly Effect[]): Promise<boolean> {
    return this.#conversation.step(async (step) => {
      const { status, groupId } = step.record;
      if (status !== "repairing" || !isLogInDoubt(step.record) || step.group === undefined) return false;
      const kept = await keptHandshakes(this.#context.store, groupId);
      const same = await sameIn(kept, content);
      const found = same && (await this.#subscribe(at));
      if (same === undefined || found === undefined) return false;
      this.#kept = undefined;
      this.#trail = undefined;
      // Nothing of this device's stands before it.
      await this.lost.doubt(step, 0);
      step.moveTo(at);
      step.change(this.#context.journal.keepHandshake(groupId, { ...same, cursor: at }));
      step.setRecord({
        status: "active",
        repair: undefined,
        restoration: {
          until: found.head.seq,
          matched: same.order,
          since: Trail.since(step.place.cursor.seq),
          missed: step.record.repair?.missed ?? 0,
        },
      });
      step.change(...changes);
      return true;
    });
  }

  /** The head of the log, if the relay knows this place in it, and the place itself: START stands for its beginning. */
  async #subscribe(cursor: Cursor): Promise<{ readonly head: Cursor; readonly from: Cursor } | undefined> {
    const { log } = this.#conversation;
    try {
      return await this.#context.relay.request("subscribe", { log, cursor });
    } catch (error) {
      if (!SubrosaError.is(error) || !ELSEWHERE.includes(error.code)) throw error;
      return undefined;
    } finally {
      this.#conversation.heard();
    }
  }

  /** An entry of the log while it is being put back. `known`: it was processed before, or cannot be. */
  async receive(step: Step, entry: LogEntry, digest: Uint8Array, at: Cursor): Promise<"known" | "new"> {
    const restoration = step.record.restoration as Restoration;
    const { until, matched } = restoration;
    const { kind } = labelOf(entry);
    const kept = await this.#load();
    const next = nextOf(kept, matched);
    if (!isHandshake(kind)) {
      await this.lost.found(step, entry, at);
      const isAhead = kept.some((one) => one.order > matched && one.content.kind === EntryKind.commit);
      if (!isAhead) {
        const isKnown = at.seq <= until && (entry.form === "short" || (await this.#loadTrail()).has(digest));
        return isKnown ? "known" : "new";
      }
      // Of before the last commit that this device has seen: received then, or not to be read any more. What stands where
      // that commit stood, or behind, is new; so is what is not known, as far as that is.
      const isNew =
        at.seq > until ||
        (next !== undefined && at.seq >= next.cursor.seq) ||
        (at.seq > restoration.since && !(await this.#loadTrail()).has(digest));
      if (isNew && kind === EntryKind.application && entry.form === "full")
        step.setRecord({ restoration: { ...restoration, missed: restoration.missed + 1 } });
      return "known";
    }
    if (next === undefined) return "new";
    // A proposal to leave makes no epoch: who knew nothing of it may have gone on without it.
    const without: KeptHandshake[] = [];
    let same: KeptHandshake | undefined = next;
    while (same !== undefined && !equalBytes(await contentDigest(same.content), digest)) {
      without.push(same);
      same = isLeave(same) ? nextOf(kept, same.order) : undefined;
    }
    if (same === undefined && !without.every(isLeave)) {
      await this.#loseKeys(step, next);
      return "known";
    }
    this.#drop(step, without);
    if (same === undefined) return "new";
    const moved = { ...same, cursor: at };
    step.change(this.#context.journal.keepHandshake(step.record.groupId, moved));
    step.setRecord({ restoration: { ...restoration, matched: moved.order } });
    step.after(() => {
      this.#kept = this.#kept?.map((one) => (one.order === moved.order ? moved : one));
      this.#stopWaiting();
    });
    return "known";
  }

  /** Leaves that the log goes on without wait for no commit any more; who was leaving proposes it again. */
  #drop(step: Step, leaves: readonly KeptHandshake[]): void {
    const { group, record } = step;
    const { groupId, status } = record;
    if (group === undefined || leaves.length === 0) return;
    const refs = leaves.flatMap(({ ref }) => (ref === undefined ? [] : [ref]));
    step.propose(dropProposals(group, refs), []);
    // A commit that names one of them can never be in force.
    for (const intent of this.#conversation.intents())
      if (intent.sealed?.kind === EntryKind.commit) unseal(this.#context, step, intent);
    step.change(...leaves.map(({ order }) => ({ delete: layout.handshake(groupId, order) })));
    step.after(() => {
      this.#kept = undefined;
      this.#stopWaiting();
    });
    const isProposed = this.#conversation.intents().some(({ action }) => action.type === "leave");
    if (status === "leaving" && leaves.some(({ own }) => own) && !isProposed)
      step.change(this.#context.outbox.add({ groupId }, { type: "leave" }).change);
  }

  /** The others go on without what this device knows, from where the entry stood: so they know its leaf of before. */
  async #loseKeys(step: Step, { leafHash, order }: KeptHandshake): Promise<void> {
    if (leafHash !== undefined) step.setRecord({ leafHash });
    const lost = (await this.#load()).filter((one) => one.order >= order);
    const removed = lost.flatMap(({ content }) =>
      (content.bundle?.access ?? []).flatMap(({ type, userId }) => (type === "remove" ? [userId] : [])),
    );
    const members = new Set(step.group && usersOf(step.group));
    const back = [...new Set(removed)].filter((userId) => !members.has(userId));
    loseKeys(this.#context, step, "cursor-mismatch");
    if (step.record.repair !== undefined) step.setRecord({ repair: { ...step.record.repair, back } });
  }

  async #loadTrail(): Promise<Trail> {
    this.#trail ??= await Trail.load(this.#context.store, this.#conversation.state.record.groupId);
    return this.#trail;
  }

  async #load(): Promise<readonly KeptHandshake[]> {
    this.#kept ??= await keptHandshakes(this.#context.store, this.#conversation.state.record.groupId);
    return this.#kept;
  }

  /** The log was read to its end: puts back the next entry that is missing, or what is left to do. */
  async proceed(): Promise<void> {
    const { restoration } = this.#conversation.state.record;
    if (restoration === undefined) return;
    if (this.#putting) {
      this.#again = true;
      return;
    }
    const kept = await this.#load();
    const next = nextOf(kept, restoration.matched);
    if (next === undefined) return this.#finish();
    if (this.#cancelWait !== undefined) return;
    this.#cancelPatience ??= this.#context.clock.after(PATIENCE, () => {
      this.#cancelPatience = undefined;
      // It may have been added anew meanwhile.
      const lose = async (step: Step) => step.record.restoration && this.#loseKeys(step, next);
      this.#context.background(this.#conversation.step(lose));
    });
    const isWhole = next.welcome.length > 0 || (next.content.bundle?.welcomeHash ?? EMPTY).length === 0;
    // A leave that was void is nobody's to say again.
    const isAnothers = isLeave(next) && !next.own && next.ref !== undefined;
    if ((isWhole && !isAnothers) || this.#waited === next) return this.#put(next);
    this.#proceedLater(next);
  }

  /** Whether a commit adds devices of users that this one knows, and the relay no more. */
  async #hasLostUsers({ bundle }: EntryContent): Promise<boolean> {
    const { relay, contacts } = this.#context;
    for (const { type, userId } of bundle?.access ?? []) {
      if (type !== "add" || !contacts.isExpected(userId)) continue;
      const found = await relay.request("fetchAccount", { userId }).catch((error: unknown) => error);
      if (SubrosaError.is(found) && found.code === "unknown-user") return true;
    }
    return false;
  }

  #proceedLater(waited = this.#waited, delay = MAKER_FIRST): void {
    this.#cancelWait ??= this.#context.clock.after(delay, () => {
      this.#cancelWait = undefined;
      this.#waited = waited;
      this.#context.background(this.proceed());
    });
  }

  async #put(kept: KeptHandshake): Promise<void> {
    const { log, state } = this.#conversation;
    this.#putting = true;
    try {
      await this.#context.relay.request("append", {
        log,
        after: state.place.handshake,
        entry: putBack(kept),
      });
    } catch (error) {
      if (!SubrosaError.is(error)) throw error;
      if (isPassing(error) || error.code === "stale") return;
      // Others may have the right to it. Who is added by it may still have to register again, which takes as long as it takes.
      const isAwaited = error.code === "unknown-user" && (await this.#hasLostUsers(kept.content));
      if (isAwaited) this.#stopWaiting();
      this.#proceedLater(this.#waited, isAwaited ? RETURN : MAKER_FIRST);
    } finally {
      this.#putting = false;
      // The log may have shown the entry before the relay answered.
      if (this.#again) this.#context.background(this.proceed());
      this.#again = false;
    }
  }

  /** Everybody is where the log is again: what it lost of this device's messages is sent once more. */
  async #finish(): Promise<void> {
    await this.#conversation.step(async (step) => {
      const { restoration, groupId, status } = step.record;
      if (restoration === undefined) return;
      for (const message of await this.lost.all()) {
        // Who is leaving says nothing any more.
        (status === "leaving" ? failKept : reviveKept)(this.#context, step, message);
      }
      for (const intent of this.#conversation.intents()) {
        const { sealed } = intent;
        if (sealed === undefined) continue;
        // What the log had of these, and has shown to others only, they put back: it has to be the same.
        if (isHandshake(sealed.kind))
          step.change(this.#context.outbox.seal(intent, { ...sealed, after: step.place.handshake }));
        else unseal(this.#context, step, intent);
      }
      step.tellMissed("data-lost", restoration.missed);
      step.setRecord({ restoration: undefined, putBackIn: step.group?.groupContext.epoch });
      // What was asked of the others meanwhile is not wanted any more. If it is granted, the log shows that.
      step.change({ delete: layout.join(groupId) });
      step.after(() => this.#context.repaired(this.#conversation));
    });
    this.#kept = undefined;
    this.#trail = undefined;
    this.lost.settled();
    this.#stopWaiting();
    this.#conversation.flush();
  }

  #stopWaiting(): void {
    this.#cancelWait?.();
    this.#cancelPatience?.();
    this.#cancelWait = undefined;
    this.#cancelPatience = undefined;
  }

  stop(): void {
    this.#stopWaiting();
  }
}
