import { asBytes, type Bytes, equalBytes } from "../../../base/bytes.js";
import { fromHex, toHex } from "../../../base/encoding.js";
import { type ErrorCode, SubrosaError } from "../../../base/errors.js";
import { decode } from "../../../codec/reader.js";
import { encode } from "../../../codec/writer.js";
import { sign } from "../../../crypto/signature.js";
import {
  decodeJoinRequest,
  encodeJoinRequest,
  type JoinRequest,
  joinRequestToBeSigned,
  type Rejection,
} from "../../../wire/entries.js";
import { START } from "../../../wire/identifiers.js";
import { ENTRY_ID_LENGTH, EntryKind, LogKind, RejectionReason } from "../../../wire/protocol.js";
import type { Context, Effect } from "../../context.js";
import { layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { type Deferred, deferred } from "../../waiting.js";
import type { Conversation } from "../conversation.js";
import type { ConversationRecord } from "../record.js";
import { isMember, type Registry } from "../registry.js";
import { UNKNOWN_LEAF } from "./additions.js";
import { nameHash } from "./directory-names.js";
import { decodeOwnRequest, encodeOwnRequest, isOfStay, type OwnRequest } from "./own-request.js";

/** How long to wait between two requests for repair of a group, in milliseconds. */
const REPAIR_INTERVAL = 60_000;
/** The same where only messages are unreadable, which any member can cause. */
const DOUBT_INTERVAL = 3_600_000;

/** How many groups at most this device asks to be let into at once that it was never in. */
const MAX_UNKNOWN = 64;

/** What the relay does not take now. */
const LATER: readonly ErrorCode[] = ["quota-exceeded", "rate-limited", "queue-full"];

/** A request, and what stores it. */
function changed(groupId: Bytes, request: OwnRequest): { request: OwnRequest; changes: Effect[] } {
  return { request, changes: [{ put: layout.join(groupId), value: encode(encodeOwnRequest, request) }] };
}

type Leaves = Pick<ConversationRecord, "leafHash" | "otherLeaves">;

/** What a request names to be replaced: which of its leaves the others know, this device does not. */
function replacedBy({ leafHash, otherLeaves = [] }: Leaves): Bytes[] {
  return [UNKNOWN_LEAF, ...(leafHash ? [leafHash] : []), ...otherLeaves];
}

/** Whether a request is to come in, or names every leaf that this device may have there. */
function isWhole({ payload }: OwnRequest, record: Leaves): boolean {
  const { replaces } = decode(decodeJoinRequest, payload);
  return (
    replaces === undefined ||
    replacedBy(record).every((hash) => replaces.some((named) => equalBytes(named, hash)))
  );
}

/** This user's requests to join groups, and who waits for their answers. */
export class OwnRequests {
  readonly #context: Context;
  readonly #registry: Registry;
  readonly #waiting = new Map<string, Deferred<void>>();
  readonly #requests = new Map<string, OwnRequest>();
  /** What the relay did not take waits for another attempt, by group. */
  readonly #retries = new Map<string, () => void>();
  /** Since when the relay knows no such group, for those that wait for repair. */
  readonly #deniedSince = new Map<string, number>();

  private constructor(context: Context, registry: Registry) {
    this.#context = context;
    this.#registry = registry;
  }

  static async load(context: Context, registry: Registry): Promise<OwnRequests> {
    const requests = new OwnRequests(context, registry);
    for (const [key, value] of await context.store.list(layout.joins)) {
      requests.#requests.set(key.slice(layout.joins.length), decode(decodeOwnRequest, value));
    }
    return requests;
  }

  /** Asks to join; resolves once joined. Throws `unknown-group`, `join-rejected`, `already-a-member`. */
  async ask(name: string, expected: string | undefined): Promise<void> {
    const refuseMembers = (conversation: Conversation | undefined) => {
      const status = conversation?.state.record.status ?? "ended";
      if (status === "ended" || status === "leaving") return;
      throw new SubrosaError("already-a-member", `already a member of group ${JSON.stringify(name)}`);
    };
    if (this.#registry.named(name)?.state.record.status === "active")
      refuseMembers(this.#registry.named(name));
    const { relay } = this.#context;
    const { groupId } = await relay.request("resolveName", { nameHash: await nameHash(name) });
    // It may have been this user's own group that the relay has just created, or an invitation has come.
    refuseMembers(this.#registry.get(groupId));
    const key = toHex(groupId);
    const waiting = this.#waiting.get(key) ?? deferred<void>();
    this.#waiting.set(key, waiting);
    const standing = this.#requests.get(key);
    const fields = { name, ...(expected !== undefined && { expected }) };
    // By what the device has asked already the members take it in again that have it among them still.
    const { request, changes } =
      standing && standing.name === undefined
        ? changed(groupId, { ...standing, ...fields })
        : await this.#make(groupId, name, fields);
    refuseMembers(this.#registry.get(groupId));
    await this.#context.write(changes);
    this.#requests.set(key, request);
    await this.#send(key, request);
    await waiting.promise;
  }

  /**
   * Asks the members of a group whose keys are of no use here any more to add this device anew, in one commit. A request
   * that has gone out stands as long as it names every leaf that this device may have there; a new one is made after a
   * while at the earliest.
   */
  async repair(conversation: Conversation): Promise<void> {
    const { clock } = this.#context;
    const { key } = conversation;
    const { record } = conversation.state;
    const { subject, groupId, leafHash } = record;
    const standing = this.#requests.get(key);
    if (standing !== undefined && isWhole(standing, record)) return this.#send(key, standing);
    if (subject.kind !== "group" || !isMember(record)) return;
    const interval = record.status === "repairing" ? REPAIR_INTERVAL : DOUBT_INTERVAL;
    const wait = record.repairedAt + interval - clock.now();
    if (record.repairedAt > 0 && wait > 0 && wait <= interval) {
      if (record.status !== "repairing") return;
      clock.after(wait, () => this.#context.background(this.repair(conversation)));
      return;
    }
    // A device that takes the place of another has had no leaf.
    const replaced = leafHash && { replaces: replacedBy(record) };
    const { request, changes } = await this.#make(groupId, subject.name, { ...replaced });
    if (this.#requests.get(key) !== standing) return;
    await this.#begin(key, request, () =>
      conversation.step((step) => {
        // It goes on with its keys meanwhile.
        if (step.record.status !== record.status) return void this.#requests.delete(key);
        step.setRecord({ repairedAt: clock.now() });
        step.change(...changes);
      }),
    );
  }

  /**
   * Asks the members of a group, of which this device could not open the welcome, to add it anew. If it had not asked
   * to be in the group, what comes of it is an invitation. `since`: the number of the commit that the welcome was of;
   * `record`: what there is of the group where this device has been in it.
   */
  async askAgain(
    groupId: Bytes,
    { record = {}, since }: { readonly record?: Leaves | undefined; readonly since?: number },
  ): Promise<void> {
    const key = toHex(groupId);
    const standing = this.#requests.get(key);
    const isAsked = standing !== undefined && isOfStay(standing);
    // What was asked before the commit, that has answered; what was asked for it stands.
    if (isAsked && (since === undefined || (standing.answers ?? -1) >= since)) return;
    // Of groups that this device knows nothing of, a relay can list as many as it likes.
    if (standing === undefined && record.leafHash === undefined && this.#requests.size >= MAX_UNKNOWN) return;
    const { name, expected, since: first = since } = standing ?? {};
    const { request, changes } = await this.#make(groupId, name, {
      replaces: replacedBy(record),
      ...(first !== undefined && since !== undefined && { since: first, answers: since }),
      ...(expected !== undefined && { expected }),
    });
    await this.#begin(key, request, () => this.#context.write(changes));
  }

  /** Sends a request once it is stored: without the key of its package, what comes of it is of no use. */
  async #begin(key: string, request: OwnRequest, store: () => Promise<void>): Promise<void> {
    const before = this.#requests.get(key);
    this.#requests.set(key, request);
    try {
      await store();
    } catch (error) {
      if (before === undefined) this.#requests.delete(key);
      else this.#requests.set(key, before);
      throw error;
    }
    if (this.#requests.get(key) === request) await this.#send(key, request);
  }

  /** A signed request with a fresh key package, and what stores both. */
  async #make(
    groupId: Bytes,
    name: string | undefined,
    { replaces, ...rest }: Pick<JoinRequest, "replaces"> & Pick<OwnRequest, "expected" | "since" | "answers">,
  ): Promise<{ request: OwnRequest; changes: Effect[] }> {
    const { identity, clock, keyPackages } = this.#context;
    const { bundle, change } = await keyPackages.make(clock.now());
    const unsigned = {
      groupId,
      userId: identity.userId,
      deviceId: identity.deviceId,
      accountKey: identity.account.accountKey,
      keyPackage: bundle.bytes,
      ...(replaces && { replaces }),
    };
    const requestId = this.#context.randomId(ENTRY_ID_LENGTH);
    const signature = await sign(identity.accountPrivateKey, joinRequestToBeSigned(unsigned, requestId));
    const payload = encode(encodeJoinRequest, { ...unsigned, signature });
    const request: OwnRequest = {
      requestId,
      payload,
      ...(name !== undefined && { name }),
      ...rest,
    };
    return { request, changes: [change, ...changed(groupId, request).changes] };
  }

  /** A session has begun: the relay may not have got what was asked in an earlier one. */
  async resume(): Promise<void> {
    const others = [...this.#requests].filter(([key]) => !this.#registry.isRepairing(fromHex(key)));
    await Promise.all(others.map(([key, request]) => this.#send(key, request)));
  }

  async #send(key: string, request: OwnRequest): Promise<void> {
    const known = this.#registry.get(fromHex(key));
    // Another that was granted while this one was written.
    if (known !== undefined && isMoot(known, request)) {
      await this.#context.write([{ delete: layout.join(known.state.record.groupId) }]);
      return this.joined(known);
    }
    const entry = {
      kind: EntryKind.joinRequest,
      entryId: asBytes(request.requestId),
      payload: asBytes(request.payload),
    };
    const log = { kind: LogKind.requestBox, id: fromHex(key) };
    try {
      await this.#context.relay.request("append", { log, after: START, entry });
      this.#deniedSince.delete(key);
    } catch (error) {
      if (!SubrosaError.is(error)) throw error;
      if (isOwnTrouble(error) || this.#requests.get(key) !== request) return;
      const conversation = this.#registry.get(fromHex(key));
      const isRepairing = conversation?.state.record.status === "repairing";
      if (this.#waiting.has(key) || !(isRepairing || LATER.includes(error.code)))
        return this.#drop(key, error);
      // Who waits for repair does not give the group up for that.
      this.#sendLater(key, request);
      if (isRepairing && error.code === "unknown-group") await this.#denied(key, conversation);
      else this.#deniedSince.delete(key);
    }
  }

  #sendLater(key: string, request: OwnRequest): void {
    this.#retries.get(key)?.();
    const cancel = this.#context.clock.after(REPAIR_INTERVAL, () => {
      if (this.#requests.get(key) === request) this.#context.background(this.#send(key, request));
    });
    this.#retries.set(key, cancel);
  }

  /** Whether a group is over, its log says; where the relay refuses that too, it is believed when it says so again later. */
  async #denied(key: string, conversation: Conversation): Promise<void> {
    const now = this.#context.clock.now();
    const since = this.#deniedSince.get(key) ?? now;
    this.#deniedSince.set(key, since);
    await conversation.subscribe();
    if (conversation.isRefused && now - since >= REPAIR_INTERVAL) await conversation.lose();
  }

  joined({ key, state }: Conversation): void {
    // As long as the log is being put back, others may still grant what was asked.
    if (state.record.restoration !== undefined) return;
    this.#requests.delete(key);
    const isRenamed = state.record.status === "invited";
    const error = new SubrosaError("unknown-group", "the group has another name by now: see the invitation");
    this.#settle(key, isRenamed ? error : undefined);
  }

  /** The stay is over, and what was asked to go on in it. */
  ended({ key }: Conversation): void {
    const request = this.#requests.get(key);
    if (request !== undefined && isOfStay(request)) this.#requests.delete(key);
  }

  /** Whether this device has asked to be let in, or is to be added anew. */
  isAwaited(groupId: Uint8Array): boolean {
    return this.#requests.has(toHex(groupId)) || this.#registry.isRepairing(groupId);
  }

  /** Nothing can come of the commit that a pointer leads to; it has answered what was asked before. */
  failed(groupId: Uint8Array, error: SubrosaError): void {
    const key = toHex(groupId);
    const conversation = this.#registry.get(groupId);
    if (conversation?.state.record.status !== "repairing") {
      this.#context.background(this.#drop(key, error));
      return;
    }
    this.#settle(key, error);
    this.#requests.delete(key);
    this.#context.background(conversation.repairFailed());
  }

  /** What is written of an answer: the request it is to stands no more. */
  answered({ groupId, requestId }: Rejection): Effect[] {
    const request = this.#requests.get(toHex(groupId));
    const isStanding = request !== undefined && toHex(request.requestId) === toHex(requestId);
    return isStanding ? [{ delete: layout.join(groupId) }] : [];
  }

  /** A member refused. Only the request that stands counts; the relay could answer for it, but never for a member. */
  async rejected(rejection: Rejection): Promise<void> {
    const { groupId, reason } = rejection;
    const key = toHex(groupId);
    const request = this.#requests.get(key);
    if (request === undefined || this.answered(rejection).length === 0) return;
    const name = JSON.stringify(request.name);
    const error =
      reason === RejectionReason.banned
        ? new SubrosaError("banned", `this user is banned from group ${name}`)
        : new SubrosaError("join-rejected", `the request to join ${name} was refused`);
    await this.#drop(key, error);
  }

  async #drop(key: string, error: SubrosaError): Promise<void> {
    const groupId = fromHex(key);
    if (this.#requests.delete(key)) await this.#context.write([{ delete: layout.join(groupId) }]);
    this.#settle(key, error);
    const conversation = this.#registry.get(groupId);
    // Nobody adds this device anew: the members have removed it.
    if (conversation?.state.record.status === "repairing") await conversation.lose();
  }

  #settle(key: string, error?: SubrosaError): void {
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    if (error === undefined) waiting?.resolve();
    else waiting?.reject(error);
  }
}

/** Whether a request is of one that is in: to come in, or to come in anew in the place of a leaf that is not its any more. */
function isMoot({ state: { record, group } }: Conversation, { payload }: OwnRequest): boolean {
  const isIn = group !== undefined && (record.status === "active" || record.status === "invited");
  if (!isIn || record.restoration !== undefined) return false;
  const { replaces } = decode(decodeJoinRequest, payload);
  return !replaces?.some((hash) => record.leafHash && equalBytes(hash, record.leafHash));
}
