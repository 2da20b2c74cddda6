import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import { decodeClientFrame, type RelayFrame } from "../../src/wire/frames.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import type { BodyOf, ResultOf } from "../../src/wire/requests.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
  type TestRelay,
  temporaryFolder,
} from "./harness.js";
import { RawMember } from "./raw-member.js";
import { numbered, relayWithBackups, sent } from "./relay-backup.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

/** Everybody has a word, which all others get: they are in the same epoch of the same group. */
async function agree(word: string, actors: readonly Actor[]): Promise<void> {
  await settledMembers("team", actors);
  for (const { client, userId } of actors) await client.sendGroupMessage("team", `${word} of ${userId}`);
  for (const actor of actors) {
    for (const { userId } of actors) if (userId !== actor.userId) await actor.message(`${word} of ${userId}`);
  }
}

const once = (actor: Actor, texts: readonly string[]) => {
  const counts = texts.map((text) => [text, actor.texts.filter((one) => one === text).length]);
  expect([actor.userId, ...counts]).toEqual([actor.userId, ...texts.map((text) => [text, 1])]);
};

const quiet = (actor: Actor) => {
  expect(actor.all("groupLeave")).toEqual([]);
  expect(actor.all("undecryptable")).toEqual([]);
  expect(actor.all("receipt").filter(({ state }) => state === "failed")).toEqual([]);
};

it("a relay that is set back twice to one day, and then to an earlier one, is brought up to date each time", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  const store = memoryStore();
  const away = await connected(relay, "carol", { store });
  await makeGroup("team", [alice, bob, away]);
  await away.client.close();
  const say = async (word: string) => {
    const texts = numbered(word, 3);
    for (const text of texts) await alice.client.sendGroupMessage("team", text);
    await bob.message(texts[2] as string);
    return texts;
  };
  const texts = await say("before");
  await backUp("old");
  await alice.client.setJoinMode("team", "open");
  texts.push(...(await say("between")));
  await bob.client.sendGroupMessage("team", "bob between");
  await alice.message("bob between");
  await backUp("new");
  await alice.client.setJoinMode("team", "closed");
  texts.push(...(await say("after")));
  await restore("new");
  texts.push(...(await say("once restored")));
  await alice.client.setJoinMode("team", "open");
  await restore("new");
  texts.push(...(await say("twice restored")));
  await restore("old");
  texts.push(...(await say("older restored")));
  await alice.client.setJoinMode("team", "approval");
  await restore("old");
  texts.push(...(await say("at last")));
  const carol = await connected(relay, "carol", { store });
  await carol.message("at last 2");
  await agree("a word", [alice, bob, carol]);
  once(bob, texts);
  once(carol, [...texts, "bob between"]);
  once(alice, ["bob between"]);
  for (const actor of [alice, bob, carol]) {
    quiet(actor);
    expect((await actor.client.groups())[0]?.join).toBe("approval");
  }
});

it.each([1, 2, 3, 4, 5])(
  "a relay that is set back again at append %i of those that bring it up to date",
  async (at) => {
    const { relay, backUp, restore } = await relayWithBackups();
    const stores = { alice: memoryStore(), bob: memoryStore(), carol: memoryStore() };
    const [alice, bob] = [
      await connected(relay, "alice", { store: stores.alice }),
      await connected(relay, "bob", { store: stores.bob }),
    ];
    const away = await connected(relay, "carol", { store: stores.carol });
    await makeGroup("team", [alice, bob, away]);
    await backUp();
    await away.client.close();
    const toAll = numbered("to all", 4);
    await alice.client.setJoinMode("team", "open");
    for (const text of toAll.slice(0, 2)) await alice.client.sendGroupMessage("team", text);
    await alice.client.setJoinMode("team", "closed");
    for (const text of toAll.slice(2)) await alice.client.sendGroupMessage("team", text);
    await bob.client.sendGroupMessage("team", "of bob");
    await Promise.all([alice.message("of bob"), bob.message("to all 3")]);

    // The relay goes away in the middle of what the clients put back, and has lost it again.
    let appends = Number.NaN;
    let reached = () => {};
    const middle = new Promise<void>((resolve) => {
      reached = resolve;
    });
    await relay.restart({
      onFrame: ({ direction, bytes }) => {
        const frame = direction === "in" ? decodeClientFrame(bytes.slice()) : undefined;
        if (frame?.type !== "request" || frame.name !== "append") return;
        if (frame.body.log.kind === LogKind.group && ++appends === at) reached();
      },
    });
    await restore("yesterday", async () => {
      appends = 0;
    });
    await middle;
    await restore();
    const carol = await connected(relay, "carol", { store: stores.carol });
    await carol.message("of bob");
    await carol.message("to all 3");
    await agree("a word", [alice, bob, carol]);
    once(carol, [...toAll, "of bob"]);
    once(bob, toAll);
    for (const actor of [alice, bob, carol]) quiet(actor);
  },
);

