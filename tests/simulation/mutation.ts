import { type RunOptions, type RunResult, runSeed } from "./run.js";

/**
 * Looks for a seed at which the oracle sees a planted bug: one that fails with it as `expected`, and without it does
 * not. Undefined: the oracle is blind to it in as many runs as are allowed.
 */
export async function seedThatShows(
  first: number,
  runs: number,
  options: RunOptions,
  expected: RegExp,
  sound: (seed: number) => Promise<RunResult> = (seed) => runSeed(seed, { ...options, planted: {} }),
): Promise<{ seed: number; problems: readonly string[] } | undefined> {
  for (let seed = first; seed < first + runs; seed++) {
    const { problems } = await runSeed(seed, options);
    if (!problems.some((problem) => expected.test(problem))) continue;
    const without = await sound(seed);
    if (!without.problems.some((problem) => expected.test(problem))) return { seed, problems };
  }
  return undefined;
}
