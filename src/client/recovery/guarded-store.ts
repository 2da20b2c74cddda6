import { type Bytes, EMPTY } from "../../base/bytes.js";
import type { PlatformCryptoKey } from "../../base/crypto-key.js";
import { SubrosaError } from "../../base/errors.js";
import type { Change, ListOptions, StoreSession } from "../../stores/store.js";
import { layout } from "../layout.js";

/** What nothing else could make good: it is stored twice. Prefixes end with a slash. */
const TWINNED: readonly string[] = [
  layout.accountKey,
  layout.identity,
  layout.deviceKey,
  layout.incarnation,
  layout.seenSecret,
  layout.contacts,
  layout.contactCount,
  layout.conversations,
  layout.historyNames,
];
/** What is of no use by halves: whoever reads it decides what its damage means. */
const STRICT: readonly string[] = [layout.places, layout.epochs, layout.allRatchets];

const covers = (kinds: readonly string[], key: string): boolean =>
  kinds.some((kind) => (kind.endsWith("/") ? key.startsWith(kind) : key === kind));

const copyOf = (key: string): string => layout.copies + key;

function isDamage(error: unknown): boolean {
  return SubrosaError.is(error) && error.code === "store-damaged";
}

/**
 * A store session that goes on without the records that are damaged, and remembers which. What cannot be done without
 * is written twice, in the same transaction, and read from whichever of the two is whole.
 */
export class GuardedStore implements StoreSession {
  readonly #inner: StoreSession;
  /** Nothing was stored when this began. */
  readonly firstUse: boolean;
  /** Records that were not what was stored, and of which there was no other copy. */
  readonly damaged = new Set<string>();
  /** Those among them, and copies, that nothing was written in place of since. */
  readonly #present = new Set<string>();
  /** Records of which one of the two copies is gone, with what the other holds. */
  readonly #restored = new Map<string, Bytes>();

  #retired = false;

  constructor(inner: StoreSession, firstUse = inner.firstUse) {
    this.#inner = inner;
    this.firstUse = firstUse;
  }

  /** The same records for whoever comes next: nothing more is written through this one, nor read. */
  successor(): GuardedStore {
    this.#retired = true;
    return new GuardedStore(this.#inner, false);
  }

  #assertInUse(): void {
    if (this.#retired) throw new SubrosaError("closed", "the store is another's now");
  }

  get owner(): number {
    return this.#inner.owner;
  }

  async get(key: string): Promise<Bytes | undefined> {
    this.#assertInUse();
    if (covers(STRICT, key)) return this.#inner.get(key);
    const value = await this.#read(key);
    if (value !== undefined || !covers(TWINNED, key)) return value;
    const copy = await this.#read(copyOf(key));
    if (copy !== undefined) this.noteRestored(key, copy);
    return copy;
  }

  async #read(key: string): Promise<Bytes | undefined> {
    try {
      return await this.#inner.get(key);
    } catch (error) {
      if (!isDamage(error)) throw error;
      // That there is such a record is all that is ever asked of these.
      if (key.startsWith(layout.seen)) return EMPTY;
      this.noteDamaged(key);
      return undefined;
    }
  }

  noteDamaged(key: string): void {
    this.damaged.add(key);
    this.#present.add(key);
  }

  /** What a record was is known from elsewhere, or from its copy. */
  noteRestored(key: string, value: Bytes): void {
    this.damaged.delete(key);
    this.#present.delete(key);
    this.#restored.set(key, value);
  }

  /** Gives up what is damaged, and writes again what was restored; what has been written since stands. */
  mending(): Change[] {
    const changes: Change[] = [];
    for (const key of this.#present) changes.push({ delete: key });
    for (const [key, value] of this.#restored) changes.push({ put: key, value });
    return changes;
  }

  async getKey(key: string): Promise<PlatformCryptoKey | undefined> {
    this.#assertInUse();
    const read = async (at: string) => {
      try {
        return await this.#inner.getKey(at);
      } catch (error) {
        if (!isDamage(error)) throw error;
        return undefined;
      }
    };
    return (await read(key)) ?? (covers(TWINNED, key) ? read(copyOf(key)) : undefined);
  }

  async list(prefix: string, options: ListOptions = {}): Promise<[key: string, value: Bytes][]> {
    this.#assertInUse();
    if (covers(STRICT, prefix)) return this.#inner.list(prefix, options);
    const damaged = (key: string) => this.noteDamaged(key);
    const found = await this.#inner.list(prefix, { ...options, damaged });
    if (!covers(TWINNED, prefix)) return found;
    const whole = new Set(found.map(([key]) => key));
    for (const [copy, value] of await this.#inner.list(copyOf(prefix), { damaged })) {
      const key = copy.slice(layout.copies.length);
      if (whole.has(key)) continue;
      this.noteRestored(key, value);
      found.push([key, value]);
    }
    return found.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  async write(changes: readonly Change[]): Promise<void> {
    this.#assertInUse();
    await this.#inner.write(changes.flatMap(twice));
    for (const change of changes) this.#written(change);
  }

  #written(change: Change): void {
    const keys = [...this.#present, ...this.#restored.keys()];
    if (keys.length === 0) return;
    const isWritten = (key: string) =>
      "put" in change
        ? key === change.put
        : "delete" in change
          ? key === change.delete
          : "deletePrefix" in change && key.startsWith(change.deletePrefix);
    for (const key of keys.filter(isWritten)) {
      this.#present.delete(key);
      this.#restored.delete(key);
    }
  }

  async close(): Promise<void> {
    if (!this.#retired) await this.#inner.close();
  }

  onLost(listener: (error: SubrosaError) => void): () => void {
    return this.#inner.onLost((error) => {
      if (!this.#retired) listener(error);
    });
  }
}

/** A change with the same one of the copy. */
function twice(change: Change): Change[] {
  if ("put" in change) {
    return covers(TWINNED, change.put)
      ? [change, { put: copyOf(change.put), value: change.value }]
      : [change];
  }
  if ("putKey" in change) {
    const { putKey, privateKey } = change;
    return covers(TWINNED, putKey) ? [change, { putKey: copyOf(putKey), privateKey }] : [change];
  }
  if ("delete" in change) {
    return covers(TWINNED, change.delete) ? [change, { delete: copyOf(change.delete) }] : [change];
  }
  return covers(TWINNED, change.deletePrefix)
    ? [change, { deletePrefix: copyOf(change.deletePrefix) }]
    : [change];
}
