/** Throws unless two values of a vector agree. */
export function same(actual: unknown, expected: unknown, what: string): void {
  const left = JSON.stringify(actual);
  const right = JSON.stringify(expected);
  if (left !== right) throw new Error(`${what}: ${left}, expected ${right}`);
}
