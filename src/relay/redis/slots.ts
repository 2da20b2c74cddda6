import { type Bytes, EMPTY } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { LogId } from "../../wire/identifiers.js";
import { keys } from "../embedded/keys.js";
import { Overlay } from "../embedded/kv.js";
import { EMPTY_HEAD, type HeadRecord, headRecord } from "../embedded/records.js";
import { Transaction } from "../embedded/transaction.js";
import type { Appended } from "../storage.js";
import type { Claims } from "./claims.js";
import { type Growth, growthOf } from "./news.js";
import { logTag, placeOf } from "./places.js";
import type { RecordsLink } from "./records-link.js";
import { Missing, type Recent, Snapshot } from "./snapshot.js";

/** A command of the rules, run in one slot. */
interface Job {
  readonly command: (transaction: Transaction) => Promise<unknown> | unknown;
  /** Keys it will likely read. */
  readonly hints: readonly string[];
  readonly settle: (outcome: Outcome) => void;
}

type Outcome = { readonly value: unknown } | { readonly error: unknown };

/** What commands, run one upon the other, want changed. */
interface Draft {
  readonly overlay: Overlay;
  readonly appended: readonly Appended[];
  readonly outcomes: readonly Outcome[];
}

export interface SlotHooks {
  /** The message to other nodes. */
  message(growth: readonly Growth[]): Buffer;
  /** What other slots are to be told. */
  errands(tag: string, draft: { overlay: Overlay; appended: readonly Appended[] }): readonly Buffer[];
  /** Entries have become durable. */
  announce(growth: Growth): void;
  /** In the slot, entries may have become durable that were not announced. */
  missed(tag: string): void;
  /** Does the errands; resolves when they are done, and never rejects. */
  deliver(tag: string, errands: readonly Buffer[]): Promise<void>;
  report(error: unknown): void;
}

const MAX_BATCH = 256;
const MAX_ATTEMPTS = 128;

/**
 * Runs the rules of the embedded storage on records in Redis: they are run on what this node knows of one hash slot,
 * and one call of a script then compares all they have read with what is there, writes all their changes, and wakes
 * the other nodes. If anything was otherwise the reply says what, and they are run again. There is one set of rules,
 * in TypeScript, for all storages, also for what Redis' Lua could not do: it has no SHA-256. An append needs the
 * group, its head and the sender's access, which this node has seen lately as a rule, and takes the entry id to be
 * new: one round trip. A refusal is compared in the same way before it is given.
 *
 * Commands of one slot wait for each other here, those that waited go into one call together, and only other nodes
 * can come between.
 */
export class Slots {
  readonly #records: RecordsLink;
  readonly #claims: Claims;
  readonly #recent: Recent;
  readonly #hooks: SlotHooks;
  readonly #waiting = new Map<string, Job[]>();
  readonly #running = new Set<Promise<void>>();

  constructor(records: RecordsLink, claims: Claims, recent: Recent, hooks: SlotHooks) {
    this.#records = records;
    this.#claims = claims;
    this.#recent = recent;
    this.#hooks = hooks;
  }

