import { FAULTS, type FaultKind } from "./faults.js";
import { type RunResult, runSeed } from "./run.js";

/** How many problems of one run are printed. */
const SHOWN = 12;
/** How often a long series says where it is, in milliseconds. */
const PROGRESS = 15_000;

const print = (line: string) => process.stdout.write(`${line}\n`);

/** How somebody repeats one run. */
export const howToRepeat = (seed: number) => `SIM_SEED=${seed} SIM_RUNS=1 npm run test:simulation`;

/** Runs one seed after the other, says what went wrong in which, and sums up; with `each`, also what went well. */
export async function runSeeds(
  title: string,
  seeds: readonly number[],
  each = false,
): Promise<readonly RunResult[]> {
  const results: RunResult[] = [];
  let said = performance.now();
  for (const seed of seeds) {
    const result = await runSeed(seed);
    results.push({ ...result, trace: [], logs: [] });
    if (result.problems.length > 0) {
      print(`${title}: seed ${seed} failed; to repeat it: ${howToRepeat(seed)}`);
      for (const problem of result.problems.slice(0, SHOWN)) print(`  ${problem}`);
      if (process.env.SIM_TRACE !== undefined) print([...result.logs, ...result.trace].join("\n"));
    }
    if (each) print(inOneLine(result));
    if (each || performance.now() - said < PROGRESS) continue;
    said = performance.now();
    print(`${title}: ${results.length} of ${seeds.length} runs, ${failed(results).length} failed`);
  }
  print(summary(title, results));
  return results;
}

export const failed = (results: readonly RunResult[]) =>
  results.filter(({ problems }) => problems.length > 0);

/** Faults after which less is promised. */
const LOSSES: readonly FaultKind[] = ["relay's old backup restored", "device's disk set back"];

function inOneLine({ seed, problems, clients, operations, messages, steps, faults }: RunResult): string {
  const losses = LOSSES.filter((kind) => faults.has(kind)).map((kind) => `, ${kind}`);
  const outcome = `${problems.length === 0 ? "ok" : "FAILED"}${losses}`;
  return `seed ${seed}: ${clients} clients, ${operations} operations, ${messages} messages, ${steps} steps: ${outcome}`;
}

function summary(title: string, results: readonly RunResult[]): string {
  const sum = (value: (result: RunResult) => number) => results.reduce((total, one) => total + value(one), 0);
  const faults = FAULTS.flatMap((kind: FaultKind) => {
    const times = sum((result) => result.faults.get(kind) ?? 0);
    return times > 0 ? [`${kind} ${times}`] : [];
  });
  const seconds = sum(({ milliseconds }) => milliseconds) / 1000;
  return [
    `${title}: ${results.length} runs in ${seconds.toFixed(1)} s, ${failed(results).length} failed`,
    `  ${sum(({ operations }) => operations)} operations, ${sum(({ messages }) => messages)} messages, ${sum(({ steps }) => steps)} steps, up to ${Math.max(0, ...results.map(({ clients }) => clients))} clients`,
    `  faults: ${faults.join(", ")}`,
  ].join("\n");
}
