import type { Context } from "../../context.js";
import type { ConversationState } from "../state.js";

/** How many messages in a row that cannot be read are too many, and how long the next may be waited for. */
const UNREADABLE_RUN = 3;
const DELAY = 15_000;
/** How old a direct conversation is before it begins anew for that, so that nobody can make it do so over and over. */
const DIRECT_AGE = 3_600_000;

/**
 * Message after message cannot be read. Garbage by one member looks the same, so that this waits whether the next can:
 * only then this device asks to be added anew. It goes on meanwhile.
 */
export class UnreadableRun {
  readonly #context: Context;
  readonly #state: () => ConversationState;
  readonly #beginAnew: () => Promise<void>;
  #cancel: (() => void) | undefined;

  /** `beginAnew`: what becomes of a direct conversation. */
  constructor(context: Context, state: () => ConversationState, beginAnew: () => Promise<void>) {
    this.#context = context;
    this.#state = state;
    this.#beginAnew = beginAnew;
  }

  get #isTooLong(): boolean {
    return this.#state().place.unreadable >= UNREADABLE_RUN;
  }

  /** Entries have come, or the log is followed again. */
  check(): void {
    if (!this.#isTooLong || this.#cancel !== undefined) return;
    const { clock, random, repair, background } = this.#context;
    this.#cancel = clock.after(DELAY * (1 + random()), () => {
      this.#cancel = undefined;
      const { subject, joinedAt, groupId } = this.#state().record;
      if (!this.#isTooLong) return;
      if (subject.kind === "group") repair(groupId);
      else if (clock.now() - joinedAt > DIRECT_AGE) background(this.#beginAnew());
    });
  }

  stop(): void {
    this.#cancel?.();
  }
}