it("who changed the group last, and finds that the others went on without that, is added anew and loses nothing it wrote", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  let alice = await connected(relay, "alice", { store: stores.alice });
  let bob = await connected(relay, "bob", { store: stores.bob });
  await makeGroup("team", [alice, bob]);
  await alice.client.promote("team", "bob");
  await agree("first", [alice, bob]);
  await backUp();
  await alice.client.close();
  await bob.client.setJoinMode("team", "open");
  await bob.client.sendGroupMessage("team", "for alice");
  await sent(bob, 2);
  await bob.client.close();
  await restore();
  alice = await connected(relay, "alice", { store: stores.alice });
  await alice.client.setJoinMode("team", "closed");
  bob = await connected(relay, "bob", { store: stores.bob });
  await alice.message("for alice");
  await agree("last", [alice, bob]);
  once(alice, ["for alice"]);
  // Once more, to before that: their keys are of use again, or they are added anew again.
  await restore();
  await agree("at last", [alice, bob]);
  once(alice, ["for alice"]);
});

describe("who finds that the others went on", () => {
  /** Bob, who knows a commit that the relay has lost, and alice, who went on without it: three messages, and `last`. */
  async function stranded(last: (alice: Actor) => Promise<unknown>) {
    const { relay, backUp, restore } = await relayWithBackups();
    const stores = { alice: memoryStore(), bob: memoryStore() };
    const clock = new SkipClock();
    let alice = await connected(relay, "alice", { store: stores.alice });
    let bob = await connected(relay, "bob", { store: stores.bob });
    await makeGroup("team", [alice, bob]);
    await alice.client.promote("team", "bob");
    await agree("first", [alice, bob]);
    await backUp();
    await alice.client.close();
    await bob.client.setJoinMode("team", "open");
    await bob.client.close();
    await restore();
    alice = await connected(relay, "alice", { store: stores.alice });
    await alice.client.setJoinMode("team", "closed");
    for (const text of numbered("missed", 3)) await alice.client.sendGroupMessage("team", text);
    await sent(alice, 3);
    await last(alice);
    await alice.client.close();
    bob = await connected(relay, "bob", { store: stores.bob, seams: { clock, random: () => 0.1 } });
    await bob.event("error", ({ code }) => code === "data-lost");
    const until = (isSo: () => boolean, ...others: readonly Actor[]) =>
      eventually(async () => {
        await clock.skip(4_000, () => settle(bob, ...others));
        return isSo();
      });
    return { bob, until, comeBack: () => connected(relay, "alice", { store: stores.alice }) };
  }

  it("and that the group is deleted before it is added anew, is told what went by", async () => {
    const { bob, until } = await stranded((alice) => alice.client.deleteGroup("team"));
    await until(() => bob.all("groupLeave").length > 0);
    expect(bob.all("groupLeave")).toEqual([{ group: "team", reason: "lost" }]);
    expect(await bob.event("undecryptable")).toEqual({ group: "team", reason: "cursor-mismatch", missed: 3 });
  });

  it("and that nobody is there who adds it anew, is told what went by all the same, once", async () => {
    const { bob, until, comeBack } = await stranded(async () => {});
    await until(() => bob.all("undecryptable").length > 0);
    expect(bob.all("undecryptable")).toEqual([{ group: "team", reason: "cursor-mismatch", missed: 3 }]);
    const alice = await comeBack();
    await alice.client.sendGroupMessage("team", "back");
    await until(() => bob.texts.includes("back") || bob.all("undecryptable").length > 1, alice);
    await alice.client.sendGroupMessage("team", "again");
    await bob.message("again");
    const told = bob.all("undecryptable").reduce((sum, { missed = 1 }) => sum + missed, 0);
    expect(told + bob.texts.filter((text) => text === "back").length).toBe(4);
  });
});

