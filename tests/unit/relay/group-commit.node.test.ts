import { describe, expect, it } from "vitest";
import { toUtf8 } from "../../../src/base/encoding.js";
import { GroupCommit } from "../../../src/relay/embedded/group-commit.js";
import type { KvChanges } from "../../../src/relay/embedded/kv.js";
import { MemoryKv } from "../../../src/relay/embedded/memory-kv.js";
import type { Transaction } from "../../../src/relay/embedded/transaction.js";
import type { Appended } from "../../../src/relay/storage.js";

/** Writes when the test says so. */
class SlowKv extends MemoryKv {
  readonly writes: { changes: KvChanges; release: (failure?: Error) => void }[] = [];

  override write(changes: KvChanges): Promise<void> {
    return new Promise((resolve, reject) => {
      const release = (failure?: Error) => {
        if (failure) reject(failure);
        else resolve(super.write(changes));
      };
      this.writes.push({ changes, release });
    });
  }
}

const tick = async () => {
  for (let i = 0; i < 50; i++) await Promise.resolve();
};

const count = (view: { get(key: string): Uint8Array | undefined }) => view.get("n")?.[0] ?? 0;
const increment = (transaction: Transaction) => {
  const n = count(transaction.view);
  transaction.putBytes("n", new Uint8Array([n + 1]));
  transaction.putBytes(`k${n}`, toUtf8("x"));
  transaction.appended.push({ seq: n + 1 } as Appended);
  return n + 1;
};

function setUp() {
  const kv = new SlowKv();
  const announced: number[] = [];
  const commit = new GroupCommit(kv, ({ seq }) => announced.push(seq));
  return { kv, announced, commit };
}

describe("GroupCommit", () => {
  it("lets each command see all before it while a group is being written, and answers only what is durable", async () => {
    const { kv, announced, commit } = setUp();
    const results: number[] = [];
    const run = () => commit.run(increment).then((n) => void results.push(n));
    const first = run();
    await tick();
    await tick();
    expect(kv.writes).toHaveLength(1);
    const others = [run(), run(), run()];
    // Read while the first group is being written: nothing of it is durable.
    await tick();
    expect(count(kv)).toBe(0);
    expect(results).toEqual([]);
    kv.writes[0]?.release();
    await first;
    expect([results, announced]).toEqual([[1], [1]]);
    while (kv.writes.length < 2) await tick();
    expect(results).toEqual([1]);
    expect(kv.writes[1]?.changes.get("n")?.[0]).toBe(4);
    kv.writes[1]?.release();
    await Promise.all(others);
    expect(results).toEqual([1, 2, 3, 4]);
    expect(announced).toEqual([1, 2, 3, 4]);
    expect([...kv.range("k", "l")].map(([key]) => key)).toEqual(["k0", "k1", "k2", "k3"]);
    expect(kv.writes).toHaveLength(2);
  });

  it("keeps nothing of a refused command and tells it only when what it saw is durable", async () => {
    const { kv, commit } = setUp();
    const first = commit.run(increment);
    let refused = false;
    const second = commit
      .run((transaction) => {
        increment(transaction);
        throw new Error("refused");
      })
      .catch((error) => {
        refused = error.message === "refused";
      });
    while (kv.writes.length < 1) await tick();
    await tick();
    expect(refused).toBe(false);
    kv.writes[0]?.release();
    expect(await first).toBe(1);
    await second;
    expect(refused).toBe(true);
    expect(count(kv)).toBe(1);
    await commit.idle();
  });

  it("fails everything that was built on a write that failed, and goes on from what is durable", async () => {
    const { kv, announced, commit } = setUp();
    const first = commit.run(increment);
    while (kv.writes.length < 1) await tick();
    const built = commit.run(increment);
    await tick();
    await tick();
    kv.writes[0]?.release(new Error("disk full"));
    for (const result of await Promise.allSettled([first, built])) {
      expect(result).toMatchObject({ status: "rejected", reason: { code: "store-failed" } });
    }
    expect(announced).toEqual([]);
    const next = commit.run(increment);
    while (kv.writes.length < 2) await tick();
    kv.writes[1]?.release();
    expect(await next).toBe(1);
    expect([...kv.range("k", "l")].map(([key]) => key)).toEqual(["k0"]);
  });
});
