import { AssertionError } from "node:assert";

/** What a refusal with a code is compared with. */
class Refusal {
  readonly code: string;

  constructor(code: string) {
    this.code = code;
  }
}

export const refused = (code: string): Refusal => new Refusal(code);

/** Equality of what storages give: bytes by their values, whatever kind of array they are in; `undefined` is absence. */
function same(actual: unknown, expected: unknown, partly: boolean): boolean {
  if (expected instanceof Refusal) return (actual as { code?: unknown })?.code === expected.code;
  if (Object.is(actual, expected)) return true;
  if (typeof actual !== "object" || typeof expected !== "object" || actual === null || expected === null)
    return false;
  if (Array.isArray(actual) !== Array.isArray(expected)) return false;
  if (ArrayBuffer.isView(actual) !== ArrayBuffer.isView(expected)) return false;
  const [a, b] = [actual as Record<string, unknown>, expected as Record<string, unknown>];
  const names = new Set([...Object.keys(b), ...(partly && !Array.isArray(b) ? [] : Object.keys(a))]);
  return [...names].every((name) => same(a[name], b[name], partly));
}

function check(ok: boolean, operator: string, actual: unknown, expected: unknown): void {
  if (!ok) throw new AssertionError({ message: `the storage fails ${operator}`, actual, expected, operator });
}

/** The few checks that the cases make; whoever runs them may have a framework of their own, or none. */
export function expect(actual: unknown) {
  return {
    toBe: (expected: unknown) => check(Object.is(actual, expected), "toBe", actual, expected),
    toEqual: (expected: unknown) => check(same(actual, expected, false), "toEqual", actual, expected),
    toMatchObject: (expected: object) =>
      check(same(actual, expected, true), "toMatchObject", actual, expected),
    toBeUndefined: () => check(actual === undefined, "toBeUndefined", actual, undefined),
    toBeDefined: () => check(actual !== undefined, "toBeDefined", actual, "something"),
    toHaveLength: (length: number) =>
      check((actual as { length?: number })?.length === length, "toHaveLength", actual, length),
    toMatch: (pattern: RegExp) => check(pattern.test(String(actual)), "toMatch", actual, pattern),
    toBeGreaterThan: (least: number) => check(Number(actual) > least, "toBeGreaterThan", actual, least),
    toBeGreaterThanOrEqual: (least: number) =>
      check(Number(actual) >= least, "toBeGreaterThanOrEqual", actual, least),
    rejects: {
      async toEqual(expected: Refusal): Promise<void> {
        let error: unknown = "no refusal";
        try {
          await actual;
        } catch (caught) {
          error = caught;
        }
        check(same(error, expected, false), "rejects", error, expected);
      },
    },
  };
}
