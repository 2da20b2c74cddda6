import type { Clock } from "../../base/clock.js";
import { SubrosaError } from "../../base/errors.js";
import type { Ready } from "../../wire/frames.js";
import type { RelaySession } from "../session/relay-session.js";
import type { KeyPackages, PackageUpload } from "./key-packages.js";
import type { OwnIdentity } from "./own-identity.js";

/** How often the relay is asked by itself what it holds, and how much later than before at least, in milliseconds. */
const INTERVAL = 3_600_000;
const GAP = 10_000;
/** How many packages are taken back at most when the store has lost what belongs to them. */
const MAX_TAKEN_BACK = 128;

export interface SupplyOptions {
  readonly keyPackages: KeyPackages;
  readonly clock: Clock;
  readonly identity: Pick<OwnIdentity, "userId">;
  readonly relay: Pick<RelaySession, "isReady" | "request">;
  /** Work that nobody waits for. */
  readonly background: (work: Promise<unknown>) => void;
}

/**
 * Sees to it that the relay holds key packages of this device: with each session, when the page wakes, after a join that
 * used one, and every hour of a long session.
 */
export class PackageSupply {
  readonly #options: SupplyOptions;
  /** Counts sessions and their ends: what was begun in one must not go on in the next. */
  #session = 0;
  /** The session in which packages are being made and published. */
  #busyIn: number | undefined;
  /** How many the relay held before and after what was published last; undefined if none were needed. */
  #before = 0;
  #held: number | undefined;
  #askedAt = 0;
  /** The relay may hold packages whose keys are lost; looked after once in a session. */
  #missing: "no" | "yes" | "done" = "no";
  #dueAt = Number.POSITIVE_INFINITY;
  #cancel: () => void = () => {};

  constructor(options: SupplyOptions) {
    this.#options = options;
    options.keyPackages.onUsed = () => this.check();
    options.keyPackages.onMissing = () => {
      if (this.#missing === "no") this.#missing = "yes";
      this.check();
    };
  }

  /** A session began: publishes the first few if some are needed; call {@link complete} for the rest. */
  async begin(ready: Ready): Promise<void> {
    const { clock, keyPackages } = this.#options;
    const session = ++this.#session;
    keyPackages.relayAhead = ready.time - clock.now();
    this.#asked();
    this.#missing = keyPackages.oneTimeCount < ready.keyPackages ? "yes" : "no";
    await this.#alone(async () => {
      const remaining = await this.#takeBack(ready.keyPackages);
      await this.#publish(session, remaining, ready.registered);
    });
  }

  /** Publishes until the relay has enough, or takes no more. */
  async complete(): Promise<void> {
    const session = this.#session;
    await this.#alone(async () => {
      while (session === this.#session && this.#held !== undefined && this.#held > this.#before) {
        await this.#publish(session, this.#held, false, true);
      }
    });
  }

  /** Asks the relay soon what it holds, and publishes what is missing. */
  check(): void {
    if (this.#options.relay.isReady) this.#schedule(this.#askedAt + GAP);
  }

  ended(): void {
    this.#session++;
    this.#held = undefined;
    this.#cancel();
    this.#dueAt = Number.POSITIVE_INFINITY;
  }

  #asked(): void {
    this.#askedAt = this.#options.clock.now();
    this.#schedule(this.#askedAt + INTERVAL);
  }

  #schedule(at: number): void {
    if (this.#dueAt <= at) return;
    const { clock, background } = this.#options;
    this.#cancel();
    this.#dueAt = at;
    this.#cancel = clock.after(Math.max(0, at - clock.now()), () => {
      this.#dueAt = Number.POSITIVE_INFINITY;
      this.#asked();
      background(this.#ask());
    });
  }

  async #ask(): Promise<void> {
    const session = this.#session;
    const { relay } = this.#options;
    await this.#alone(async () => {
      const { oneTime } = await relay.request("publishKeyPackages", { oneTime: [] });
      await this.#publish(session, await this.#takeBack(oneTime), false);
    });
    await this.complete();
  }

  /** Takes the packages that nobody can add this device by out of the relay; how many it then holds. */
  async #takeBack(held: number): Promise<number> {
    const { relay, identity } = this.#options;
    if (this.#missing !== "yes") return held;
    this.#missing = "done";
    const { userId } = identity;
    const count = Math.min(held, MAX_TAKEN_BACK);
    await Promise.all(Array.from({ length: count }, () => relay.request("fetchKeyPackages", { userId })));
    return Math.max(0, held - MAX_TAKEN_BACK);
  }

  /** Two at once would publish twice what is missing. */
  async #alone(work: () => Promise<void>): Promise<void> {
    const session = this.#session;
    if (this.#busyIn === session) return;
    this.#busyIn = session;
    try {
      await work();
    } finally {
      if (this.#busyIn === session) this.#busyIn = undefined;
    }
  }

  /** Publishes a few key packages if some are needed. */
  async #publish(session: number, remaining: number, fresh: boolean, filling = false): Promise<void> {
    const { keyPackages, clock, relay } = this.#options;
    this.#before = remaining;
    this.#held = undefined;
    const upload = await keyPackages.refill(remaining, clock.now(), fresh, filling);
    if (upload === undefined) return;
    const { oneTime } = await relay
      .request("publishKeyPackages", upload)
      .catch((error: unknown) => this.#failed(upload, error));
    await keyPackages.published(upload);
    if (session === this.#session) this.#held = oneTime;
  }

  /** Without an answer the relay may have them. */
  async #failed(upload: PackageUpload, error: unknown): Promise<never> {
    const isLost = SubrosaError.is(error) && (error.code === "connection-failed" || error.code === "closed");
    if (!isLost) await this.#options.keyPackages.refused(upload);
    throw error;
  }
}
