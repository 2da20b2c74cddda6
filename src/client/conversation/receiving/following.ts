import { SubrosaError } from "../../../base/errors.js";
import type { Cursor, LogId } from "../../../wire/identifiers.js";
import type { Context } from "../../context.js";

/** How long acks are gathered, in milliseconds. */
const ACK_DELAY = 50;
/** How long a log is left alone after the relay sent something senseless, in milliseconds. */
const REREAD_DELAY = 1_000;
const MAX_REREAD_DELAY = 10_000;
/** The same where the relay refuses it from where this device stands, which may be true. */
const REFUSED_DELAY = 30_000;
const MAX_REFUSED_DELAY = 960_000;
/**
 * How long a relay may send nothing of what it says a log holds, in milliseconds; each time it lets that go by it may
 * take twice as long, so that a slow link gets on and a lie costs less and less.
 */
const OWED_WITHIN = 20_000;
const MAX_OWED_WITHIN = 320_000;
/** How long it may then answer nothing: longer than it takes to notice that a connection is dead. */
const ANSWERED_WITHIN = 30_000;

/** What a conversation is to the following of its log. */
export interface Followed {
  readonly log: LogId;
  /** The number of the last entry that was processed. */
  readonly position: number;
  /** Whether the relay has named a newer handshake entry, of which nothing has come. */
  readonly isStale: boolean;
  subscribe(): Promise<void>;
}

/** Follows a log from this place; resolves to where it ends. */
export async function headFrom({ relay }: Context, log: LogId, cursor: Cursor): Promise<number> {
  const { head, from } = await relay.request("subscribe", { log, cursor });
  if (head.seq < cursor.seq)
    throw new SubrosaError("protocol-error", "the relay names an end of a log before what was read of it");
  if (from.seq !== cursor.seq) throw new SubrosaError("gap", "the log begins later");
  return head.seq;
}

/** How far a log has come from the relay in this session, what the relay owes of it, and when it is asked again. */
export class Following {
  readonly #context: Context;
  readonly #followed: Followed;
  #subscribed = false;
  /** Whether the relay, when it was last asked in this session, did not give the log. */
  isRefused = false;
  /** The log's head as far as the relay has named it, and the last entry that has come. */
  #head = 0;
  #arrived = 0;
  /** What is asked of the relay now. */
  #asked: object | undefined;
  #owedWithin = OWED_WITHIN;
  #cancelOwed: (() => void) | undefined;
  #rereadDelay = REREAD_DELAY;
  #refusedDelay = REFUSED_DELAY;
  #cancelReread: (() => void) | undefined;
  #cancelAck: (() => void) | undefined;

  constructor(context: Context, followed: Followed) {
    this.#context = context;
    this.#followed = followed;
  }

  get isSubscribed(): boolean {
    return this.#subscribed;
  }

  /** Whether the log has been read to its end in this session. */
  get isRead(): boolean {
    return this.#subscribed && this.#followed.position >= this.#head;
  }

  /** The relay is asked for the log; the result is to be called when that has come to its end. */
  ask(): () => void {
    const asked = {};
    this.#asked = asked;
    this.#head = 0;
    this.#arrived = 0;
    this.heard();
    return () => {
      if (this.#asked !== asked) return;
      this.#asked = undefined;
      this.heard();
    };
  }

  /** The relay follows up from here. Entries may have come with the answer, before this is told of it. */
  begin(head: number): void {
    this.#subscribed = true;
    this.isRefused = false;
    this.#head = Math.max(this.#head, head);
  }

  /** Entries up to this one have come. */
  arrived(seq: number): void {
    this.#head = Math.max(this.#head, seq);
    if (seq <= Math.max(this.#arrived, this.#followed.position)) return;
    this.#arrived = seq;
    this.heard();
  }

  /** The log makes sense as far as it has been read. */
  readOn(): void {
    this.#rereadDelay = REREAD_DELAY;
    this.#refusedDelay = REFUSED_DELAY;
  }

  /** Tells the relay before long how far the log has been processed. */
  ack(cursor: () => Cursor): void {
    const { clock, relay } = this.#context;
    this.#cancelAck ??= clock.after(ACK_DELAY, () => {
      this.#cancelAck = undefined;
      relay.ack(this.#followed.log, cursor());
    });
  }

  /** What comes says nothing until the relay is asked again; `refused`: since it does not give the log. */
  end(refused = false): void {
    this.#subscribed = false;
    this.isRefused = refused;
    this.heard();
  }

  /** The session ended: nothing is current until the next. */
  disconnected(): void {
    this.#asked = undefined;
    this.#rereadDelay = REREAD_DELAY;
    this.#refusedDelay = REFUSED_DELAY;
    this.#subscribed = false;
    this.isRefused = false;
    this.#cancelOwed?.();
    this.#cancelReread?.();
  }

  /** Reads the log anew, now or after a while, which grows as long as that comes to nothing. */
  readAgain(now = false): void {
    const delay = this.#rereadDelay;
    if (!now) this.#rereadDelay = Math.min(2 * delay, MAX_REREAD_DELAY);
    this.#readAfter(now ? 0 : delay);
  }

  /** The relay refuses the log from where this device stands: it is asked for it again now and then. */
  refused(): void {
    const delay = this.#refusedDelay;
    this.#refusedDelay = Math.min(2 * delay, MAX_REFUSED_DELAY);
    this.#readAfter(delay);
  }

  #readAfter(delay: number): void {
    this.#cancelReread?.();
    const { clock, background } = this.#context;
    this.#cancelReread = clock.after(delay, () => background(this.#followed.subscribe()));
  }

  /** The relay has given something of what it owes: it has as long again for the rest. */
  heard(): void {
    this.#cancelOwed?.();
    if (!this.#isOwed) {
      this.#owedWithin = OWED_WITHIN;
      return;
    }
    this.#cancelOwed = this.#context.clock.after(this.#owedWithin, () => this.#overdue());
  }

  get #isOwed(): boolean {
    if (this.#asked !== undefined) return true;
    const { position, isStale } = this.#followed;
    return this.#subscribed && (isStale || this.#head > Math.max(this.#arrived, position));
  }

  /** What was cut off here, because too much came, is not late. */
  get #isLate(): boolean {
    return this.#isOwed && !this.#context.relay.isCut(this.#followed.log);
  }

  /**
   * What was owed has not come: if the relay answers what it is asked after it, or nothing for longer than a connection is
   * dead unseen, it keeps this back. Else the connection is slow or dead, which is nobody's lie.
   */
  #overdue(): void {
    const { relay, clock } = this.#context;
    if (!this.#isLate) {
      this.heard();
      return;
    }
    let isWaiting = true;
    const late = () => {
      if (isWaiting) this.#late();
    };
    const cancel = clock.after(ANSWERED_WITHIN, late);
    this.#cancelOwed = () => {
      isWaiting = false;
      cancel();
    };
    void relay.isAnswering().then((isAnswering) => {
      if (isAnswering) late();
      else if (isWaiting) this.heard();
    });
  }

  /** A session in which that much is missing is none: the next may do better. */
  #late(): void {
    const { relay, report } = this.#context;
    this.#cancelOwed?.();
    if (!this.#isLate) {
      this.heard();
      return;
    }
    this.#owedWithin = Math.min(2 * this.#owedWithin, MAX_OWED_WITHIN);
    const error = new SubrosaError("timeout", "the relay does not send what it says a log holds");
    report(error);
    relay.interrupt(error);
  }

  stop(): void {
    this.#cancelAck?.();
    this.#cancelOwed?.();
    this.#cancelReread?.();
  }
}
