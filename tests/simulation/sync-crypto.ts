import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from "node:crypto";

/** SubjectPublicKeyInfo of a P-256 key (RFC 5480), up to the uncompressed point. */
const SPKI_PREFIX = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d030107034200", "hex");
const POINT_LENGTH = 65;
const TAG_LENGTH = 16;

/** What stands for a `CryptoKey`. */
export interface SyncKey {
  readonly type: "secret" | "private" | "public";
  readonly extractable: boolean;
  readonly algorithm: { readonly name: string };
  readonly usages: readonly string[];
  /** The bytes of a secret key, or the engine's key. */
  readonly material: Uint8Array | KeyObject;
}

type Input = Uint8Array | ArrayBuffer;
interface Gcm {
  readonly iv: Uint8Array;
  readonly additionalData: Uint8Array;
}

const bytesOf = (input: Input) => new Uint8Array(input);
const exactly = ({ buffer, byteOffset, length }: Uint8Array) =>
  buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer;
const objectOf = ({ material }: SyncKey) => material as KeyObject;
const secretOf = ({ material }: SyncKey) => material as Uint8Array;
const nameOf = (algorithm: string | { readonly name: string }) =>
  typeof algorithm === "string" ? algorithm : algorithm.name;

function imported(
  format: string,
  key: Input | JsonWebKey,
  isSecret: boolean,
): Pick<SyncKey, "type" | "material"> {
  if (isSecret) return { type: "secret", material: bytesOf(key as Input).slice() };
  if (format === "raw") {
    const der = Buffer.concat([SPKI_PREFIX, bytesOf(key as Input)]);
    return { type: "public", material: createPublicKey({ key: der, format: "der", type: "spki" }) };
  }
  const material =
    format === "jwk"
      ? createPrivateKey({ key: key as JsonWebKey, format: "jwk" })
      : createPrivateKey({ key: Buffer.from(bytesOf(key as Input)), format: "der", type: "pkcs8" });
  return { type: "private", material };
}

/**
 * The part of `crypto.subtle` that this package uses over P-256, AES-GCM and SHA-256, by Node's functions that answer at
 * once: the same results for a fraction of the time, most of which the platform's takes to hand work to its threads.
 */
export const syncCrypto = {
  digest: (_algorithm: unknown, data: Input) => exactly(createHash("sha256").update(bytesOf(data)).digest()),

  importKey(
    format: string,
    key: Input | JsonWebKey,
    algorithm: string | { readonly name: string },
    extractable: boolean,
    usages: readonly string[],
  ): SyncKey {
    const name = nameOf(algorithm);
    return { ...imported(format, key, !name.startsWith("EC")), extractable, algorithm: { name }, usages };
  },

  exportKey(format: string, key: SyncKey): ArrayBuffer | JsonWebKey {
    if (!key.extractable) throw new Error("not extractable");
    if (format === "jwk") return objectOf(key).export({ format: "jwk" });
    if (format === "pkcs8") return exactly(objectOf(key).export({ format: "der", type: "pkcs8" }));
    return exactly(objectOf(key).export({ format: "der", type: "spki" }).subarray(-POINT_LENGTH));
  },

  generateKey(
    algorithm: { readonly name: string; readonly length?: number },
    extractable: boolean,
    usages: readonly string[],
  ): SyncKey | { readonly privateKey: SyncKey; readonly publicKey: SyncKey } {
    const common = { algorithm: { name: algorithm.name }, usages };
    if (algorithm.length !== undefined) {
      return { ...common, extractable, type: "secret", material: randomBytes(algorithm.length / 8) };
    }
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    return {
      privateKey: { ...common, extractable, type: "private", material: privateKey },
      publicKey: { ...common, extractable: true, type: "public", material: publicKey },
    };
  },

  deriveBits: ({ public: peer }: { readonly public: SyncKey }, key: SyncKey) =>
    exactly(diffieHellman({ privateKey: objectOf(key), publicKey: objectOf(peer) })),

  sign(_algorithm: unknown, key: SyncKey, data: Input): ArrayBuffer {
    const bytes = bytesOf(data);
    if (key.type === "secret") return exactly(createHmac("sha256", secretOf(key)).update(bytes).digest());
    return exactly(sign("sha256", bytes, { key: objectOf(key), dsaEncoding: "ieee-p1363" }));
  },

  verify: (_algorithm: unknown, key: SyncKey, signature: Input, data: Input) =>
    verify("sha256", bytesOf(data), { key: objectOf(key), dsaEncoding: "ieee-p1363" }, bytesOf(signature)),

  encrypt({ iv, additionalData }: Gcm, key: SyncKey, data: Input): ArrayBuffer {
    const cipher = createCipheriv(gcmOf(key), secretOf(key), iv);
    cipher.setAAD(additionalData);
    return exactly(Buffer.concat([cipher.update(bytesOf(data)), cipher.final(), cipher.getAuthTag()]));
  },

  decrypt({ iv, additionalData }: Gcm, key: SyncKey, data: Input): ArrayBuffer {
    const bytes = bytesOf(data);
    const decipher = createDecipheriv(gcmOf(key), secretOf(key), iv);
    decipher.setAAD(additionalData);
    decipher.setAuthTag(bytes.subarray(-TAG_LENGTH));
    return exactly(Buffer.concat([decipher.update(bytes.subarray(0, -TAG_LENGTH)), decipher.final()]));
  },
};

const gcmOf = (key: SyncKey) => (secretOf(key).length === 16 ? "aes-128-gcm" : "aes-256-gcm");
