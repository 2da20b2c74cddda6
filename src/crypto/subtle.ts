import { SubrosaError } from "../base/errors.js";

let inFlight = 0;
let waiting: (() => void)[] = [];

/** How many calls into `crypto.subtle` have not settled yet, in this copy of the package. */
export function cryptoInFlight(): number {
  return inFlight;
}

/** Resolves once nothing is in flight and what followed from the last results has run and started nothing new. */
export async function whenCryptoIdle(): Promise<void> {
  do {
    if (inFlight > 0) await new Promise<void>((resolve) => waiting.push(resolve));
    // Everything that awaits a result runs in microtasks, hence before the next timer.
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
  } while (inFlight > 0);
}

function settled(): void {
  inFlight--;
  if (inFlight > 0) return;
  const idle = waiting;
  waiting = [];
  for (const resolve of idle) resolve();
}

function counted<A extends unknown[], R>(call: (...args: A) => Promise<R>): (...args: A) => Promise<R> {
  return (...args) => {
    inFlight++;
    let result: Promise<R>;
    try {
      result = call(...args);
    } catch (error) {
      settled();
      throw error;
    }
    result.then(settled, settled);
    return result;
  };
}

const METHODS = [
  "decrypt",
  "deriveBits",
  "deriveKey",
  "digest",
  "encrypt",
  "exportKey",
  "generateKey",
  "importKey",
  "sign",
  "verify",
] as const;

/** The part of `SubtleCrypto` that this package uses. */
export type Subtle = Pick<SubtleCrypto, (typeof METHODS)[number]>;

let source: SubtleCrypto | undefined;
let facade: Subtle | undefined;

/**
 * `crypto.subtle`, with every call counted. Looked up when called, never at import.
 * Throws `insecure-context` where there is none: an http page whose host is not localhost, or a very old engine.
 */
export function subtle(): Subtle {
  const current = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  if (current === undefined) {
    throw new SubrosaError("insecure-context", "crypto.subtle is missing; pages need https or localhost");
  }
  if (facade === undefined || source !== current) {
    const calls: Record<string, unknown> = {};
    for (const method of METHODS) {
      calls[method] = counted((current[method] as (...args: unknown[]) => Promise<unknown>).bind(current));
    }
    source = current;
    facade = calls as unknown as Subtle;
  }
  return facade;
}