it("a machine that is set back as a whole, relay and member, uses keys again: the others say so, and it is heard again", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
  const clock = new SkipClock();
  let alice = await connected(relay, "alice", { store: await openStore(original) });
  let welcomes = 0;
  const connector = new TamperedConnector({
    fromClient: (frame) => {
      if (frame.type === "request" && frame.name === "fetchBundle") welcomes++;
      return undefined;
    },
  });
  const bob = await connected(relay, "bob", { seams: { clock, connector, random: () => 0.1 } });
  await makeGroup("team", [alice, bob]);
  await agree("first", [alice, bob]);
  await alice.client.close();
  await cp(original, copy, { recursive: true });
  await backUp();
  alice = await connected(relay, "alice", { store: await openStore(original) });
  for (const text of numbered("lost", 3)) await alice.client.sendGroupMessage("team", text);
  await bob.message("lost 2");
  await alice.client.close();
  await restore();
  alice = await connected(relay, "alice", { store: await openStore(copy) });
  await bob.event("error", ({ code }) => code === "data-lost");
  for (const text of numbered("unreadable", 3)) await alice.client.sendGroupMessage("team", text);
  await sent(alice, 3);
  await bob.until(() => bob.all("undecryptable").length >= 3);
  expect(bob.texts.filter((text) => `${text}`.startsWith("unreadable"))).toEqual([]);
  // He asks to be added anew, as a row of them is none of chance, and is let in by a commit.
  const before = welcomes;
  await eventually(async () => {
    await clock.skip(4_000, () => settle(bob, alice));
    return welcomes > before;
  });
  await alice.client.sendGroupMessage("team", "readable");
  await bob.message("readable");
  expect(bob.all("undecryptable").reduce((sum, { missed = 1 }) => sum + missed, 0)).toBe(3);
});

it("what was sent before somebody joined does not come to them when the relay is set back twice", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore() };
  const alice = await connected(relay, "alice", { store: stores.alice });
  const bob = await connected(relay, "bob", { store: stores.bob });
  await alice.client.createGroup("team", { join: "open" });
  await bob.client.joinGroup("team");
  await backUp("before it");
  await bob.client.close();
  const id = await alice.client.sendGroupMessage("team", "secret");
  await alice.receipts([id], "sent");
  await backUp("with it");
  const eve = await connected(relay, "eve");
  await eve.client.joinGroup("team");
  await alice.client.sendGroupMessage("team", "welcome");
  await eve.message("welcome");
  await restore("with it");
  await alice.client.sendGroupMessage("team", "once");
  await eve.message("once");
  await restore("before it");
  await alice.client.sendGroupMessage("team", "twice");
  await eve.message("twice");
  expect(eve.texts).toEqual(["welcome", "once", "twice"]);
  await alice.event("receipt", ({ ids, code }) => ids.includes(id) && code === "data-lost");
});

it("a group whose name somebody else has taken since the relay lost it is over, and holds up nothing else", async () => {
  const { relay, backUp, restore } = await relayWithBackups();
  const store = memoryStore();
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  await backUp();
  const carol = await connected(relay, "carol", { store });
  await carol.client.createGroup("team");
  await carol.client.close();
  await restore();
  await makeGroup("team", [alice, bob]);
  const again = makeActor(relay, "carol", { store });
  await again.client.sendGroupMessage("team", "to nobody").catch(() => {});
  await again.client.connect();
  expect(await again.event("groupLeave")).toEqual({ group: "team", reason: "lost" });
  await again.client.sendDirectMessage("bob", "hello");
  await bob.message("hello");
  expect(again.errors).toEqual(["data-lost"]);
});

