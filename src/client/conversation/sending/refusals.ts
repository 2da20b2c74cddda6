import { SubrosaError } from "../../../base/errors.js";
import { type Cursor, isSameCursor } from "../../../wire/identifiers.js";
import type { Context } from "../../context.js";
import { Retry } from "../../retry.js";
import type { Conversation } from "../conversation.js";
import { isFinal } from "./final-refusals.js";
import type { Intent, Sealed } from "./intent.js";
import { fail } from "./own-entries.js";

/** How long what makes an entry stale may take to come before the log is asked for again. */
const NEWER_WITHIN = 1_000;
const COMMIT_RETRY_DELAY = 30_000;

/**
 * What the relay's refusals of a conversation's entries lead to. Whether an entry is in force only the log says, and whether
 * it can come to be: a refusal is no more than a reason to read on, and nothing is sealed anew for one.
 */
export class Refusals {
  readonly #context: Context;
  readonly #conversation: Conversation;
  readonly #flush: () => void;
  /** What was refused without sense is tried again. */
  readonly #retry: Retry;
  /** Refused for good, as the relay says: sent again once the log has been read and does not show it, and believed then. */
  readonly #doubted = new WeakSet<Sealed>();
  /** The relay has a newer handshake entry than this one; nothing is sealed before it has been read. */
  #staleAfter: Cursor | undefined;
  /** A commit that was due was refused for good: messages go on without it until it is tried again. */
  cannotCommit = false;
  #stopped = false;

  constructor(context: Context, conversation: Conversation, flush: () => void) {
    this.#context = context;
    this.#conversation = conversation;
    this.#flush = flush;
    this.#retry = new Retry(context.clock, flush, COMMIT_RETRY_DELAY);
  }

  /** Whether the relay has named a newer handshake entry than has been read. */
  get isStale(): boolean {
    const { handshake } = this.#conversation.state.place;
    return this.#staleAfter !== undefined && isSameCursor(handshake, this.#staleAfter);
  }

  /** Whether all has been read that the relay has named. */
  isCaughtUp(): boolean {
    if (this.isStale) return false;
    this.#staleAfter = undefined;
    return true;
  }

  /** The relay has taken an entry. */
  taken(): void {
    this.#retry.reset();
  }

  /** Something failed: it is tried again after a while. */
  later(): void {
    this.#retry.later();
  }

  disconnected(): void {
    this.#retry.reset();
    this.#staleAfter = undefined;
  }

  stop(): void {
    this.#stopped = true;
    this.#retry.reset();
  }

  /** The relay has refused these bytes. True if nothing comes of the intent. */
  async refused(intent: Intent, sealed: Sealed, error: unknown): Promise<boolean> {
    switch (SubrosaError.is(error) ? error.code : "internal") {
      case "connection-failed":
      case "closed":
        return false;
      case "stale":
        this.#expectNewer(sealed.after);
        return false;
      case "cursor-mismatch":
      case "unknown-group":
        this.#conversation.doubt();
        return false;
      default:
        if (!isFinal(error)) {
          this.later();
          return false;
        }
        // The relay may have them all the same, and show it: then they are in force, whatever it says.
        if (!this.#doubted.has(sealed)) {
          this.#doubted.add(sealed);
          this.#conversation.doubt(true);
          return false;
        }
        await this.#conversation.step((step) => {
          // An answer may come late.
          if (intent.sealed !== sealed || !this.#context.outbox.has(intent)) return;
          this.commitFailed(intent);
          fail(this.#context, step, intent, error);
        });
        return true;
    }
  }

  /** What made our bytes stale is on its way; if it does not come, the log is not as we know it: asked again, the relay says so. */
  #expectNewer(after: Cursor): void {
    this.#staleAfter = after;
    this.#context.clock.after(NEWER_WITHIN, () => {
      if (this.#staleAfter === after && !this.#stopped)
        this.#context.background(this.#conversation.subscribe());
    });
  }

  /** A commit cannot be made: if it was one that is due, no other is tried for a while. */
  commitFailed(intent: Intent): void {
    if (intent.action.type !== "refresh") return;
    this.cannotCommit = true;
    this.#context.clock.after(COMMIT_RETRY_DELAY, () => {
      this.cannotCommit = false;
      this.#flush();
    });
  }
}
