import { SubrosaError } from "../../base/errors.js";
import { type Deferred, deferred } from "../waiting.js";
import { type Desk, isLoss } from "./desk.js";
import type { ToOwner } from "./messages.js";

interface Pending {
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
  readonly signal: AbortSignal | undefined;
  readonly end: Deferred<unknown>;
  /** An owner has been asked. */
  asked: boolean;
}

const isSend = (name: string) => name === "sendDirect" || name === "sendToGroup";

/** The calls of this tab that have no answer, in their order: each owner in turn is asked until one answers. */
export class CallQueue {
  readonly #say: (body: ToOwner) => void;
  readonly #pending = new Map<number, Pending>();
  #next = 1;
  /** Who is asked: the desk of this tab, or the owner in another one. */
  #target: Desk | "owner" | undefined;

  constructor(say: (body: ToOwner) => void) {
    this.#say = say;
  }

  /** Messages among them. */
  get sends(): number {
    return [...this.#pending.values()].filter(({ name }) => isSend(name)).length;
  }

  add(name: string, args: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
    const call = { id: this.#next++, name, args, signal, end: deferred<unknown>(), asked: false };
    this.#pending.set(call.id, call);
    signal?.addEventListener("abort", () => this.#abort(call), { once: true });
    this.#ask(call);
    return call.end.promise;
  }

  /** There is nobody to ask. */
  hold(): void {
    this.#target = undefined;
  }

  /** Asks this owner from now on, also for what another was asked for. */
  ask(target: Desk | "owner"): void {
    this.#target = target;
    for (const call of [...this.#pending.values()]) this.#ask(call);
  }

  answered(id: number, result: unknown): void {
    const call = this.#pending.get(id);
    if (call === undefined) return;
    if (isSend(call.name)) this.#say({ type: "got", messageId: String(result) });
    this.#pending.delete(id);
    call.end.resolve(result);
  }

  refused(id: number, error: unknown): void {
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    call?.end.reject(error);
  }

  /** Nobody will answer any more. */
  end(error: SubrosaError): void {
    this.#target = undefined;
    for (const id of [...this.#pending.keys()]) this.refused(id, error);
  }

  #ask(call: Pending): void {
    const target = this.#target;
    if (target === undefined) return;
    const { id, name, args, asked: repeated, signal } = call;
    call.asked = true;
    if (target === "owner") {
      try {
        this.#say({ type: "call", id, name, args, repeated });
      } catch (cause) {
        this.refused(id, new SubrosaError("invalid-argument", "what cannot be cloned", { cause }));
      }
      return;
    }
    target.call(name, args, { repeated, signal }).then(
      (result) => {
        this.#pending.delete(id);
        call.end.resolve(result);
      },
      (error: unknown) => {
        // The store was taken away meanwhile: the next owner is asked.
        if (this.#target !== target && isLoss(error)) return;
        this.refused(id, error);
      },
    );
  }

  #abort(call: Pending): void {
    if (!this.#pending.has(call.id)) return;
    if (this.#target === "owner" && call.asked) this.#say({ type: "cancel", id: call.id });
    const cause = call.signal?.reason;
    this.refused(call.id, new SubrosaError("aborted", "the call was aborted", { cause }));
  }
}
