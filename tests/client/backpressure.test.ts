import { expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import type { Store } from "../../src/stores/store.js";
import { connectAll, connected, eventually, makeActor, makeGroup, startRelay } from "./harness.js";
import { TamperedConnector } from "./tamper.js";

/** A store whose writes wait while `closed` is pending. */
function gated(store: Store): Store & { closed: Promise<void> | undefined } {
  const gate = {
    closed: undefined as Promise<void> | undefined,
    async open(name: string) {
      const session = await store.open(name);
      const write = session.write.bind(session);
      session.write = async (changes) => {
        await gate.closed;
        return write(changes);
      };
      return session;
    },
  };
  return gate;
}

it("a client that cannot keep up cuts a log off, reads on later, and gets everything once and in order", async () => {
  const relay = await startRelay();
  const [alice] = await connectAll(relay, ["alice"]);
  const connector = new TamperedConnector();
  const store = gated(memoryStore());
  const options = {
    store,
    limits: { maxUnprocessedBytes: 32 * 1024 },
    seams: { connector, random: () => 0.1 },
  };
  const bob = await connected(relay, "bob", options);
  await makeGroup("team", [alice, bob]);

  const unsubscribed: string[] = [];
  connector.tamper = {
    fromClient: (frame) => {
      if (frame.type === "request" && frame.name === "unsubscribe") unsubscribed.push(frame.name);
      return undefined;
    },
  };
  let open = () => {};
  store.closed = new Promise((resolve) => {
    open = resolve;
  });
  const texts = Array.from({ length: 150 }, (_, i) => `${i} ${"x".repeat(1_000)}`);
  const ids: string[] = [];
  for (const text of texts) ids.push(await alice.client.sendGroupMessage("team", text));
  await alice.receipts(ids, "sent");
  await eventually(() => unsubscribed.length > 0, "bob cuts the log off");
  expect(bob.messages).toEqual([]);
  store.closed = undefined;
  open();
  await bob.until(() => bob.texts.length >= texts.length, "all texts");
  expect(bob.texts).toEqual(texts);
  expect(bob.errors).toEqual([]);
  expect(bob.all("disconnect")).toEqual([]);
  expect(bob.client.state).toBe("connected");
});

it("messages that waited for a long time are read in parts, an inbox too", async () => {
  const relay = await startRelay();
  const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
  const store = memoryStore();
  const first = await connected(relay, "bob", { store });
  await makeGroup("team", [alice, first]);
  await first.client.close();
  const texts = Array.from({ length: 60 }, (_, i) => `${i} ${"x".repeat(2_000)}`);
  const ids: string[] = [];
  for (const text of texts) ids.push(await alice.client.sendGroupMessage("team", text));
  await alice.receipts(ids, "sent");
  for (let i = 0; i < 10; i++) {
    await carol.client.createGroup(`group ${i}`);
    await carol.client.invite(`group ${i}`, "bob");
  }
  const bob = makeActor(relay, "bob", { store, limits: { maxUnprocessedBytes: 1 } });
  await bob.client.connect();
  await bob.until(() => bob.texts.length >= texts.length && bob.all("invitation").length >= 10, "everything");
  expect(bob.texts).toEqual(texts);
  expect(bob.errors).toEqual([]);
});
