import { Bench } from "tinybench";
import { median, progress, short, spread, table } from "../table.js";

/** One piece of work by one implementation. */
export interface Work {
  /** What is measured. */
  run(): Promise<unknown>;
  /** Done before each run, and not measured. */
  prepare?(): Promise<unknown>;
}

/** A goal of reference/speed-targets.md. */
export interface Goal {
  /** For milliseconds, this many at most. */
  readonly atMostMs?: number;
  /** At least so many times the speed of that competitor. */
  readonly atLeast?: { readonly of: string; readonly times: number };
}

/** Milliseconds of each run, by competitor. */
export type Samples = Map<string, number[]>;

/** Runs the competitors' work in turns, so that what else the machine does hits all of them. */
export async function inTurns(
  name: string,
  works: Readonly<Record<string, Work>>,
  { rounds, iterations }: { rounds: number; iterations: number },
): Promise<Samples> {
  const samples: Samples = new Map(Object.keys(works).map((competitor) => [competitor, []]));
  // The first round warms up and is not counted.
  for (let round = 0; round <= rounds; round++) {
    for (const [competitor, { run, prepare }] of Object.entries(works)) {
      progress(`${name}, round ${round} of ${rounds}: ${competitor} …`);
      const bench = new Bench({ time: 0, iterations, warmup: false, retainSamples: true, throws: true });
      bench.add(competitor, async () => void (await run()), {
        async: true,
        ...(prepare && { beforeEach: async () => void (await prepare()) }),
      });
      const [task] = await bench.run();
      const result = task?.result;
      if (result?.state !== "completed") throw new Error(`${name}: ${competitor} did not complete`);
      if (round > 0) samples.get(competitor)?.push(...(result.latency.samples ?? []));
    }
  }
  return samples;
}

/** One row for each measured piece of work, and whether its goal is met. */
export class Report {
  readonly #title: string;
  readonly #competitors: readonly string[];
  readonly #rows: string[][] = [];
  met = true;

  constructor(title: string, competitors: readonly string[]) {
    this.#title = title;
    this.#competitors = competitors;
  }

  /** `format` says how a median of milliseconds is printed. */
  add(name: string, samples: Samples, goal: Goal = {}, format = (ms: number) => `${short(ms)} ms`): void {
    const [own = ""] = this.#competitors;
    const middle = (competitor: string) => median(samples.get(competitor) ?? []);
    const cells = this.#competitors.map((competitor) => {
      return samples.has(competitor) ? format(middle(competitor)) : "–";
    });
    const ratios = this.#competitors.slice(1).map((other) => {
      return samples.has(other) ? `${(middle(other) / middle(own)).toFixed(2)} ×` : "–";
    });
    let verdict = "";
    if (goal.atMostMs !== undefined) {
      const reached = middle(own) <= goal.atMostMs;
      this.met &&= reached;
      verdict = `≤ ${goal.atMostMs} ms: ${reached ? "met" : "NOT MET"}`;
    } else if (goal.atLeast !== undefined) {
      const reached = middle(goal.atLeast.of) / middle(own) >= goal.atLeast.times;
      this.met &&= reached;
      verdict = `≥ ${goal.atLeast.times} × ${goal.atLeast.of}: ${reached ? "met" : "NOT MET"}`;
    }
    this.#rows.push([name, ...cells, spread(samples.get(own) ?? [], short), ...ratios, verdict]);
  }

  print(): void {
    const [own, ...others] = this.#competitors;
    progress("");
    console.log(`\n${this.#title}\n`);
    console.log(
      table(
        [
          "median",
          own ?? "",
          ...others,
          "ms, lowest–highest",
          ...others.map((o) => `faster than ${o}`),
          "goal",
        ],
        this.#rows,
      ),
    );
  }
}
