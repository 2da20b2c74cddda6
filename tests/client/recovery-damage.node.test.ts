import { readdir } from "node:fs/promises";
import { join } from "node:path";
import * as fake from "fake-indexeddb";
import { openDB } from "idb";
import * as lmdb from "lmdb";
import { describe, expect, it, vi } from "vitest";
import { SubrosaError } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { indexedDbStore } from "../../src/stores/indexeddb.js";
import { altered, DAMAGES, type Damage, type Damageable, damageableMemory } from "./damaged-store.js";
import { type Actor, connected, makeActor, makeGroup, startRelay, temporaryFolder } from "./harness.js";
import { watchKeyUses } from "./key-uses.js";

const uses = watchKeyUses();

/** Numbers that a seed decides. */
function numbers(seed: number): (below: number) => number {
  let state = seed * 2654435761 + 1;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function damageableFolder(): Promise<Damageable> {
  const folder = await temporaryFolder();
  async function reach<T>(
    work: (spaces: Record<"values" | "keys", lmdb.Database<Uint8Array, string>>) => T | Promise<T>,
  ) {
    const file = (await readdir(folder)).find((name) => name.endsWith(".lmdb")) as string;
    const env = lmdb.open({ path: join(folder, file), noSubdir: true, maxDbs: 4, encoding: "binary" });
    const open = (name: string) => env.openDB<Uint8Array, string>({ name, encoding: "binary" });
    const result = await work({ values: open("values"), keys: open("keys") });
    await env.close();
    return result;
  }
  return {
    store: await openStore(folder),
    keys: () =>
      reach(({ values, keys }) => [...values.getKeys(), ...[...keys.getKeys()].map((key) => `key:${key}`)]),
    damage: (key, how, other) =>
      reach(async (spaces) => {
        const place = (name: string) =>
          name.startsWith("key:")
            ? ([spaces.keys, name.slice(4)] as const)
            : ([spaces.values, name] as const);
        const [[space, at], [otherSpace, otherAt]] = [place(key), place(other)];
        const bytes = Uint8Array.from(space.getBinary(at) as Uint8Array);
        if (how === "delete") await space.remove(at);
        else if (how === "swap") {
          const others = Uint8Array.from(otherSpace.getBinary(otherAt) as Uint8Array);
          await space.put(at, others);
          await otherSpace.put(otherAt, bytes);
        } else await space.put(at, altered(bytes, how, key.length * 7 + bytes.length));
      }),
  };
}

for (const [name, value] of Object.entries(fake)) {
  if (/^(IDB|indexedDB)/.test(name)) vi.stubGlobal(name, value);
}
let databases = 0;

function damageableDatabase(): Damageable {
  const inner = indexedDbStore();
  let name = "";
  const own = ` ${databases++}`;
  const open = () => openDB(`subrosa:${name}`, 1);
  return {
    store: {
      open(under, options) {
        name = under + own;
        return inner.open(name, options);
      },
    },
    async keys() {
      const database = await open();
      const [values, keys] = [await database.getAllKeys("values"), await database.getAllKeys("keys")];
      database.close();
      return [...values.map(String), ...keys.map((key) => `key:${String(key)}`)];
    },
    async damage(key, how, other) {
      const database = await open();
      const place = (of: string) =>
        of.startsWith("key:") ? (["keys", of.slice(4)] as const) : (["values", of] as const);
      const [[space, at], [otherSpace, otherAt]] = [place(key), place(other)];
      const record = await database.get(space, at);
      if (how === "swap") {
        await database.put(space, await database.get(otherSpace, otherAt), at);
        await database.put(otherSpace, record, otherAt);
        // A private key has no bytes that could be altered here.
      } else if (how === "delete" || space === "keys") await database.delete(space, at);
      else await database.put(space, altered(record as Uint8Array, how, key.length * 7), at);
      database.close();
    },
  };
}

const kindOf = (key: string) => key.slice(0, key.indexOf("/") + 1 || undefined);

/** A few records of kinds that the seed chooses, each damaged in its way. */
async function damageSome(place: Damageable, random: (below: number) => number): Promise<string[]> {
  const done: string[] = [];
  for (let left = 1 + random(Number(process.env.DAMAGE_MOST ?? 4)); left > 0; left--) {
    const keys = await place.keys();
    const kinds = [...new Set(keys.map(kindOf))].sort();
    const kind = kinds[random(kinds.length)] as string;
    const candidates = keys.filter((key) => kindOf(key) === kind);
    const key = candidates[random(candidates.length)] as string;
    const how = DAMAGES[random(DAMAGES.length)] as Damage;
    const alike = keys.filter(
      (other) => other.startsWith("key:") === key.startsWith("key:") && other !== key,
    );
    const other = alike[random(alike.length)];
    await place.damage(key, how === "swap" && other === undefined ? "delete" : how, other ?? key);
    done.push(`${how} ${key}${how === "swap" ? ` with ${other}` : ""}`);
  }
  return done;
}

let words = 0;

async function hear(from: Actor, to: Actor, group?: string): Promise<void> {
  const text = `${words++} from ${from.userId} to ${group ?? to.userId}`;
  if (group === undefined) await from.client.sendDirectMessage(to.userId, text);
  else await from.client.sendGroupMessage(group, text);
  await to.message(text);
}

/** Alice's store is damaged between two openings. What she can do afterwards, or why she cannot be opened. */
async function survive(place: Damageable, seed: number): Promise<string> {
  const random = numbers(seed);
  const relay = await startRelay();
  const { store } = place;
  const alice = await connected(relay, "alice", { store, history: true });
  const [bob, carol] = [await connected(relay, "bob"), await connected(relay, "carol")];
  await makeGroup("team", [bob, alice, carol]);
  await hear(alice, bob);
  await hear(bob, alice);
  await hear(alice, carol);
  await hear(carol, alice, "team");
  await hear(alice, bob, "team");
  await alice.client.markVerified("bob");
  await alice.client.close();
  const done = await damageSome(place, random);
  const note = `seed ${seed}: ${done.join(", ")}`;
  const again = makeActor(relay, "alice", { store, history: true });
  try {
    await again.client.connect();
  } catch (error) {
    expect(SubrosaError.is(error) && error.code, note).toBe("store-damaged");
    return "store-damaged";
  }
  try {
    await hear(again, bob);
    await hear(bob, again);
    await hear(carol, again);
    await hear(again, carol);
    await hear(again, carol, "team");
    await hear(bob, again, "team");
    const { verified } = await again.client.safetyNumber("bob");
    const recovered = again.all("storeRecovered");
    if (!verified) expect(recovered[0]?.lost.contacts, note).toBeGreaterThan(0);
    await again.client.history("bob");
    for (const actor of [again, bob, carol]) {
      expect(new Set(actor.texts).size, note).toBe(actor.texts.length);
    }
    return recovered[0] === undefined ? "whole" : recovered[0].newDevice ? "new device" : "recovered";
  } catch (error) {
    throw new Error(`${note}; alice saw ${JSON.stringify(again.recorded.slice(0, 12))}`, { cause: error });
  } finally {
    for (const { client } of [again, bob, carol]) await client.close();
  }
}

const SEED = Number(process.env.DAMAGE_SEED ?? 1);
const places = [
  ["memory that notices", async () => damageableMemory(), Number(process.env.DAMAGE_RUNS ?? 16)],
  ["LMDB", damageableFolder, 6],
  ["IndexedDB", async () => damageableDatabase(), 6],
] as const;

describe.each(places)("records of a client's store that are damaged, in %s", (_, create, runs) => {
  it("are done without, and everyone is heard again", { timeout: 240_000 }, async () => {
    const outcomes: string[] = [];
    for (let seed = SEED; seed < SEED + runs; seed++) outcomes.push(await survive(await create(), seed));
    expect(outcomes.filter((outcome) => outcome !== "store-damaged").length).toBeGreaterThan(runs / 2);
    expect(uses.used).toBeGreaterThan(runs * 10);
    expect(uses.repeated()).toEqual([]);
    console.log(outcomes.join(", "));
  });
});

it("would be noticed: a key that encrypts twice", async () => {
  const before = uses.repeated().length;
  const key = await crypto.subtle.importKey("raw", new Uint8Array(16), "AES-GCM", false, ["encrypt"]);
  for (const nonce of [1, 2]) {
    const iv = new Uint8Array(12).fill(nonce);
    await crypto.subtle.encrypt({ name: "AES-GCM", iv }, key, new Uint8Array(1));
  }
  expect(uses.repeated()).toHaveLength(before + 1);
});
