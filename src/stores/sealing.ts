import { type Bytes, concat, copyBytes, wipe } from "../base/bytes.js";
import { toUtf8 } from "../base/encoding.js";
import { SubrosaError } from "../base/errors.js";
import { openAtRest, sealAtRest, unwrapKey, wrapKey } from "../crypto/keys-at-rest.js";
import { exportSignaturePrivateKey, importSignaturePrivateKey } from "../crypto/signature.js";
import { Space } from "./records.js";

/** How values and private keys become records of a database and back. */
export interface Sealing {
  sealValue(key: string, value: Uint8Array): Promise<unknown>;
  openValue(key: string, record: unknown): Promise<Bytes>;
  sealKey(key: string, privateKey: CryptoKey): Promise<unknown>;
  openKey(key: string, record: unknown): Promise<CryptoKey>;
}

/** Records that never leave this process's memory: values as copies, keys as they are. */
export const plainSealing: Sealing = {
  sealValue: async (_key, value) => copyBytes(value),
  openValue: async (_key, record) => copyBytes(record as Uint8Array),
  sealKey: (_key, privateKey) => nonExtractable(privateKey),
  openKey: async (_key, record) => record as CryptoKey,
};

/** Values encrypted under `storeKey`; private keys as the database's own copies of a non-extractable `CryptoKey`. */
export function structuredCloneSealing(name: string, storeKey: CryptoKey): Sealing {
  return {
    ...valueSealing(name, storeKey),
    sealKey: (_key, privateKey) => nonExtractable(privateKey),
    async openKey(_key, record) {
      if ((record as Partial<CryptoKey> | null)?.type !== "private") throw altered();
      return record as CryptoKey;
    },
  };
}

/** Values and private keys encrypted under `storeKey`, keys as PKCS #8: for databases of bytes. */
export function bytesSealing(name: string, storeKey: CryptoKey): Sealing {
  return {
    ...valueSealing(name, storeKey),
    async sealKey(key, privateKey) {
      if (!privateKey.extractable) {
        throw new SubrosaError(
          "invalid-argument",
          "this store holds bytes: give it an extractable private key",
        );
      }
      return wrapKey(privateKey, storeKey, context(name, Space.keys, key));
    },
    openKey: (key, record) =>
      opening(record, (sealed) => unwrapKey(sealed, storeKey, context(name, Space.keys, key))),
  };
}

function valueSealing(name: string, storeKey: CryptoKey): Pick<Sealing, "sealValue" | "openValue"> {
  return {
    sealValue: (key, value) => sealAtRest(storeKey, context(name, Space.values, key), value),
    openValue: (key, record) =>
      opening(record, (sealed) => openAtRest(storeKey, context(name, Space.values, key), sealed)),
  };
}

/** What a sealed record is bound to: length of the name ‖ name ‖ space ‖ key. */
function context(name: string, space: Space, key: string): Bytes {
  const bytes = toUtf8(name);
  const length = Uint8Array.of(bytes.length >> 8, bytes.length & 255);
  return concat(length, bytes, Uint8Array.of(space), toUtf8(key));
}

async function opening<T>(record: unknown, open: (sealed: Uint8Array) => Promise<T>): Promise<T> {
  if (!(record instanceof Uint8Array)) throw altered();
  try {
    return await open(record);
  } catch (error) {
    throw SubrosaError.is(error) && error.code === "insecure-context" ? error : altered();
  }
}

function altered(): SubrosaError {
  return new SubrosaError("store-damaged", "a record is not what was stored");
}

async function nonExtractable(privateKey: CryptoKey): Promise<CryptoKey> {
  if (!privateKey.extractable) return privateKey;
  const pkcs8 = await exportSignaturePrivateKey(privateKey);
  try {
    return await importSignaturePrivateKey(pkcs8);
  } finally {
    wipe(pkcs8);
  }
}
