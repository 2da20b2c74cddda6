import { toHex } from "../../../base/encoding.js";
import { type ErrorCode, SubrosaError } from "../../../base/errors.js";
import { SerialQueue } from "../../../base/serial-queue.js";
import { decode } from "../../../codec/reader.js";
import { encode } from "../../../codec/writer.js";
import type { Change } from "../../../stores/store.js";
import {
  decodePointer,
  decodeRejection,
  encodePointer,
  type LogEntry,
  type Pointer,
  type Rejection,
} from "../../../wire/entries.js";
import { type Cursor, decodeCursor, encodeCursor, type LogId, START } from "../../../wire/identifiers.js";
import { decodeNotice, decodeUserNamed, type Notice } from "../../../wire/operator.js";
import { EntryKind, LogKind } from "../../../wire/protocol.js";
import type { Context } from "../../context.js";
import { layout } from "../../layout.js";
import { isOwnTrouble } from "../../own-trouble.js";
import { Retry } from "../../retry.js";
import { type Deferred, deferred } from "../../waiting.js";
import type { Conversation } from "../conversation.js";
import { type JoinResult, joinByPointer } from "../membership/join.js";
import type { Registry } from "../registry.js";
import { contentDigests, nextCursor } from "./log-digest.js";

/** How long the welcome of a commit that was put back without it may take, in milliseconds. */
const WELCOME_WITHIN = 60_000;
const INCOMPLETE = new SubrosaError(
  "data-lost",
  "the relay has lost the welcome, and nobody has put it back",
);
/** What the relay does not do just now. */
const LATER: readonly ErrorCode[] = ["queue-full", "rate-limited"];
/** What a relay says that has lost the log to which a pointer leads, or lies. */
export const DOUBTFUL: readonly ErrorCode[] = ["data-lost", "not-a-member"];

/** Told how pointers and rejections ended. */
export interface InboxHandler {
  joined(conversation: Conversation): void;
  dropped(groupId: Uint8Array, error: SubrosaError): void;
  /** Whether this device has asked for what a pointer to the group leads to. */
  isAwaited(groupId: Uint8Array): boolean;
  /**
   * This device is in a group, and has no way into it: `error` says why what came of a pointer cannot be opened. Resolves
   * once what is to be done about it is stored: to false where it is not in it any more.
   */
  unopened(groupId: Uint8Array, error?: SubrosaError): Promise<boolean>;
  /** What is written of a rejection. */
  answered(rejection: Rejection): Change[];
  rejected(rejection: Rejection): void;
  /** What the operator did, or says. */
  userRemoved(userId: string): void;
  notice(notice: Notice): void;
  /** What is written of it that a user is said to have another account key. */
  accountChanged(userId: string): Promise<Change[]>;
}

function isUnopened(result: JoinResult): result is JoinResult & { readonly error: SubrosaError } {
  return result.type === "dropped" && result.error?.code === "no-key-package";
}

function whyDropped(error: unknown): SubrosaError {
  if (!SubrosaError.is(error)) return new SubrosaError("internal", "a join failed");
  // Of who is in, a log begins with the commit that added it at the latest.
  return error.code === "gap" ? new SubrosaError("not-a-member", "removed since") : error;
}

/** This device's inbox: pointers to conversations it was added to, and answers to its join requests. */
export class Inbox {
  readonly #context: Context;
  readonly #registry: Registry;
  readonly #handler: InboxHandler;
  readonly #queue = new SerialQueue();
  readonly #pointers = new Map<string, Pointer>();
  readonly #joining = new Set<string>();
  #cursor: Cursor;
  /** Where the relay said that the inbox ends, and who waits for it to be read so far. */
  #end = 0;
  #isRead: Deferred<void> | undefined;
  /**
   * The relay has dropped entries that this store has not: either they were too old, or a later state of this device has
   * acknowledged them. Once the cursor is behind them it is not so for who opens this store next.
   */
  #isCut = false;
  /** The groups of which a pointer has come since. */
  readonly #came = new Set<string>();
  /** The inbox itself, when the relay sent something senseless or refused it; and what is left to join. */
  readonly #reread: Retry;
  readonly #rejoin: Retry;
  /** Of what was told already that the relay has lost it. */
  readonly #doubted = new WeakSet<Pointer>();
  /** Pointers beside which the members are asked. */
  readonly #barred = new WeakSet<Pointer>();

  private constructor(context: Context, registry: Registry, handler: InboxHandler, cursor: Cursor) {
    this.#context = context;
    const { clock, relay, background } = context;
    this.#reread = new Retry(clock, () => relay.isReady && background(this.#follow()));
    this.#rejoin = new Retry(clock, () => this.retry());
    this.#registry = registry;
    this.#handler = handler;
    this.#cursor = cursor;
  }

  static async load(context: Context, registry: Registry, handler: InboxHandler): Promise<Inbox> {
    const stored = await context.store.get(layout.inbox);
    const inbox = new Inbox(
      context,
      registry,
      handler,
      stored === undefined ? START : decode(decodeCursor, stored),
    );
    for (const [, value] of await context.store.list(layout.pointers)) {
      const pointer = decode(decodePointer, value);
      inbox.#pointers.set(toHex(pointer.groupId), pointer);
    }
    return inbox;
  }

