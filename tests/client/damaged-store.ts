import { SubrosaError } from "../../src/base/errors.js";
import { memoryStore, type Store } from "../../src/index.js";
import type { Change, ListOptions, StoreSession } from "../../src/stores/store.js";

/** What can happen to a record. */
export const DAMAGES = ["flip", "cut", "swap", "delete"] as const;
export type Damage = (typeof DAMAGES)[number];

/** A store that can be damaged while nobody has it open. */
export interface Damageable {
  readonly store: Store;
  /** The keys of all records of the only name in it; those of private keys begin with `key:`. */
  keys(): Promise<string[]>;
  damage(key: string, how: Damage, other: string): Promise<void>;
}

const damaged = () => new SubrosaError("store-damaged", "a record is not what was stored");

/** Memory that notices damage, as stores do that encrypt what they hold. */
export function damageableMemory(): Damageable {
  const inner = memoryStore();
  const broken = new Set<string>();
  let name = "";
  const written = new Set<string>();

  function touch(change: Change): void {
    if ("put" in change) {
      broken.delete(change.put);
      written.add(change.put);
    } else if ("putKey" in change) {
      broken.delete(`key:${change.putKey}`);
      written.add(`key:${change.putKey}`);
    } else {
      const gone = (key: string) => {
        const plain = key.replace(/^key:/, "");
        return "delete" in change ? plain === change.delete : plain.startsWith(change.deletePrefix);
      };
      for (const key of [...written]) if (gone(key) && written.delete(key)) broken.delete(key);
    }
  }

  function over(session: StoreSession): StoreSession {
    return {
      owner: session.owner,
      firstUse: session.firstUse,
      async get(key) {
        if (broken.has(key)) throw damaged();
        return session.get(key);
      },
      async getKey(key) {
        if (broken.has(`key:${key}`)) throw damaged();
        return session.getKey(key);
      },
      async list(prefix, options: ListOptions = {}) {
        const whole: [string, Uint8Array<ArrayBuffer>][] = [];
        for (const entry of await session.list(prefix, options)) {
          if (!broken.has(entry[0])) whole.push(entry);
          else if (options.damaged === undefined) throw damaged();
          else options.damaged(entry[0]);
        }
        return whole;
      },
      async write(changes) {
        await session.write(changes);
        changes.forEach(touch);
      },
      close: () => session.close(),
      onLost: (listener) => session.onLost(listener),
    };
  }

  return {
    store: {
      async open(under, options) {
        name = under;
        return over(await inner.open(under, options));
      },
    },
    keys: async () => [...written].sort(),
    async damage(key, how, other) {
      if (how === "swap") broken.add(key).add(other);
      else if (how !== "delete") broken.add(key);
      else {
        const session = await inner.open(name);
        // A value and a private key can stand under one name; only one of them goes.
        const isKey = key.startsWith("key:");
        const plain = key.replace(/^key:/, "");
        const [value, privateKey] = [await session.get(plain), await session.getKey(plain)];
        await session.write([
          { delete: plain },
          ...(isKey && value ? [{ put: plain, value }] : []),
          ...(!isKey && privateKey ? [{ putKey: plain, privateKey }] : []),
        ]);
        await session.close();
        written.delete(key);
        broken.delete(key);
      }
    },
  };
}

/** The stored bytes of one record, altered. */
export function altered(bytes: Uint8Array, how: "flip" | "cut", at: number): Uint8Array {
  if (how === "cut") return bytes.slice(0, at % bytes.length);
  const copy = bytes.slice();
  copy[at % copy.length] = (copy[at % copy.length] as number) ^ (1 << (at % 8));
  return copy;
}
