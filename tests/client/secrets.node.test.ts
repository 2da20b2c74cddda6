import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { toUtf8 } from "../../src/base/encoding.js";
import { memoryStore, SubrosaError } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { acquainted } from "./crash-scenes.js";
import { type Actor, connected, settledMembers, startRelay, temporaryFolder } from "./harness.js";
import { formsOf, Haystack, type Needle } from "./secrets-search.js";
import { Spy } from "./secrets-spy.js";

const TEXT = "meet me where the old mill stood, at nine";
const GROUP_TEXT = "bring the plans of the northern gate";
const GROUP = "the very secret garden society";
const BYTES = Uint8Array.from({ length: 3000 }, (_, i) => (i * i * 31 + i * 7 + 11) & 255);
/** Users have names that the relay is to see: the canary in each form. Its base64 has characters of both alphabets. */
const CANARY = toUtf8("canary ~~~???>>>?? in the mine");

function plaintexts(ids: readonly string[]): Needle[] {
  return [
    { name: "direct text", bytes: toUtf8(TEXT) },
    { name: "direct text's middle", bytes: toUtf8(TEXT.slice(9, 30)) },
    { name: "group text", bytes: toUtf8(GROUP_TEXT) },
    { name: "group name", bytes: toUtf8(GROUP) },
    { name: "bytes", bytes: BYTES.slice(0, 24) },
    { name: "bytes' middle", bytes: BYTES.slice(1500, 1524) },
    { name: "bytes' end", bytes: BYTES.slice(-24) },
    ...ids.map((id) => ({ name: "message id", bytes: new Uint8Array(Buffer.from(id, "hex")) })),
  ];
}

async function filesUnder(folder: string): Promise<{ name: string; bytes: Uint8Array }[]> {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((one) =>
    one.isFile(),
  );
  return Promise.all(
    files.map(async ({ parentPath, name }) => ({ name, bytes: await readFile(join(parentPath, name)) })),
  );
}

/** Two users say everything that can be said, and change keys while they do; the ids of their messages. */
async function wholeConversation(alice: Actor, bob: Actor, carol: Actor): Promise<string[]> {
  const ids: string[] = [];
  const say = async (sending: Promise<string>, ...to: Actor[]) => {
    const id = await sending;
    ids.push(id);
    await Promise.all(to.map((one) => one.until(() => one.messages.find((message) => message.id === id))));
  };
  await say(alice.client.sendDirectMessage("bob", TEXT), bob);
  await say(bob.client.sendDirectMessage("alice", BYTES), alice);
  await alice.client.createGroup(GROUP);
  const joining = bob.client.joinGroup(GROUP);
  await (await alice.event("joinRequest")).approve();
  await joining;
  await alice.client.invite(GROUP, "carol");
  await (await carol.event("invitation")).accept();
  await settledMembers(GROUP, [alice, bob, carol]);
  await say(alice.client.sendGroupMessage(GROUP, GROUP_TEXT), bob, carol);
  await say(carol.client.sendGroupMessage(GROUP, BYTES), alice, bob);
  await alice.client.remove(GROUP, "carol");
  await carol.event("groupLeave");
  await say(bob.client.sendGroupMessage(GROUP, GROUP_TEXT), alice);
  await bob.client.leaveGroup(GROUP);
  await settledMembers(GROUP, [alice]);
  await alice.client.deleteGroup(GROUP);
  return ids;
}

