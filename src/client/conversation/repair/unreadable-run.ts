import type { Context } from "../../context.js";
import type { Conversation } from "../conversation.js";
import type { Step } from "../step.js";
import { loseKeys } from "./repair.js";

/** How many messages in a row that cannot be read are too many, and how long the next may be waited for. */
const UNREADABLE_RUN = 3;
const DELAY = 15_000;
/** How old a direct conversation is before it begins anew for that, so that nobody can make it do so over and over. */
const DIRECT_AGE = 3_600_000;
/** After how long what went by a device that waits to be added anew is told, where nobody adds it. */
const TELL_AFTER = 300_000;

/**
 * Message after message cannot be read. Garbage by one member looks the same, so that this waits whether the next can:
 * only then this device asks to be added anew. It goes on meanwhile.
 */
export class UnreadableRun {
  readonly #context: Context;
  readonly #conversation: Conversation;
  #cancel: (() => void) | undefined;
  #cancelTell: (() => void) | undefined;

  constructor(context: Context, conversation: Conversation) {
    this.#context = context;
    this.#conversation = conversation;
  }

  get #isTooLong(): boolean {
    return this.#conversation.state.place.unreadable >= UNREADABLE_RUN;
  }

  /** Entries have come, or the log is followed again. */
  check(): void {
    this.#tellLater();
    if (!this.#isTooLong || this.#cancel !== undefined) return;
    const { clock, random, repair, background } = this.#context;
    this.#cancel = clock.after(DELAY * (1 + random()), () => {
      this.#cancel = undefined;
      const { subject, joinedAt, groupId } = this.#conversation.state.record;
      if (!this.#isTooLong) return;
      if (subject.kind === "group") repair(groupId);
      else if (clock.now() - joinedAt > DIRECT_AGE) {
        background(this.#conversation.step((step) => loseKeys(this.#context, step, "decryption-failed")));
      }
    });
  }

  /** Where nobody adds this device anew, it tells what went by all the same. */
  #tellLater(): void {
    if (this.#cancelTell !== undefined || !this.#conversation.state.record.repair?.missed) return;
    const { clock, background } = this.#context;
    this.#cancelTell = clock.after(TELL_AFTER, () => {
      this.#cancelTell = undefined;
      const tell = (step: Step) => {
        const { repair } = step.record;
        if (repair === undefined) return;
        step.tellMissed(repair.reason, repair.missed);
        step.setRecord({ repair: { ...repair, missed: 0 } });
      };
      background(this.#conversation.step(tell));
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#cancelTell?.();
  }
}