describe("a relay that feigns a loss to one member", () => {
  type Head = ResultOf<"subscribe">;
  type Ask = BodyOf<"subscribe">;
  const isNamed = ({ cursor }: Ask) => cursor.seq > 0;
  /** All that was there when it is asked first; not the place at which the member is added anew. */
  const everything = () => {
    let end: number | undefined;
    return ({ cursor }: Ask) => {
      end ??= cursor.seq;
      return cursor.seq <= end;
    };
  };

  const isEntries = (frame: RelayFrame) => frame.type === "entries" && frame.log.kind === LogKind.group;

  /** From the next connection on it does not know the places in groups' logs that are `lost`; of others it says what is `told`. */
  function feign(
    connector: TamperedConnector,
    lost: (ask: Ask) => boolean,
    told?: (head: Head) => Head,
    withheld: (frame: RelayFrame) => boolean = () => false,
  ): void {
    const refused = new Set<number>();
    connector.tamper = {
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "subscribe") return undefined;
        if (frame.body.log.kind === LogKind.group && lost(frame.body)) refused.add(frame.id);
        return undefined;
      },
      fromRelay(frame) {
        if (withheld(frame)) return [];
        if (frame.type !== "reply" || !refused.has(frame.id)) return undefined;
        return [{ type: "refuse", id: frame.id, code: "cursor-mismatch", reason: "lost" }];
      },
      replies: { subscribe: (head, { log }) => (log.kind === LogKind.group ? told?.(head) : undefined) },
    };
    connector.inject(new Uint8Array(0));
  }

  /** Bob's relay can lie to him. He has told alice a secret. */
  async function told() {
    const relay = await startRelay();
    const connector = new TamperedConnector();
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { seams: { random: () => 0.1, connector } });
    await makeGroup("team", [alice, bob]);
    const secret = await bob.client.sendGroupMessage("team", "secret");
    await alice.message("secret");
    return { relay, connector, alice, bob, secret };
  }

  async function invited(relay: TestRelay, by: Actor): Promise<Actor> {
    const dave = await connected(relay, "dave");
    await by.client.invite("team", "dave");
    await (await dave.event("invitation")).accept();
    return dave;
  }

  const say = async (from: Actor, to: Actor, text: string) => {
    await from.client.sendGroupMessage("team", text);
    await to.message(text);
  };

  it("does not make it send to who came in later what it sent before", async () => {
    const { relay, connector, alice, bob, secret } = await told();
    const dave = await invited(relay, alice);
    await settledMembers("team", [alice, bob, dave]);
    await say(bob, dave, "hello dave");
    feign(connector, everything());
    await bob.event("error", ({ code }) => code === "cursor-mismatch");
    await say(bob, dave, "after it");
    expect(dave.texts).toEqual(["hello dave", "after it"]);
    await bob.event("receipt", ({ ids, code }) => ids.includes(secret) && code === "data-lost");
  });

  it("nor by two, the first of which names an end too early", async () => {
    const { relay, connector, alice, bob, secret } = await told();
    const dave = await invited(relay, alice);
    await settledMembers("team", [alice, bob, dave]);
    await say(bob, dave, "hello dave");
    feign(connector, isNamed, (head) => ({ ...head, head: head.from }));
    await bob.event("error", ({ code }) => code === "data-lost");
    connector.tamper = {};
    await say(bob, dave, "after the first");
    feign(connector, everything());
    await bob.event("error", ({ code }) => code === "cursor-mismatch");
    await say(bob, dave, "after the second");
    expect(dave.texts).toEqual(["hello dave", "after the first", "after the second"]);
    await bob.event("receipt", ({ ids, code }) => ids.includes(secret) && code === "data-lost");
  });

  it("nor by keeping back what is sent again until somebody has come in", async () => {
    const { relay, connector, alice, bob, secret } = await told();
    feign(connector, everything());
    const { tamper } = connector;
    const again = new Promise<void>((resolve) => {
      connector.tamper = {
        ...tamper,
        fromClient(frame, bytes) {
          if (frame.type !== "request" || frame.name !== "append") return tamper.fromClient?.(frame, bytes);
          if (frame.body.entry.kind !== EntryKind.application) return undefined;
          resolve();
          return [];
        },
      };
    });
    await again;
    const dave = await invited(relay, alice);
    await bob.event("receipt", ({ ids, code }) => ids.includes(secret) && code === "data-lost");
    connector.tamper = {};
    connector.inject(new Uint8Array(0));
    await say(bob, dave, "after it");
    expect(dave.texts).toEqual(["after it"]);
  });

  it("nor hides by an end named too late that somebody's message cannot be read", async () => {
    const { relay, connector, alice, bob } = await told();
    const mallory = await RawMember.connect(relay, "mallory");
    await alice.client.invite("team", "mallory");
    await mallory.join();
    await bob.event("memberJoin");
    feign(connector, isNamed, (head) => ({ ...head, head: { ...head.head, seq: head.head.seq + 1_000 } }));
    await bob.event("error", ({ code }) => code === "data-lost");
    await mallory.append({ kind: EntryKind.application, payload: randomBytes(300) });
    await bob.event("undecryptable");
  });

  it("but where nobody came in, it is sent again, and is there once", async () => {
    const { connector, alice, bob } = await told();
    feign(connector, everything());
    await bob.event("error", ({ code }) => code === "cursor-mismatch");
    await say(bob, alice, "after it");
    expect(alice.texts).toEqual(["secret", "after it"]);
    quiet(bob);
  });

  it("does not move it on over messages without a word", async () => {
    const { connector, alice, bob } = await told();
    await alice.client.setJoinMode("team", "open");
    await say(alice, bob, "read");
    connector.tamper = { fromRelay: (frame) => (isEntries(frame) ? [] : undefined) };
    for (const text of numbered("withheld", 5)) await alice.client.sendGroupMessage("team", text);
    await sent(alice, 6);
    feign(connector, isNamed, ({ head }) => ({ head, from: head }), isEntries);
    await bob.until(() => bob.errors.length > 0);
    connector.tamper = {};
    await say(bob, alice, "bob is here");
    await say(alice, bob, "and alice");
    const missed = bob.all("undecryptable").reduce((sum, one) => sum + (one.missed ?? 0), 0);
    const read = bob.texts.filter((text) => numbered("withheld", 5).includes(text as string));
    expect(read.length + missed).toBe(5);
  });
});
