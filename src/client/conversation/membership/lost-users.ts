import { SubrosaError } from "../../../base/errors.js";
import type { Context } from "../../context.js";
import { Retry } from "../../retry.js";

/** The longest time between two looks for a user, in milliseconds. */
const MAX_DELAY = 300_000;

/**
 * Users whom the relay has lost, or of whom it knows what was before: they bring it again when they come back, and it is
 * asked until then.
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
    const { contacts, clock, report } = this.#context;
    const { removed } = contacts.get(userId) ?? { removed: true };
    if (code !== "data-lost" && (code !== "unknown-user" || removed)) return false;
    let retry = this.#retries.get(userId);
    if (retry === undefined) {
      retry = new Retry(clock, () => this.#look(userId), MAX_DELAY);
      this.#retries.set(userId, retry);
      report(new SubrosaError("data-lost", `what is for ${userId} waits: ${message}`));
    }
    retry.later();
    return true;
  }

  /** The user is there, or nothing waits for it. */
  found(userId: string): void {
    this.#retries.get(userId)?.reset();
    this.#retries.delete(userId);
  }
}
