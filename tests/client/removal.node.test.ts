import { describe, expect, it } from "vitest";
import type { Clock } from "../../src/base/clock.js";
import { toUtf8 } from "../../src/base/encoding.js";
import { type Attachment, type Message, memoryStore, type Store } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import {
  type Actor,
  connected,
  eventually,
  makeActor,
  makeGroup,
  startRelay,
  temporaryFolder,
} from "./harness.js";
import { Haystack } from "./secrets-search.js";

const HOUR = 3600 * 1000;

/** The machine's clock, with a part of the time left out when a test says so; long timers notice. */
class SkippingClock implements Clock {
  #ahead = 0;
  readonly #long = new Set<{ at: number; callback: () => void; cancel: () => void }>();

  now(): number {
    return Date.now() + this.#ahead;
  }

  after(ms: number, callback: () => void): () => void {
    const one = {
      at: this.now() + ms,
      callback,
      cancel: () => {
        clearTimeout(timer);
        this.#long.delete(one);
      },
    };
    const timer = setTimeout(() => {
      this.#long.delete(one);
      callback();
    }, ms);
    timer.unref();
    if (ms > 60_000) this.#long.add(one);
    return one.cancel;
  }

  skip(ms: number): void {
    this.#ahead += ms;
    for (const one of [...this.#long]) {
      if (one.at > this.now()) continue;
      one.cancel();
      one.callback();
    }
  }
}

/** Everything in a user's store, decrypted, keys and values. */
async function contents(relay: { url: string }, store: Store, userId: string): Promise<Haystack> {
  const session = await store.open(`${new URL(relay.url).href} ${userId}`);
  const records = await session.list("");
  await session.close();
  return new Haystack(records.flatMap(([key, value]) => [toUtf8(key), value]));
}

/** The secret text of a message; long enough to be looked for. */
const TEXT = "the treasure lies under the third oak";
const needle = (text: string) => [{ name: text, bytes: toUtf8(text) }];

const kinds = [
  ["memory", async () => memoryStore()],
  ["LMDB", async () => openStore(await temporaryFolder())],
] as const;

describe.each(kinds)("what is deleted, with a store in %s,", (_, open) => {
  it("is gone from all records of both sides of a conversation", async () => {
    const relay = await startRelay();
    const stores = [await open(), await open()] as const;
    const alice = await connected(relay, "alice", { history: true, store: stores[0] });
    const bob = await connected(relay, "bob", { history: true, store: stores[1], listen: false });
    await makeGroup("team", [alice, bob]);
    const sent = [
      await alice.client.sendDirectMessage("bob", `${TEXT} direct`),
      await alice.client.sendGroupMessage("team", `${TEXT} group`),
    ];
    await alice.receipts([sent[0] as string], "delivered", "bob");
    await alice.receipts([sent[1] as string], "sent");
    await eventually(async () => (await bob.client.history({ group: "team" })).length === 1);
    await relay.stop();
    await eventually(() => alice.client.state === "reconnecting");
    await alice.client.sendDirectMessage("bob", `${TEXT} waiting`);
    const close = (actors: readonly Actor[]) => Promise.all(actors.map(({ client }) => client.close()));
    await close([alice, bob]);
    // The search finds what is there: in the history, kept to be sent again, waiting to be sent or taken.
    expect((await contents(relay, stores[0], "alice")).find(needle(TEXT))).not.toEqual([]);
    expect((await contents(relay, stores[1], "bob")).find(needle(TEXT))).not.toEqual([]);

    const alice2 = makeActor(relay, "alice", { history: true, store: stores[0] });
    const bob2 = makeActor(relay, "bob", { history: true, store: stores[1], listen: false });
    for (const { client } of [alice2, bob2]) {
      await client.deleteMessages(client.userId === "alice" ? "bob" : "alice", "all");
      await client.deleteMessages({ group: "team" }, "all");
      await client.deleteMessages({ group: "team" }, "all");
    }
    await close([alice2, bob2]);
    const left = await contents(relay, stores[0], "alice");
    expect(left.find([...needle(TEXT), ...sent.flatMap(needle)])).toEqual([]);
    expect((await contents(relay, stores[1], "bob")).find(needle(TEXT))).toEqual([]);
  });
});

/** How many chunks of attachments a closed client has in its store. */
async function spooled(relay: { url: string }, store: Store, userId: string): Promise<number> {
  const session = await store.open(`${new URL(relay.url).href} ${userId}`);
  const kept = [...(await session.list("spool/")), ...(await session.list("download/"))];
  await session.close();
  return kept.length;
}

describe("what was fetched of an attachment goes with its message", () => {
  it.each(["deleted from the history", "kept for a time, without a history"])("that is %s", async (how) => {
    const relay = await startRelay();
    const clock = new SkippingClock();
    const seams = { clock, random: () => 0.1 };
    const store = memoryStore();
    const history = how.startsWith("deleted");
    const alice = await connected(relay, "alice", { seams });
    const bob = await connected(relay, "bob", { history, store, seams });
    if (!history) await alice.client.setDisappearing("bob", HOUR);
    await alice.client.sendDirectMessage("bob", new Blob([new Uint8Array(600_000)]));
    const [{ content }] = (await bob.count(1)) as [Message];
    // All of it is there, and nobody has read it to its end.
    await (content as Attachment).stream().getReader().read();
    await bob.client.close();
    expect(await spooled(relay, store, "bob")).toBe(4);
    if (!history) clock.skip(2 * HOUR);
    const bob2 = makeActor(relay, "bob", { history, store, seams });
    if (history) await bob2.client.deleteMessages("alice", "all");
    else expect(await bob2.client.history("alice")).toEqual([]);
    await bob2.client.close();
    expect(await spooled(relay, store, "bob")).toBe(0);
  });
});

describe("a group that was renamed", () => {
  it("keeps its history, what waits in it, and what disappears from it, under the new name", async () => {
    const relay = await startRelay();
    const clock = new SkippingClock();
    const seams = { clock, random: () => 0.1 };
    const store = memoryStore();
    const alice = await connected(relay, "alice", { history: true, seams });
    const bob = await connected(relay, "bob", { history: true, store, seams, listen: false });
    const texts = async ({ client }: Actor, group: string) =>
      (await client.history({ group })).map((one) => `${one.group} ${one.content}`);
    // A group that had the name before: to the app it is the same conversation.
    await alice.client.createGroup("crew");
    await alice.client.sendGroupMessage("crew", "long ago");
    await alice.client.deleteGroup("crew");
    await makeGroup("team", [alice, bob]);
    const first = await alice.client.sendGroupMessage("team", "first");
    await alice.client.setDisappearing({ group: "team" }, HOUR);
    const second = await alice.client.sendGroupMessage("team", "second");
    await eventually(async () => (await texts(bob, "team")).length === 2);
    await alice.client.renameGroup("team", "crew");
    await bob.event("groupUpdated", ({ group }) => group === "crew");
    const third = await alice.client.sendGroupMessage("crew", "third");
    await eventually(async () => (await texts(bob, "crew")).length === 3);
    expect(await texts(alice, "crew")).toEqual(["crew long ago", "crew first", "crew second", "crew third"]);
    const [, , page] = await alice.client.history({ group: "crew" });
    const before = { before: page?.position as number, limit: 2 };
    expect((await alice.client.history({ group: "crew" }, before)).map(({ content }) => content)).toEqual([
      "long ago",
      "first",
    ]);
    for (const actor of [alice, bob]) expect(await texts(actor, "team")).toEqual([]);
    await bob.client.close();

    const bob2 = await connected(relay, "bob", { history: true, store, seams, listen: false });
    expect(await texts(bob2, "crew")).toEqual(["crew first", "crew second", "crew third"]);
    await bob2.client.deleteMessages({ group: "crew" }, [first]);
    expect(await bob2.event("messagesDeleted")).toEqual({ group: "crew", ids: [first] });
    bob2.listen();
    expect((await bob2.message("second")).group).toBe("crew");
    expect(bob2.texts).not.toContain("first");
    await bob2.message("third");
    clock.skip(2 * HOUR);
    const gone = await bob2.event("messagesDeleted", ({ ids }) => !ids.includes(first));
    expect(gone).toEqual({ group: "crew", ids: [second, third] });
    expect(await texts(bob2, "crew")).toEqual([]);
    await alice.event("messagesDeleted", ({ ids }) => ids.includes(third));
    expect(await texts(alice, "crew")).toEqual(["crew long ago", "crew first"]);
    // Who takes the old name begins with nothing.
    await alice.client.createGroup("team");
    await alice.client.sendGroupMessage("team", "anew");
    expect(await texts(alice, "team")).toEqual(["team anew"]);
  });
});

describe("with time", () => {
  it("the history drops what is older than its retention, and nothing else", async () => {
    const relay = await startRelay();
    const clock = new SkippingClock();
    const store = memoryStore();
    const options = { history: { retention: 48 * HOUR }, store, seams: { clock, random: () => 0.1 } };
    const alice = await connected(relay, "alice", options);
    const bob = await connected(relay, "bob");
    const old = await alice.client.sendDirectMessage("bob", TEXT);
    await alice.receipts([old], "delivered", "bob");
    clock.skip(47 * HOUR);
    const young = await alice.client.sendDirectMessage("bob", "young");
    await alice.receipts([young], "delivered", "bob");
    expect(await alice.client.history("bob")).toHaveLength(2);
    clock.skip(7 * HOUR);
    expect(await alice.event("messagesDeleted")).toEqual({ user: "bob", ids: [old] });
    expect((await alice.client.history("bob")).map(({ id }) => id)).toEqual([young]);
    expect(bob.texts).toEqual([TEXT, "young"]);
    await alice.client.close();
    expect((await contents(relay, store, "alice")).find([...needle(TEXT), ...needle(old)])).toEqual([]);
  });

  it("messages disappear in a direct conversation that was begun anew as in the one before", async () => {
    const relay = await startRelay();
    const clock = new SkippingClock();
    const seams = { clock, random: () => 0.1 };
    const alice = await connected(relay, "alice", { history: true, seams });
    const bob = await connected(relay, "bob", { history: true, seams });
    await alice.receipts([await alice.client.sendDirectMessage("bob", "stays")], "delivered", "bob");
    await alice.client.setDisappearing("bob", HOUR);
    await bob.event("groupUpdated");
    await relay.restartEmpty();
    await Promise.all([alice, bob].map((actor) => actor.event("error", ({ code }) => code === "data-lost")));
    const ids = [await alice.client.sendDirectMessage("bob", "between")];
    await bob.message("between");
    ids.push(await bob.client.sendDirectMessage("alice", "answer"));
    await alice.message("answer");
    ids.push(await alice.client.sendDirectMessage("bob", "after"));
    await bob.message("after");
    clock.skip(2 * HOUR);
    for (const [actor, other] of [
      [alice, "bob"],
      [bob, "alice"],
    ] as const) {
      await actor.until(() => actor.all("messagesDeleted").flatMap((one) => one.ids).length === ids.length);
      expect((await actor.client.history(other)).map(({ content }) => content)).toEqual(["stays"]);
    }
  });

  it("messages disappear at both sides, whether a client runs then or is opened later", async () => {
    const relay = await startRelay();
    const clock = new SkippingClock();
    const seams = { clock, random: () => 0.1 };
    const stores = [memoryStore(), memoryStore()] as const;
    const alice = await connected(relay, "alice", { history: true, store: stores[0], seams });
    const bob = await connected(relay, "bob", { store: stores[1], seams, listen: false });
    await alice.receipts([await alice.client.sendDirectMessage("bob", "stays")], "delivered", "bob");
    await alice.client.setDisappearing("bob", HOUR);
    const id = await alice.client.sendDirectMessage("bob", TEXT);
    await alice.receipts([id], "delivered", "bob");
    // Bob's app takes nothing, and the client is closed when the time comes.
    await bob.client.close();
    clock.skip(HOUR - 60_000);
    expect(await alice.client.history("bob")).toHaveLength(2);
    clock.skip(2 * 60_000);
    expect(await alice.event("messagesDeleted")).toEqual({ user: "bob", ids: [id] });
    expect((await alice.client.history("bob")).map(({ content }) => content)).toEqual(["stays"]);
    const bob2 = await connected(relay, "bob", { store: stores[1], seams });
    await bob2.message("stays");
    expect(bob2.texts).toEqual(["stays"]);
    await Promise.all([alice.client.close(), bob2.client.close()]);
    for (const [at, name] of ["alice", "bob"].entries()) {
      const left = await contents(relay, stores[at as 0 | 1], name);
      expect(left.find(needle(TEXT))).toEqual([]);
    }
  });
});
