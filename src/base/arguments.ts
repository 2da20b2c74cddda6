import { assertArgument } from "./errors.js";

/** The names that options may have; the compiler says when one is missing. */
export type Names<Options> = Readonly<Record<keyof Options, true>>;

/**
 * Throws `invalid-argument` for options that are no object, or have a name that is none of theirs: a misspelt one would
 * be left out without a word.
 */
export function assertOptions(
  options: unknown,
  names: Readonly<Record<string, true>>,
  what = "options",
): void {
  if (options === undefined) return;
  assertArgument(typeof options === "object" && options !== null, `${what}: an object`);
  for (const name of Object.keys(options)) {
    assertArgument(Object.hasOwn(names, name), `${what}: there is no ${name}`);
  }
}
