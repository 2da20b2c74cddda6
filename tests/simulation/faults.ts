import type { Random } from "./random.js";

export const FAULTS = [
  "client killed before a write",
  "client killed after a write",
  "client killed before sending",
  "client killed after sending",
  "client killed at rest",
  "relay killed before a write",
  "relay killed after a write",
  "relay killed at rest",
  "relay's old backup restored",
  "device's disk set back",
  "connection cut",
  "connection stalled",
  "frame lost",
  "request repeated",
  "entries repeated",
  "write held up",
  "app holding a message",
  "process frozen and replaced",
] as const;

export type FaultKind = (typeof FAULTS)[number];

/** How faulty one run is: at each point at which something can fail, the seed decides whether it does. */
export class Faults {
  readonly counts = new Map<FaultKind, number>();
  readonly #random: Random;
  readonly #rates: Partial<Record<FaultKind, number>>;
  /** Deaths, cuts and the like that are still to come at most, so that a run gets somewhere. */
  #budget: number;
  enabled = false;

  constructor(random: Random, rates: Partial<Record<FaultKind, number>>, budget: number) {
    this.#random = random;
    this.#rates = rates;
    this.#budget = budget;
  }

  /** Whether it happens here. */
  strikes(kind: FaultKind): boolean {
    const rate = this.#rates[kind] ?? 0;
    if (!this.enabled || rate === 0 || this.#budget <= 0 || !this.#random.chance(rate)) return false;
    this.#budget--;
    this.count(kind);
    return true;
  }

  /** The same for what is a delay only, and costs nothing of the budget. */
  delays(kind: FaultKind): boolean {
    const rate = this.#rates[kind] ?? 0;
    if (!this.enabled || rate === 0 || !this.#random.chance(rate)) return false;
    this.count(kind);
    return true;
  }

  count(kind: FaultKind, times = 1): void {
    if (times > 0) this.counts.set(kind, (this.counts.get(kind) ?? 0) + times);
  }
}