describe("a whole conversation", () => {
  it("shows neither the relay nor the wire nor a store's files any plaintext or key", async () => {
    const [data, aliceFolder, bobFolder] = await Promise.all([
      temporaryFolder(),
      temporaryFolder(),
      temporaryFolder(),
    ]);
    const wire: Uint8Array[] = [];
    const relay = await startRelay({ data, onFrame: ({ bytes }) => void wire.push(bytes.slice()) });
    const spies = { alice: new Spy("alice"), bob: new Spy("bob"), carol: new Spy("carol") };
    const alice = await connected(relay, "alice", {
      history: true,
      store: spies.alice.over(await openStore(aliceFolder)),
    });
    const bob = await connected(relay, "bob", {
      history: true,
      store: spies.bob.over(await openStore(bobFolder)),
    });
    const carol = await connected(relay, "carol", { store: spies.carol.over(memoryStore()) });
    const ids = await wholeConversation(alice, bob, carol);
    for (const { client } of [alice, bob, carol]) await client.close();

    // The canary goes the way of everything else, in each form.
    const forms = formsOf(CANARY);
    for (const encoded of forms.values()) {
      const { client } = await connected(relay, `user ${Buffer.from(encoded)}`);
      await client.close();
    }
    await relay.stop();

    const said = plaintexts(ids);
    const keys = Object.values(spies).flatMap((spy) => [...spy.needles.values()]);
    const canary = [{ name: "canary", bytes: CANARY }];
    const seen = [...forms.keys()].map((form) => `canary (${form})`);

    const onTheWire = new Haystack(wire);
    const atTheRelay = new Haystack((await filesUnder(data)).map(({ bytes }) => bytes));
    expect(onTheWire.find(canary)).toEqual(seen);
    expect(atTheRelay.find(canary)).toEqual(seen);

    // What is looked for is what there was: the clients' own values hold all of it.
    const inTheClear = new Haystack(Object.values(spies).flatMap((spy) => spy.values));
    const device = keys.filter(
      ({ name }) => name.startsWith("device scalar") || name.startsWith("account scalar"),
    );
    expect(device.length).toBe(6);
    const hidden = [...said, ...keys];
    const plain = new Set(inTheClear.find(hidden));
    for (const { name } of hidden) {
      if (!name.startsWith("device scalar")) expect([...plain], name).toContain(`${name} (raw)`);
    }
    expect([...new Set(keys.map(({ name }) => name.replace(/ of .*/, "")))].sort()).toEqual([
      "account key as PKCS #8",
      "account scalar",
      "confirmationKey",
      "device scalar",
      "epochAuthenticator",
      "exporterSecret",
      "externalSecret",
      "init key",
      "initSecret",
      "key package's leaf key",
      "membershipKey",
      "ratchet secret",
      "resumption psk",
      "resumptionPsk",
      "senderDataSecret",
      "tree secret",
      "tree's private key",
    ]);

    expect(onTheWire.find(hidden)).toEqual([]);
    expect(atTheRelay.find(hidden)).toEqual([]);

    // A client's own files: all but the key file itself, whose content they must not hold either.
    const own = await Promise.all([aliceFolder, bobFolder].map(filesUnder));
    const storeKeys = own.flat().filter(({ name }) => name === "store.key");
    expect(storeKeys.length).toBe(2);
    const locked = storeKeys.map(({ bytes }) => ({ name: "store key", bytes }));
    const files = own.flat().filter(({ name }) => name !== "store.key");
    const stored = new Haystack(files.map(({ bytes }) => bytes));
    expect(stored.size).toBeGreaterThan(50_000);
    // Ids of received messages stand in record keys, so that they can be looked up: they say nothing.
    const secret = [...said.filter(({ name }) => name !== "message id"), ...keys, ...locked];
    expect(stored.find(secret)).toEqual([]);
    expect(onTheWire.find(locked)).toEqual([]);
    expect(atTheRelay.find(locked)).toEqual([]);
    // The names of users are known to the relay, but not written on the disk of their friends.
    expect(stored.find([{ name: "relay and user", bytes: toUtf8(relay.url) }])).toEqual([]);
  });

  it("in memory shows a relay no more, and the wire neither", async () => {
    const world = await acquainted("alice", "bob")();
    for (const user of ["alice", "bob"]) world.start(user);
    await world.settle();
    world.send("alice", ["bob"], TEXT);
    world.call("alice", (client) => client.createGroup(GROUP));
    await world.settle();
    world.call("bob", (client) => client.joinGroup(GROUP));
    await world.settle();
    world.send("alice", ["bob"], GROUP_TEXT, GROUP);
    await world.settle();
    expect(world.failures).toEqual([]);
    expect(world.device("bob").taken.map(({ content }) => content)).toEqual([TEXT, GROUP_TEXT]);
    const said = plaintexts(world.sends.map(({ id }) => id as string)).filter(
      ({ name }) => !name.startsWith("bytes"),
    );
    const views = {
      wire: new Haystack(world.frames.map(({ bytes }) => bytes)),
      relay: new Haystack(
        [...world.relayBytes].flatMap(([key, bytes]) => [Buffer.from(key, "latin1"), bytes]),
      ),
    };
    for (const view of Object.values(views)) {
      expect(view.size).toBeGreaterThan(10_000);
      // User names are no secret from the relay: the search sees what is there.
      expect(view.find(said)).toEqual([]);
    }
    const own = new Haystack(
      ["alice", "bob"].flatMap((user) =>
        world
          .device(user)
          .place.under("")
          .map(([, bytes]) => bytes),
      ),
    );
    expect(own.find(said.slice(0, 1))).toEqual(["direct text (raw)"]);
  });
});