  /** Everything the command writes in its own slot is written at once; see {@link SlotHooks} for other slots. */
  run<T>(
    tag: string,
    command: (transaction: Transaction) => Promise<T> | T,
    hints: readonly string[] = [],
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const settle = (outcome: Outcome) => {
        if ("error" in outcome) reject(outcome.error);
        else resolve(outcome.value as T);
      };
      const jobs = this.#waiting.get(tag);
      if (jobs !== undefined) jobs.push({ command, hints, settle });
      else {
        this.#waiting.set(tag, [{ command, hints, settle }]);
        this.#track(this.#work(tag));
      }
    });
  }

  /** Another node has appended: the next command here begins where that ended. */
  learn({ log, head }: Growth): void {
    const known = this.#recent.get(keys.head(log));
    // News may come late, after what this node appended itself.
    if (known !== undefined && headRecord.decode(known).seq >= headRecord.decode(head).seq) return;
    this.#recent.set(keys.head(log), head);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#running.delete(tracked));
    this.#running.add(tracked);
  }

  async #work(tag: string): Promise<void> {
    const jobs = this.#waiting.get(tag) as Job[];
    // Those that are called in one go belong together.
    await Promise.resolve();
    while (jobs.length > 0) {
      const batch = jobs.splice(0, MAX_BATCH);
      try {
        await this.#carryOut(tag, batch);
      } catch (cause) {
        const error = new SubrosaError("store-failed", "the storage failed", { cause });
        for (const { settle } of batch) settle({ error });
        // It may have been written all the same, where its replicas were late or its answer was lost.
        this.#hooks.missed(tag);
      }
    }
    this.#waiting.delete(tag);
  }

  async #carryOut(tag: string, jobs: readonly Job[]): Promise<void> {
    // Records of other slots are not compared, so what was seen lately will not do for them.
    const snapshot = new Snapshot((key) => (placeOf(key).tag === tag ? this.#recent.get(key) : undefined));
    const claimed = new Map<string, Bytes>();
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const draft = await this.#draft(jobs, snapshot);
      if (!(await this.#claim(snapshot, draft, claimed))) continue;
      const outbox = this.#hooks.errands(tag, draft);
      const own = draft.appended.filter(({ log }) => logTag(log) === tag);
      const growth = growthOf(own, (log) => ({
        before: headBefore(snapshot, log).digest,
        head: draft.overlay.changes.get(keys.head(log)) ?? EMPTY,
      }));
      const values = [...draft.overlay.changes].filter(([key]) => placeOf(key).tag === tag);
      const news = growth.length > 0 ? this.#hooks.message(growth) : undefined;
      if (!(await this.#records.commit(snapshot, { tag, values, outbox, news }))) continue;

      for (const key of snapshot.readValues) {
        if (placeOf(key).tag === tag) this.#recent.set(key, snapshot.values.get(key));
      }
      for (const [key, value] of values) this.#recent.set(key, value);
      for (const one of growth) this.#hooks.announce(one);
      // Perhaps asked for before, and written, when no answer came.
      if (growth.length === 0) this.#hooks.missed(tag);
      this.#track(this.#finish(tag, jobs, draft, claimed, outbox));
      return;
    }
    throw new SubrosaError("store-failed", "other nodes were faster too many times");
  }

  /** What lies in other slots is done before the answer; if that fails it will be done later. */
  async #finish(
    tag: string,
    jobs: readonly Job[],
    draft: Draft,
    claimed: ReadonlyMap<string, Bytes>,
    outbox: readonly Buffer[],
  ): Promise<void> {
    const ends = [...claimed].map(([key, value]) => {
      const end = draft.overlay.changes.has(key)
        ? this.#claims.keep(key, value)
        : this.#claims.end(key, value, "undo");
      return end.catch(this.#hooks.report);
    });
    await Promise.all([...ends, outbox.length > 0 ? this.#hooks.deliver(tag, outbox) : undefined]);
    for (const [i, { settle }] of jobs.entries()) settle(draft.outcomes[i] as Outcome);
  }

  /** Runs the commands on the snapshot, fetching what they turn out to need. */
  async #draft(jobs: readonly Job[], snapshot: Snapshot): Promise<Draft> {
    const hints = new Set(jobs.flatMap((job) => job.hints).filter((key) => !snapshot.knows(key)));
    await Promise.all([...hints].map((key) => this.#fetch(snapshot, key, false)));
    for (;;) {
      try {
        return await runAll(jobs, snapshot);
      } catch (error) {
        if (!(error instanceof Missing)) throw error;
        await this.#fetch(snapshot, error.key, error.range);
      }
    }
  }

  async #fetch(snapshot: Snapshot, key: string, range: boolean): Promise<void> {
    const kind = key.charAt(0);
    if (range) snapshot.ranges.set(key, await this.#records.range(key));
    else if (kind === "n" || kind === "s") snapshot.values.set(key, await this.#claims.current(key));
    else snapshot.values.set(key, await this.#records.get(key));
  }

  /** False if another was faster. */
  async #claim(snapshot: Snapshot, draft: Draft, claimed: Map<string, Bytes>): Promise<boolean> {
    for (const [key, value] of draft.overlay.changes) {
      const kind = key.charAt(0);
      if ((kind !== "n" && kind !== "s") || value === undefined) continue;
      if (!(await this.#claims.take(key, snapshot.values.get(key), value))) {
        snapshot.values.delete(key);
        return false;
      }
      claimed.set(key, value);
    }
    return true;
  }
}

/** The log's head before the commands. */
function headBefore(snapshot: Snapshot, log: LogId): HeadRecord {
  const bytes = snapshot.values.get(keys.head(log));
  return bytes === undefined ? EMPTY_HEAD : headRecord.decode(bytes);
}

async function runAll(jobs: readonly Job[], snapshot: Snapshot): Promise<Draft> {
  snapshot.beginReading();
  const overlay = new Overlay(() => snapshot);
  const appended: Appended[] = [];
  const outcomes: Outcome[] = [];
  for (const { command } of jobs) {
    const transaction = new Transaction(() => overlay);
    try {
      const value = await command(transaction);
      overlay.merge(transaction.overlay);
      appended.push(...transaction.appended);
      outcomes.push({ value });
    } catch (error) {
      if (error instanceof Missing) throw error;
      outcomes.push({ error });
    }
  }
  return { overlay, appended, outcomes };
}
