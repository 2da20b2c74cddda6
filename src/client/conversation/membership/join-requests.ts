import { type Bytes, EMPTY, equalBytes } from "../../../base/bytes.js";
import { fromHex, toHex } from "../../../base/encoding.js";
import { SubrosaError } from "../../../base/errors.js";
import { SerialQueue } from "../../../base/serial-queue.js";
import { decode } from "../../../codec/reader.js";
import type { Change } from "../../../stores/store.js";
import { decodeJoinRequest, type JoinRequest, type LogEntry, labelOf } from "../../../wire/entries.js";
import { type LogId, START } from "../../../wire/identifiers.js";
import { EntryKind, LogKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import type { RaisedEvents } from "../../events.js";
import { assertFingerprint, fingerprintOf } from "../../identity/safety-number.js";
import { DAY, layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { Retry } from "../../retry.js";
import type { Conversation } from "../conversation.js";
import { contentDigests, nextCursor } from "../receiving/log-digest.js";
import { isMember } from "../registry.js";
import { policyIn } from "../state.js";
import { checkedRequest, leafToReplace, mayAdmitAgain } from "./additions.js";
import { presentDevices } from "./duties.js";
import { type Leaf, leavesOf } from "./leaves.js";
import { isAdmin, isBanned } from "./policy.js";
import { isMoot, isRefused, refuseRequest } from "./request-answers.js";
import { answered, readStoredRequest, storedRequest, waitingRequests } from "./stored-requests.js";

/** How long members leave each other to admit someone whom any of them may admit, times their rank. */
const TURN = 500;
/** How many requests for repair are kept until the log shows what they are about. */
const MAX_AHEAD = 100;
/** How often a member adds one device anew at most, in milliseconds. */
const REPAIR_INTERVAL = 60_000;

/**
 * The request box of one group. Every member follows it, since any of them can add a member's device anew; what else is
 * asked there is for those who may admit others.
 */
export class JoinRequests {
  readonly #context: Context;
  readonly conversation: Conversation;
  /** As which of its stays in the conversation the user follows the box. */
  readonly entered: number;
  readonly #queue = new SerialQueue();
  readonly #shown = new Set<string>();
  /** Devices that asked while they were members: what they asked is read again when they are none. */
  readonly #early = new Set<string>();
  /** Requests for repair of leaves that are not there: the log, which comes by itself, may show them yet. */
  readonly #ahead = new Map<string, JoinRequest>();
  /** Those of them that are looked at again before they are refused. */
  readonly #doubted = new Set<string>();
  /** Who may not answer keeps one request of each leaf, and one more of each account: under which name. */
  readonly #kept = new Map<string, string>();
  /** When this member added devices anew last, or is to, by device. */
  readonly #repairs = new Map<string, number>();
  /** What is stored and has not been seen in the box since it is read again, which ends here. */
  readonly #unseen = new Map<string, JoinRequest>();
  #end = Number.POSITIVE_INFINITY;
  #cursor = START;
  /** Whether the box is followed, and as somebody who may admit. */
  #following: "answering" | "repairing" | undefined;
  readonly #retry: Retry;
  readonly #lookAgain: Retry;

  constructor(context: Context, conversation: Conversation) {
    this.#context = context;
    this.#retry = new Retry(context.clock, () => context.groupChanged(this.#groupId));
    this.#lookAgain = new Retry(context.clock, () => context.groupChanged(this.#groupId));
    this.conversation = conversation;
    this.entered = conversation.entered;
  }

  get #groupId() {
    return this.conversation.state.record.groupId;
  }

  get log(): LogId {
    return { kind: LogKind.requestBox, id: this.#groupId };
  }

  /** Whether this user answers requests: an admin, or any member of an open group. */
  #mayAnswer(): boolean {
    const { group, record } = this.conversation.state;
    if (group === undefined || record.status !== "active") return false;
    const policy = policyIn(group);
    return (
      policy.kind === "group" && (policy.join === "open" || isAdmin(policy, this.#context.identity.userId))
    );
  }

  /** Follows the box and shows again what waits for an answer. */
  async subscribe(): Promise<void> {
    const { record, group, access } = this.conversation.state;
    // Who waits to be repaired answers nobody, but knows by it who else does.
    if (!isMember(record) || group === undefined) return;
    for (const [id, request] of [...this.#ahead]) {
      this.#ahead.delete(id);
      this.#show(id, request);
    }
    const following = this.#mayAnswer() ? "answering" : "repairing";
    const present = presentDevices(group, access, this.#context.identity.deviceId);
    const isEarlyGone = [...this.#early].some((device) => !present.has(device));
    if (this.#following === following && !isEarlyGone) return;
    this.#following = following;
    // What still stands in the box is unanswered, or the relay has lost that it was: it drops a request with the commit that
    // adds its device. So the box, which holds few, is read from its beginning.
    this.#early.clear();
    this.#end = Number.POSITIVE_INFINITY;
    this.#cursor = START;
    const prefix = layout.request(this.#groupId, EMPTY);
    this.#unseen.clear();
    for (const { key, request, isWithdrawn } of await waitingRequests(this.#context, this.#groupId)) {
      if (following === "repairing") this.#kept.set(this.#asker(request), key);
      if (!isWithdrawn) this.#unseen.set(key.slice(prefix.length), request);
    }
    await this.#context.relay.request("subscribe", { log: this.log, cursor: START }).then(
      ({ head }) => {
        this.#retry.reset();
        this.#end = head.seq;
        this.#showUnseen();
      },
      (error: unknown) => this.#refused(error),
    );
  }

  /** What the box does not know the relay has lost. */
  #showUnseen(): void {
    if (this.#cursor.seq < this.#end) return;
    for (const [id, request] of this.#unseen) this.#show(id, request);
    this.#unseen.clear();
  }

  #refused(error: unknown): void {
    this.#following = undefined;
    if (!SubrosaError.is(error)) throw error;
    if (isOwnTrouble(error)) return;
    // What has become of this device's rights meanwhile, the group's own log says.
    if (error.code !== "not-a-member" && error.code !== "unknown-group") this.#context.report(error);
    this.#retry.later();
  }

  disconnected(): void {
    this.#retry.reset();
    this.#lookAgain.reset();
    this.#following = undefined;
  }

  /** Takes in entries that the relay sent; resolves when they are done with. */
  receive(entries: readonly LogEntry[]): Promise<void> {
    return this.#queue
      .run(() => this.#receive(entries))
      .catch((error: unknown) => this.#context.report(error));
  }

  async #receive(entries: readonly LogEntry[]): Promise<void> {
    const digests = await contentDigests(entries);
    const taken: { id: string; request: JoinRequest }[] = [];
    const again: Extract<LogEntry, { form: "full" }>["content"][] = [];
    const changes: Change[] = [];
    let cursor = this.#cursor;
    for (const [index, entry] of entries.entries()) {
      // A box drops requests that were answered or replaced: its numbers have gaps, which its order does not need.
      if (entry.seq <= cursor.seq) continue;
      const digest = digests[index] as NonNullable<(typeof digests)[number]>;
      cursor = await nextCursor(this.log, { ...cursor, seq: entry.seq - 1 }, digest);
      const { kind, entryId } = labelOf(entry);
      if (kind !== EntryKind.joinRequest) continue;
      try {
        const name = layout.request(this.#groupId, entryId);
        // Signed with its id, so that what the relay says again is known by it, answered or not.
        const stored = await this.#context.store.get(name);
        const known = stored && readStoredRequest(stored);
        const id = toHex(entryId);
        this.#unseen.delete(id);
        if (entry.form !== "full") {
          if (known) changes.push({ put: name, value: storedRequest(known.request, true) });
          this.#ahead.delete(id);
          this.#shown.delete(id);
          continue;
        }
        if (stored && known === undefined) {
          // The relay has lost the answer, or the request that it answers and that has been sent again.
          if (this.#following === "answering") again.push(entry.content);
          continue;
        }
        if (known?.isWithdrawn === false) {
          taken.push({ id, request: known.request });
          continue;
        }
        const request = await checkedRequest(entry.content, this.#groupId);
        if (this.#following !== "answering") {
          const isRepair = request.replaces !== undefined && this.#isOfMember(request);
          if (!isRepair && !this.#isOwnDevice(request)) continue;
          const asker = this.#asker(request);
          const earlier = this.#kept.get(asker);
          // That it was answered stays known.
          const left = earlier && (await this.#context.store.get(earlier));
          if (earlier && left && readStoredRequest(left)) changes.push({ delete: earlier });
          this.#kept.set(asker, name);
        }
        taken.push({ id, request });
        changes.push({ put: name, value: storedRequest(request) });
      } catch (error) {
        if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
      }
    }
    if (changes.length > 0) await this.#context.write(changes);
    this.#cursor = cursor;
    this.#context.relay.ack(this.log, cursor);
    for (const { id, request } of taken) this.#show(id, request);
    this.#showUnseen();
    for (const { entryId, payload } of again) this.#context.background(this.#refuseAgain(entryId, payload));
  }

  /** What was refused is refused again; who was admitted, is a member, or was removed since. */
  async #refuseAgain(requestId: Bytes, payload: Bytes): Promise<void> {
    const { group, access, record } = this.conversation.state;
    const request = decode(decodeJoinRequest, payload);
    if (group === undefined || record.status !== "active") return;
    const present = presentDevices(group, access, this.#context.identity.deviceId);
    if (!present.has(toHex(request.deviceId))) await this.#reject(requestId, request);
  }

  #show(id: string, request: JoinRequest): void {
    this.#attempt(id, this.#consider(id, request));
  }

  /** What cannot be done just now is taken up again when the box is next asked for. */
  #attempt(id: string, work: Promise<void>): void {
    const failed = (error: unknown) => {
      this.#shown.delete(id);
      // The group has ended meanwhile, or another has taken its place: nobody waits for the answer.
      if (this.conversation.state.record.status !== "ended") throw error;
    };
    this.#context.background(work.catch(failed));
  }

  async #consider(id: string, request: JoinRequest): Promise<void> {
    const { state } = this.conversation;
    if (state.group === undefined || state.record.status !== "active") return;
    const requestId = fromHex(id);
    if (await this.#repair(id, request)) return;
    const isOwnDevice = this.#isOwnDevice(request);
    if (!this.#mayAnswer() && !isOwnDevice) {
      // Whose account is not in the group has nothing to be repaired: what strangers ask is not kept for them.
      if (request.replaces === undefined || this.#isOfMember(request)) return;
      return this.#context.write([{ delete: layout.request(this.#groupId, requestId) }]);
    }
    const present = presentDevices(state.group, state.access, this.#context.identity.deviceId);
    if (present.has(toHex(request.deviceId))) {
      if (request.replaces !== undefined && this.#ahead.size < MAX_AHEAD)
        return void this.#ahead.set(id, request);
      if (this.#shown.has(id)) return this.#forget(requestId);
      // Answered by another; or by one who is about to leave, as the log will show.
      this.#early.add(toHex(request.deviceId));
      return this.#context.write([{ delete: layout.request(this.#groupId, requestId) }]);
    }
    if (this.#shown.has(id)) return;
    if (request.replaces !== undefined && !isOwnDevice && !this.#isSettled(id)) {
      this.#ahead.set(id, request);
      return this.#lookAgain.later();
    }
    this.#shown.add(id);
    const policy = policyIn(state.group);
    if (policy.kind !== "group") return;
    // Who was removed meanwhile has nothing to be repaired, and was told so by this.
    const isHopeless = !isOwnDevice && (policy.join === "closed" || request.replaces !== undefined);
    if (isHopeless || isBanned(policy, request.userId)) return this.#reject(requestId, request);
    if (policy.join === "open" || isOwnDevice) {
      return this.#admitInTurn(requestId, request);
    }
    const contact = this.#context.contacts.get(request.userId);
    const known = contact !== undefined && equalBytes(contact.pinnedKey, request.accountKey);
    if (contact !== undefined && !known) {
      // Raises `identityChanged`; the request is shown, but cannot be approved before the identity is accepted.
      await this.#context.contacts.check(request.userId, request.accountKey).catch(() => {});
    }
    let answer: Promise<void> | undefined;
    const again = (error: unknown) => {
      answer = undefined;
      throw error;
    };
    const event: RaisedEvents["joinRequest"] = {
      id,
      group: state.record.subject.kind === "group" ? state.record.subject.name : policy.name,
      userId: request.userId,
      fingerprint: await fingerprintOf(request.userId, request.accountKey),
      identity: known ? (contact.verified ? "verified" : "known") : "new",
      approve: (options = {}) => {
        assertFingerprint(options.fingerprint);
        answer ??= this.#approve(requestId, request, options.fingerprint).catch(again);
        return answer;
      },
      reject: () => {
        answer ??= this.#reject(requestId, request).catch(again);
        return answer;
      },
    };
    this.#context.emit("joinRequest", event);
  }

  /** A member asks to be added anew; any member does that. False: the leaf it names is not there. */
  async #repair(id: string, request: JoinRequest): Promise<boolean> {
    const { group } = this.conversation.state;
    if (group === undefined) return false;
    const leaf = await leafToReplace(group, request);
    if (leaf === undefined || !equalBytes(leaf.accountKey, request.accountKey)) return false;
    if (this.#shown.has(id) || leaf.leafIndex === group.ownLeafIndex) return true;
    this.#shown.add(id);
    const device = toHex(request.deviceId);
    const { clock } = this.#context;
    const next = (this.#repairs.get(device) ?? Number.NEGATIVE_INFINITY) + REPAIR_INTERVAL;
    const wait = Math.max(0, next - clock.now());
    this.#repairs.set(device, clock.now() + wait);
    const repair = () => this.#admitInTurn(fromHex(id), request);
    if (wait === 0) repair();
    else clock.after(wait, repair);
    return true;
  }

  /** Whether it is not the log that is behind a request: who has just come in may ask before this member reads of that. */
  #isSettled(id: string): boolean {
    const isDoubted = this.#doubted.has(id);
    this.#doubted.add(id);
    return this.#ahead.size >= MAX_AHEAD || (isDoubted && this.conversation.isCurrent);
  }

  /** A user who is a member asks with another device of the account, which took the place of one that is lost. */
  #isOwnDevice(request: JoinRequest): boolean {
    const { group } = this.conversation.state;
    if (group === undefined || !mayAdmitAgain(group, this.#context.identity.userId, request.userId))
      return false;
    return this.#isOfMember(request);
  }

  #isOfMember({ userId, accountKey }: JoinRequest): boolean {
    return this.#leaves().some((leaf) => leaf.userId === userId && equalBytes(leaf.accountKey, accountKey));
  }

  /** The leaf that a member's request is about, or the account where it is about a device that has none. */
  #asker({ deviceId, accountKey }: JoinRequest): string {
    const hasLeaf = this.#leaves().some((leaf) => equalBytes(leaf.deviceId, deviceId));
    return toHex(hasLeaf ? deviceId : accountKey);
  }

  #leaves(): readonly Leaf[] {
    const { group } = this.conversation.state;
    return group === undefined ? [] : leavesOf(group);
  }

  async #approve(requestId: Uint8Array, request: JoinRequest, expected?: string): Promise<void> {
    const { userId, deviceId, keyPackage, replaces } = request;
    const id = requestId.slice();
    const asked = { id, deviceId, keyPackage, ...(replaces && { replaces }) };
    const action = { type: "add", userId, request: asked } as const;
    try {
      await this.conversation.perform(expected === undefined ? action : { ...action, expected });
    } catch (error) {
      if (isRefused(error)) await this.#reject(requestId, request);
      if (!SubrosaError.is(error) || error.code !== "already-a-member") throw error;
    }
    await this.#forget(requestId);
  }

  async #reject(requestId: Uint8Array, { userId }: JoinRequest): Promise<void> {
    const { group } = this.conversation.state;
    const banned = group !== undefined && isBanned(policyIn(group), userId);
    await refuseRequest(this.#context, this.#groupId, requestId, banned);
    await this.#forget(requestId);
  }

  /**
   * Where any member may admit, the first does so at once, the others only if that did not happen. `again`: after how
   * many milliseconds it is tried again if it fails.
   */
  #admitInTurn(requestId: Uint8Array, request: JoinRequest, again = REPAIR_INTERVAL): void {
    const { group } = this.conversation.state;
    if (group === undefined) return;
    const others = leavesOf(group).filter(({ deviceId }) => !equalBytes(deviceId, request.deviceId));
    const rank = others.findIndex((leaf) => leaf.leafIndex === group.ownLeafIndex);
    const refused = (error: unknown) => {
      if (isMoot(error)) this.#shown.delete(toHex(requestId));
      if (isRefused(error) || isMoot(error)) return;
      if (isOwnTrouble(error) || this.conversation.state.record.status !== "active") throw error;
      const retry = () => this.#admitInTurn(requestId, request, Math.min(2 * again, DAY));
      this.#context.clock.after(again, retry);
      this.#context.report(error);
    };
    const admit = () => this.#attempt(toHex(requestId), this.#approve(requestId, request).catch(refused));
    if (rank === 0) admit();
    else this.#context.clock.after(TURN * Math.min(rank, 20), admit);
  }

  async #forget(requestId: Uint8Array): Promise<void> {
    await this.#context.write([answered(this.#context, this.#groupId, requestId)]);
  }
}