  get log(): LogId {
    return { kind: LogKind.inbox, id: this.#context.identity.deviceId };
  }

  /** Follows the inbox, and takes up what was left to join. Resolves once it has been read to its end. */
  async subscribe(): Promise<void> {
    this.#reread.reset();
    this.#rejoin.reset();
    await this.#follow();
    this.retry();
    if (this.#cursor.seq >= this.#end) return;
    this.#isRead ??= deferred();
    await this.#isRead.promise;
  }

  async #follow(): Promise<void> {
    await this.#queue.idle();
    this.#end = 0;
    try {
      await this.#ask(this.#cursor);
    } catch (error) {
      if (!SubrosaError.is(error) || isOwnTrouble(error)) throw error;
      this.#context.report(error);
      this.#reread.later();
    }
  }

  async #ask(cursor: Cursor): Promise<void> {
    try {
      const { head, from } = await this.#context.relay.request("subscribe", { log: this.log, cursor });
      this.#end = head.seq;
      if (from.seq > this.#cursor.seq) this.#isCut = true;
      // From its start the inbox goes on with the oldest entry kept.
      if (cursor.seq === 0) this.#cursor = from;
    } catch (error) {
      const isLost = SubrosaError.is(error) && (error.code === "cursor-mismatch" || error.code === "gap");
      if (!isLost || cursor === START) throw error;
      // The relay lost or dropped entries; pointers are idempotent, so the inbox is simply read from its start, or
      // from where what was kept of it begins.
      await this.#ask(START);
    }
  }

  /** Tries again to join what waits; after an identity was accepted, or with a new session. */
  retry(): void {
    for (const pointer of this.#pointers.values()) this.#context.background(this.#join(pointer));
  }

  /**
   * Joins what the relay says this device was added to, without a pointer. `failed`: there is no way in by what the relay
   * has, and nothing that comes by itself.
   */
  async recover(
    pointer: Pointer,
  ): Promise<JoinResult | { readonly type: "failed"; readonly error: SubrosaError }> {
    const key = toHex(pointer.groupId);
    if (this.#joining.has(key) || this.#pointers.has(key)) return { type: "held" };
    this.#joining.add(key);
    try {
      const result = await joinByPointer(this.#context, this.#registry, pointer);
      if (result.type === "joined") this.#handler.joined(result.conversation);
      return isUnopened(result) ? { type: "failed", error: result.error } : result;
    } catch (error) {
      if (!SubrosaError.is(error) || isOwnTrouble(error) || LATER.includes(error.code)) throw error;
      return { type: "failed", error };
    } finally {
      this.#joinNext(key, pointer);
    }
  }

  /**
   * Whether a later state of this device has acknowledged the pointer to a group whose commit the relay has: it is not in
   * the inbox, and has not been dropped for its age, since the commit would have been too.
   */
  async isAcknowledged(groupId: Uint8Array): Promise<boolean> {
    if (!this.#isCut) return false;
    // It may have come since the relay was asked for the groups.
    await this.#follow();
    return this.#end > 0 && this.#cursor.seq >= this.#end && !this.#came.has(toHex(groupId));
  }

  /** The relay has this device in a group that it has no way into. */
  unopened(groupId: Uint8Array): Promise<boolean> {
    return this.#handler.unopened(groupId);
  }

  /** Takes in entries that the relay sent; resolves when they are done with. */
  receive(entries: readonly LogEntry[]): Promise<void> {
    return this.#queue
      .run(() => this.#receive(entries))
      .catch((error: unknown) => {
        this.#context.report(error);
        if (SubrosaError.is(error) && error.code === "protocol-error") this.#reread.later();
      });
  }

  async #receive(entries: readonly LogEntry[]): Promise<void> {
    const digests = await contentDigests(entries);
    const pointers: Pointer[] = [];
    const changes: Change[] = [];
    const effects: (() => void)[] = [];
    let cursor = this.#cursor;
    for (const [index, entry] of entries.entries()) {
      if (entry.seq <= cursor.seq) continue;
      if (entry.seq !== cursor.seq + 1)
        throw new SubrosaError("protocol-error", "the relay left out inbox entries");
      cursor = await nextCursor(this.log, cursor, digests[index] as NonNullable<(typeof digests)[number]>);
      if (entry.form !== "full") continue;
      const { kind, payload } = entry.content;
      try {
        if (kind === EntryKind.pointer) pointers.push(decode(decodePointer, payload));
        else if (kind === EntryKind.rejection) {
          const rejection = decode(decodeRejection, payload);
          // With the cursor: it does not come a second time.
          changes.push(...this.#handler.answered(rejection));
          effects.push(() => this.#handler.rejected(rejection));
        } else if (kind === EntryKind.userRemoved) {
          const { userId } = decode(decodeUserNamed, payload);
          effects.push(() => this.#handler.userRemoved(userId));
        } else if (kind === EntryKind.accountChanged) {
          const { userId } = decode(decodeUserNamed, payload);
          changes.push(...(await this.#handler.accountChanged(userId)));
        } else if (kind === EntryKind.notice) {
          const notice = decode(decodeNotice, payload);
          effects.push(() => this.#handler.notice(notice));
        }
      } catch (error) {
        effects.push(() => this.#context.report(error));
      }
    }
    if (cursor === this.#cursor) return;
    await this.#context.write([
      ...pointers.map((pointer) => ({
        put: layout.pointer(pointer.groupId),
        value: encode(encodePointer, pointer),
      })),
      ...changes,
      { put: layout.inbox, value: encode(encodeCursor, cursor) },
    ]);
    this.#cursor = cursor;
    if (cursor.seq >= this.#end) {
      this.#isRead?.resolve();
      this.#isRead = undefined;
    }
    this.#reread.reset();
    if (pointers.length > 0) this.#rejoin.reset();
    for (const pointer of pointers) {
      const key = toHex(pointer.groupId);
      this.#pointers.set(key, pointer);
      if (this.#isCut) this.#came.add(key);
    }
    this.#context.relay.ack(this.log, cursor);
    for (const effect of effects) effect();
    for (const pointer of pointers) this.#context.background(this.#join(pointer));
  }

  async #join(pointer: Pointer): Promise<void> {
    const key = toHex(pointer.groupId);
    if (this.#joining.has(key) || !this.#context.relay.isReady) return;
    this.#joining.add(key);
    // What is held because the log has not ended yet is tried again once it has.
    const mayAsk = this.#registry.isRepairing(pointer.groupId);
    try {
      const result = await joinByPointer(this.#context, this.#registry, pointer);
      if (result.type === "held") {
        if (mayAsk) this.#askToo(pointer);
        return result.incomplete ? this.#awaitWelcome(pointer) : this.#rejoin.later();
      }
      if (isUnopened(result)) await this.#handler.unopened(pointer.groupId, result.error);
      if (result.type === "joined") {
        this.#forget(pointer);
        this.#handler.joined(result.conversation);
      } else await this.#drop(pointer, isUnopened(result) ? undefined : result.error);
    } catch (error) {
      // Nothing is wrong with the pointer: it is followed again with the next session, if not sooner.
      if (isOwnTrouble(error)) throw error;
      if (SubrosaError.is(error) && this.#mayComeTrue(pointer, error)) {
        if (mayAsk) this.#askToo(pointer);
        return this.#rejoin.later();
      }
      await this.#drop(pointer, whyDropped(error));
      if (!SubrosaError.is(error)) throw error;
    } finally {
      this.#joinNext(key, pointer);
    }
  }

  /** Whether there is a pointer that may lead into a group whose keys are lost, and has not been tried since. */
  isFollowed(groupId: Uint8Array): boolean {
    const pointer = this.#pointers.get(toHex(groupId));
    return pointer !== undefined && !this.#barred.has(pointer);
  }

  /** A pointer does not lead into a group that waits for repair, or not just now: the members are asked all the same. */
  #askToo(pointer: Pointer): void {
    if (!this.#registry.isRepairing(pointer.groupId) || this.#barred.has(pointer)) return;
    this.#barred.add(pointer);
    this.#context.repair(pointer.groupId);
  }

  /** Whoever has the welcome completes the commit, if it is there; else the members are asked to make another. */
  #awaitWelcome(pointer: Pointer): void {
    this.#context.clock.after(WELCOME_WITHIN, () => {
      if (this.#pointers.get(toHex(pointer.groupId)) === pointer && this.#context.relay.isReady)
        this.#context.background(this.#withoutWelcome(pointer));
    });
  }

  /** What it led to is over. */
  async #withoutWelcome(pointer: Pointer): Promise<void> {
    if (!(await this.#handler.unopened(pointer.groupId, INCOMPLETE))) await this.#drop(pointer, undefined);
  }

  /** Whether what a pointer leads to may only not be there now: what was asked for is not given up for a word of the relay's. */
  #mayComeTrue(pointer: Pointer, error: SubrosaError): boolean {
    if (LATER.includes(error.code)) return true;
    if (!DOUBTFUL.includes(error.code) || !this.#handler.isAwaited(pointer.groupId)) return false;
    if (error.code === "data-lost" && !this.#doubted.has(pointer)) this.#context.report(error);
    this.#doubted.add(pointer);
    return true;
  }

  /** Another pointer to the group may have come while this one was followed. */
  #joinNext(key: string, followed: Pointer): void {
    this.#joining.delete(key);
    const newer = this.#pointers.get(key);
    if (newer !== undefined && newer !== followed) this.#context.background(this.#join(newer));
  }

  /** True if no other has taken its place meanwhile. */
  #forget(pointer: Pointer): boolean {
    const key = toHex(pointer.groupId);
    return this.#pointers.get(key) === pointer && this.#pointers.delete(key);
  }

  async #drop(pointer: Pointer, error: SubrosaError | undefined): Promise<void> {
    if (!this.#forget(pointer)) return;
    await this.#context.write([{ delete: layout.pointer(pointer.groupId) }]);
    if (error !== undefined) this.#handler.dropped(pointer.groupId, error);
    else this.#askToo(pointer);
  }
}
