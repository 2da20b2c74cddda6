import { SubrosaError } from "../../../base/errors.js";
import type { Context } from "../../context.js";
import { Retry } from "../../retry.js";

/** The longest time between two looks for a user, in milliseconds. */
const MAX_DELAY = 300_000;

/**
 * Users whom the relay has lost, or of whom it knows what was before: they bring it again when they come back, and it is
 * asked until then, more and more seldom. So it is for those that it has no key package of.
 */
export class LostUsers {
  readonly #context: Context;
  readonly #look: (userId: string) => void;
  readonly #retries = new Map<string, Retry>();

  constructor(context: Context, look: (userId: string) => void) {
    this.#context = context;
    this.#look = look;
  }

  /** Looks again after a while, if that is why a user cannot be reached: not if nobody knows the user here, or the operator removed it. */
  await(userId: string, { code, message }: SubrosaError): boolean {
    const { contacts, report } = this.#context;
    if (code !== "data-lost" && !(code === "unknown-user" && contacts.isExpected(userId))) return false;
    if (this.lookLater(userId))
      report(new SubrosaError("data-lost", `what is for ${userId} waits: ${message}`));
    return true;
  }

  /** Looks again after a while. True if it is the first time. */
  lookLater(userId: string): boolean {
    const known = this.#retries.get(userId);
    const retry = known ?? new Retry(this.#context.clock, () => this.#look(userId), MAX_DELAY);
    this.#retries.set(userId, retry);
    retry.later();
    return known === undefined;
  }

  /** The user is there, or nothing waits for it. */
  found(userId: string): void {
    this.#retries.get(userId)?.reset();
    this.#retries.delete(userId);
  }
}
