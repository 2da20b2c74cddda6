import { type SyncKey, syncCrypto } from "./sync-crypto.js";

/** The order of P-256 (SEC 2 §2.4.2). */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

type Method = (...args: never[]) => unknown;

/**
 * Puts another `crypto.subtle` in the place of the platform's: results come in the order of the calls, each in a turn of
 * its own, and signatures always have the same length in DER. What a program does then follows from its input
 * alone, although its keys are random.
 */
export function orderCrypto(): void {
  const real = globalThis.crypto;
  const methods: Readonly<Record<string, Method>> = { ...syncCrypto, sign: evenSignature };
  const subtle = Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [name, (...args: never[]) => ordered(method, args)]),
  );
  // What the simulation has no use for is missed at once when something asks for it.
  subtle.deriveKey = () => Promise.reject(new Error("the simulation derives no keys"));
  const value = { subtle, getRandomValues: real.getRandomValues.bind(real) };
  Object.defineProperty(globalThis, "crypto", { value, configurable: true });
}

/** Node runs what each immediate resolves to its end before the next. */
function ordered(method: Method, args: never[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    let settle: () => void;
    try {
      const result = method(...args);
      settle = () => resolve(result);
    } catch (error) {
      settle = () => reject(error);
    }
    setImmediate(settle);
  });
}

/** Signs until r and s both take 32 bytes in DER; n − s stands for s as well as s does. */
function evenSignature(algorithm: unknown, key: SyncKey, data: Uint8Array): ArrayBuffer {
  for (;;) {
    const signature = syncCrypto.sign(algorithm, key, data);
    if (key.type === "secret") return signature;
    const bytes = new Uint8Array(signature);
    if ((bytes[32] as number) >= 0x80) {
      const s = N - BigInt(`0x${Buffer.from(bytes.subarray(32)).toString("hex")}`);
      bytes.set(Buffer.from(s.toString(16).padStart(64, "0"), "hex"), 32);
    }
    const isEven = (at: number) => (bytes[at] as number) >= 1 && (bytes[at] as number) < 0x80;
    if (isEven(0) && isEven(32)) return signature;
  }
}
