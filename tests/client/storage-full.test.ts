import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { layout } from "../../src/client/layout.js";
import { memoryStore, type Store, SubrosaError } from "../../src/index.js";
import type { Change } from "../../src/stores/store.js";
import { codeOf } from "../harness/code-of.js";
import { type Actor, connected, eventually, makeActor, makeGroup, startRelay } from "./harness.js";

/** A store with room for some writes more. */
class SmallStore implements Store {
  readonly #inner = memoryStore();
  /** How many writes go through before there is no room. */
  room = Number.POSITIVE_INFINITY;
  /** Of which records there is no room for the next. */
  none: string | undefined;
  refused = 0;

  async open(...given: Parameters<Store["open"]>) {
    const session = await this.#inner.open(...given);
    return new Proxy(session, {
      get: (target, name) => {
        if (name === "write") {
          return (changes: readonly Change[]) => {
            if (!this.#lacksRoomFor(changes)) return target.write(changes);
            this.refused++;
            return Promise.reject(new SubrosaError("storage-full", "no room"));
          };
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  #lacksRoomFor(changes: readonly Change[]): boolean {
    if (this.room-- <= 0) return true;
    const { none } = this;
    if (none === undefined || !changes.some((change) => "put" in change && change.put.startsWith(none)))
      return false;
    this.none = undefined;
    return true;
  }
}

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
beforeEach(() => {
  unhandled.length = 0;
  process.on("unhandledRejection", note);
});
afterEach(() => void process.off("unhandledRejection", note));

describe("a client whose storage is full", () => {
  it("refuses to send, acknowledges nothing that it cannot keep, and goes on when there is room", async () => {
    const relay = await startRelay();
    const store = new SmallStore();
    const bob = await connected(relay, "bob", { store });
    const alice = await connected(relay, "alice");
    await alice.client.sendDirectMessage("bob", "one");
    await bob.message("one");
    store.room = 0;
    expect(await codeOf(bob.client.sendDirectMessage("alice", "no room for this"))).toBe("storage-full");
    await bob.event("disconnect", ({ willReconnect }) => willReconnect);
    const ids = await Promise.all(
      ["two", "three"].map((text) => alice.client.sendDirectMessage("bob", text)),
    );
    await alice.receipts(ids, "sent");
    await eventually(() => store.refused > 2);
    expect(bob.texts).toEqual(["one"]);
    const delivered = alice.all("receipt").filter(({ state }) => state === "delivered");
    expect(delivered.flatMap((receipt) => receipt.ids).filter((id) => ids.includes(id))).toEqual([]);
    expect(bob.client.state).not.toBe("closed");

    store.room = Number.POSITIVE_INFINITY;
    await bob.message("three");
    await bob.client.sendDirectMessage("alice", "room again");
    await alice.message("room again");
    await alice.receipts(ids, "delivered", "bob");
    expect([bob.texts, alice.texts]).toEqual([["one", "two", "three"], ["room again"]]);
    expect(new Set(bob.errors)).toEqual(new Set(["storage-full"]));
    expect(unhandled).toEqual([]);
  });

  it("gives a message to the app once when there is no room to note that it was taken", async () => {
    const relay = await startRelay();
    const store = new SmallStore();
    const bob = await connected(relay, "bob", { store, listen: false });
    const alice = await connected(relay, "alice");
    const seen: string[] = [];
    let hold = () => {};
    bob.client.on("message", async ({ content }) => {
      seen.push(String(content));
      if (seen.length === 1)
        await new Promise<void>((resolve) => {
          hold = resolve;
        });
    });
    await alice.client.sendDirectMessage("bob", "one");
    await alice.client.sendDirectMessage("bob", "two");
    await eventually(() => seen.length === 1);
    await alice.receipts(
      [...alice.all("receipt")].flatMap((r) => r.ids),
      "sent",
    );
    store.room = 0;
    hold();
    await eventually(() => store.refused > 0);
    store.room = Number.POSITIVE_INFINITY;
    await eventually(() => seen.includes("two"));
    expect(seen).toEqual(["one", "two"]);
    await bob.client.close();
    const again = makeActor(relay, "bob", { store });
    await again.client.connect();
    await alice.client.sendDirectMessage("bob", "three");
    await again.message("three");
    expect(again.texts).toEqual(["three"]);
  });
});

describe("a client that lacks room for one record", () => {
  const cases = {
    "the secret by which it knows messages again": layout.seenSecret,
    "who the sender is": layout.contacts,
    "a direct conversation it was added to": layout.conversations,
    "where to find that conversation": layout.pointers,
    "the message itself": layout.pending,
  };
  for (const [what, record] of Object.entries(cases)) {
    it(`gives up neither keys nor messages: ${what}`, async () => {
      const relay = await startRelay();
      const store = new SmallStore();
      const [bob, alice] = [await connected(relay, "bob", { store }), await connected(relay, "alice")];
      store.none = record;
      await alice.client.sendDirectMessage("bob", "one");
      await bob.message("one");
      expect(store.refused).toBe(1);
      expect(bob.texts).toEqual(["one"]);
      expect(bob.all("undecryptable")).toEqual([]);
      expect(bob.errors.filter((code) => code !== "storage-full")).toEqual([]);
      expect(unhandled).toEqual([]);
    });
  }
});

/** A conversation that goes as far as there is room. */
async function talk(alice: Actor, bob: Actor): Promise<void> {
  const tries: Promise<unknown>[] = [];
  tries.push(alice.client.sendDirectMessage("bob", "to bob"));
  tries.push(codeOf(bob.client.sendDirectMessage("alice", "to alice")));
  tries.push(alice.client.sendGroupMessage("team", "to all"));
  tries.push(codeOf(bob.client.sendGroupMessage("team", "from bob")));
  tries.push(codeOf(bob.client.createGroup("bobs", { timeout: 100 })));
  tries.push(codeOf(alice.client.invite("team", "carol", { timeout: 2_000 })));
  await Promise.all(tries);
}

describe("wherever the room ends", () => {
  it("nothing is half done, lost or said twice", { timeout: 120_000 }, async () => {
    let points = 0;
    for (let room = 0; room < 40; room += 1 + (room >> 3)) {
      const relay = await startRelay();
      const store = new SmallStore();
      const bob = await connected(relay, "bob", { store });
      const [alice, carol] = [await connected(relay, "alice"), await connected(relay, "carol")];
      await makeGroup("team", [alice, bob]);
      carol.client.on("invitation", (invitation) => invitation.accept());
      store.room = room;
      await talk(alice, bob);
      if (store.refused > 0) points++;
      // Once more while there is none.
      await codeOf(bob.client.sendGroupMessage("team", "lost for sure"));
      const isLost = store.refused > 0;
      store.room = Number.POSITIVE_INFINITY;
      await bob.message("to bob");
      await bob.message("to all");
      await bob.client.sendDirectMessage("alice", "last");
      await alice.message("last");
      await bob.client.sendGroupMessage("team", "last of all");
      await alice.message("last of all");
      await carol.message("last of all");
      const counts = new Map<unknown, number>();
      for (const text of [...alice.texts, ...bob.texts]) counts.set(text, (counts.get(text) ?? 0) + 1);
      expect([...counts].filter(([, count]) => count > 1)).toEqual([]);
      if (isLost) expect(bob.errors.filter((code) => code !== "storage-full")).toEqual([]);
      expect(bob.client.state).toBe("connected");
      await Promise.all([alice, bob, carol].map(({ client }) => client.close()));
    }
    expect(points).toBeGreaterThan(5);
    expect(unhandled).toEqual([]);
  });
});