describe("an error", () => {
  it("says nothing of what was written, and no key", async () => {
    const said: string[] = [];
    const tell = (value: unknown): void => {
      if (value instanceof Error) {
        said.push(value.message, value.stack ?? "", String((value as SubrosaError).rule ?? ""));
        tell(value.cause);
      } else if (value !== undefined)
        said.push(
          JSON.stringify(value, (_, one) =>
            one instanceof Uint8Array ? Buffer.from(one).toString("hex") : one,
          ) ?? "",
        );
    };
    const world = await acquainted("alice", "bob")();
    world.options = { limits: { maxMessageBytes: 100 } };
    for (const user of ["alice", "bob"]) world.start(user);
    await world.settle();
    const fails = (
      call: (client: NonNullable<ReturnType<typeof world.device>["life"]>["client"]) => Promise<unknown>,
    ) =>
      world.call("alice", async (client) => {
        await call(client).then(
          () => world.failures.push("did not fail"),
          (error) => {
            if (!SubrosaError.is(error)) world.failures.push(`${error}`);
            tell(error);
          },
        );
      });
    fails((client) => client.sendDirectMessage("bob", TEXT.repeat(5)));
    fails((client) => client.sendGroupMessage("no such group", TEXT));
    fails((client) => client.sendDirectMessage("bob", TEXT, { fingerprint: "00".repeat(32) }));
    fails((client) => client.sendDirectMessage("bob", [TEXT] as unknown as string));
    fails((client) => client.sendDirectMessage("alice", TEXT));
    await world.settle();
    world.send("alice", ["bob"], TEXT);
    // Every entry arrives damaged.
    world.transform = (user, direction, bytes) => {
      if (user !== "bob" || direction !== "in" || bytes[0] !== 0x30) return bytes;
      const damaged = bytes.slice();
      damaged[damaged.length - 40] = (damaged[damaged.length - 40] as number) ^ 1;
      return damaged;
    };
    await world.settle();
    const { events, taken } = world.device("bob");
    expect(taken).toEqual([]);
    expect(events.map(({ name }) => name)).toContain("undecryptable");
    for (const { event } of events) tell(event);
    expect(world.failures).toEqual([]);
    expect(said.length).toBeGreaterThan(15);
    const told = new Haystack(said.map(toUtf8));
    const [id] = world.sends.map((sent) => sent.id as string);
    const hidden = [
      ...plaintexts([id as string]),
      { name: "text's beginning", bytes: toUtf8(TEXT.slice(0, 12)) },
    ];
    expect(told.find(hidden)).toEqual([]);
    // The search does find what an error would say.
    tell(new SubrosaError("malformed", `not a message: ${TEXT}`));
    expect(new Haystack(said.map(toUtf8)).find(hidden)).toContain("direct text (raw)");
  });
});

describe("the search", () => {
  it("finds bytes in every form wherever they stand", () => {
    for (let before = 0; before < 7; before++) {
      for (let after = 0; after < 4; after++) {
        const padded = Buffer.concat([Buffer.alloc(before, 7), CANARY, Buffer.alloc(after, 9)]);
        for (const encoding of ["hex", "base64", "base64url", "latin1"] as const) {
          const found = new Haystack([toUtf8(padded.toString(encoding))]).find([
            { name: "c", bytes: CANARY },
          ]);
          expect(found.length, `${encoding} ${before} ${after}`).toBeGreaterThan(0);
        }
      }
    }
    expect(new Haystack([toUtf8("nothing of it")]).find([{ name: "c", bytes: CANARY }])).toEqual([]);
  });
});
