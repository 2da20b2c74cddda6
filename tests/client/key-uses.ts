import { toHex } from "../../src/base/encoding.js";

/**
 * Counts how often each key encrypts. RFC 9420 §9: a message key belongs to one epoch, leaf and generation, so that one
 * that encrypts twice is such a place used twice, whatever its nonce. To be called before the first key is imported.
 */
export function watchKeyUses(): { repeated(): string[]; readonly used: number } {
  const prototype = Object.getPrototypeOf(crypto.subtle) as SubtleCrypto;
  const { importKey, encrypt } = prototype;
  const names = new WeakMap<CryptoKey, string>();
  const uses = new Map<string, number>();
  prototype.importKey = async function (this: SubtleCrypto, ...args: unknown[]) {
    const key = await Reflect.apply(importKey, this, args);
    // Message keys have 16 bytes; those of stores have 32 and are meant to be used again.
    const [format, bytes] = args as [string, Uint8Array];
    if (format === "raw" && bytes.length === 16) names.set(key, toHex(new Uint8Array(bytes)));
    return key;
  } as SubtleCrypto["importKey"];
  prototype.encrypt = function (this: SubtleCrypto, ...args: Parameters<SubtleCrypto["encrypt"]>) {
    const name = names.get(args[1]);
    if (name !== undefined) uses.set(name, (uses.get(name) ?? 0) + 1);
    return Reflect.apply(encrypt, this, args) as ReturnType<SubtleCrypto["encrypt"]>;
  };
  return {
    repeated: () => [...uses].filter(([, count]) => count > 1).map(([name]) => name),
    get used() {
      return uses.size;
    },
  };
}
