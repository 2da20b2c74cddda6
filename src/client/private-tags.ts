import type { Bytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import { hmacWith, importHmacKey } from "../crypto/hmac.js";
import { randomBytes } from "../crypto/random.js";
import type { Change, StoreSession } from "../stores/store.js";
import { layout } from "./layout.js";

const SECRET_LENGTH = 32;
const TAG_LENGTH = 16;

/** Short names, for the store's keys, of what must not be recognised in them: another store has other names for it. */
export class PrivateTags {
  readonly #store: StoreSession;
  readonly #write: (changes: readonly Change[]) => Promise<void>;
  #key: Promise<CryptoKey> | undefined;

  constructor(store: StoreSession, write: (changes: readonly Change[]) => Promise<void>) {
    this.#store = store;
    this.#write = write;
  }

  /** HMAC-SHA-256 under this store's secret, cut to 16 bytes, in hexadecimal. */
  async tag(bytes: Bytes): Promise<string> {
    this.#key ??= this.#load();
    return toHex((await hmacWith(await this.#key, bytes)).subarray(0, TAG_LENGTH));
  }

  async #load(): Promise<CryptoKey> {
    try {
      let secret = await this.#store.get(layout.seenSecret);
      if (secret === undefined) {
        secret = randomBytes(SECRET_LENGTH);
        await this.#write([{ put: layout.seenSecret, value: secret }]);
      }
      return await importHmacKey(secret);
    } catch (error) {
      this.#key = undefined;
      throw error;
    }
  }
}
