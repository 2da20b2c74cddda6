/** The order of P-256 (SEC 2 §2.4.2). */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

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

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

/**
 * Puts another `crypto.subtle` in the place of the platform's: results come in the order of the calls, each in a turn of
 * its own, and signatures always have the same length in DER. What a program does then follows from its input
 * alone, although its keys are random.
 */
export function orderCrypto(): void {
  const real = globalThis.crypto;
  const { subtle } = real;
  const waiting: (() => Promise<void>)[] = [];
  let running = false;

  async function release(): Promise<void> {
    running = true;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      await next();
      await nextTurn();
    }
    running = false;
  }

  function ordered<T>(result: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const settled = result.then(
        (value) => () => resolve(value),
        (error: unknown) => () => reject(error),
      );
      waiting.push(async () => (await settled)());
      if (!running) void release();
    });
  }

  const calls = METHODS.map((method) => {
    const call = (subtle[method] as (...args: unknown[]) => Promise<unknown>).bind(subtle);
    const made = method === "sign" ? (...args: unknown[]) => evenSignature(call, args) : call;
    return [method, (...args: unknown[]) => ordered(made(...args))];
  });
  const value = { subtle: Object.fromEntries(calls), getRandomValues: real.getRandomValues.bind(real) };
  Object.defineProperty(globalThis, "crypto", { value, configurable: true });
}

/** Signs until r and s both take 32 bytes in DER; n − s stands for s as well as s does. */
async function evenSignature(
  sign: (...args: unknown[]) => Promise<unknown>,
  args: unknown[],
): Promise<unknown> {
  for (;;) {
    const signature = (await sign(...args)) as ArrayBuffer;
    if ((args[0] as { name?: string }).name !== "ECDSA") return signature;
    const bytes = new Uint8Array(signature);
    if ((bytes[32] as number) >= 0x80) {
      const s = N - BigInt(`0x${Buffer.from(bytes.subarray(32)).toString("hex")}`);
      bytes.set(Buffer.from(s.toString(16).padStart(64, "0"), "hex"), 32);
    }
    const isEven = (at: number) => (bytes[at] as number) >= 1 && (bytes[at] as number) < 0x80;
    if (isEven(0) && isEven(32)) return signature;
  }
}
