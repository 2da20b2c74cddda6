import { beforeEach, describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { equalBytes } from "../../src/base/bytes.js";
import type { RelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { ResultOf } from "../../src/wire/requests.js";
import { type Actor, connected, eventually, makeGroup, startRelay } from "./harness.js";
import { SkipClock } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

type Head = ResultOf<"subscribe">;

let alice: Actor;
let bob: Actor;
let clock: SkipClock;
let connector: TamperedConnector;
/** The log that the relay lies about: that of the group "lied". */
let log: Bytes;
let sent = 0;

/** What bob says in a group; alice hears it or not. */
const say = async (group: string) => {
  const text = `${group} ${sent++}`;
  await bob.client.sendGroupMessage(group, text);
  return text;
};

const isLied = (one: { readonly kind: number; readonly id: Bytes }) =>
  one.kind === LogKind.group && equalBytes(one.id, log);

/** The relay's answers about the log are these from now on, which begins with a new connection. */
async function lie(fromRelay: TamperedConnector["tamper"]["fromRelay"], subscribe?: (head: Head) => Head) {
  connector.tamper = {
    ...(fromRelay && { fromRelay }),
    ...(subscribe && {
      replies: { subscribe: (result, body) => (isLied(body.log) ? subscribe(result) : undefined) },
    }),
  };
  const before = bob.all("connect").length;
  connector.inject(new Uint8Array(0));
  await bob.until(() => bob.all("connect").length > before);
}

/** Lets the time go by, with an answer of the relay after every few seconds of it. */
const pass = (seconds: number) =>
  clock.skip(seconds * 1000, async () => {
    await eventually(() => bob.client.state === "connected");
    await bob.client.blocked().catch(() => {});
  });

const higher = (head: Head): Head => ({ ...head, head: { ...head.head, seq: head.head.seq + 1000 } });

/** Bob is told, the connection is replaced, and nothing else was held up meanwhile. */
async function isNoticed(within: number): Promise<void> {
  const [errors, connections] = [bob.errors.length, connector.connections];
  const held = await say("lied");
  await alice.message(await say("free"));
  await pass(within - 5);
  expect(bob.errors.slice(errors)).toEqual([]);
  expect(connector.connections).toBe(connections);
  await pass(10);
  expect(bob.errors.slice(errors)).toEqual(["timeout"]);
  await eventually(() => connector.connections === connections + 1);
  expect(bob.all("disconnect").at(-1)).toMatchObject({ willReconnect: true });
  await alice.message(await say("free"));
  expect(alice.texts).not.toContain(held);
}

/** The relay has stopped lying: everything comes, once. */
async function goesOn(): Promise<void> {
  connector.tamper = {};
  await pass(700);
  await alice.client.sendGroupMessage("lied", "last of alice");
  await bob.message("last of alice");
  await alice.message(await say("lied"));
  expect(alice.texts.length).toBe(sent);
  expect(new Set(alice.texts).size).toBe(sent);
}

beforeEach(async () => {
  const relay = await startRelay();
  sent = 0;
  clock = new SkipClock();
  connector = new TamperedConnector();
  alice = await connected(relay, "alice");
  bob = await connected(relay, "bob", { seams: { clock, connector, random: () => 0.1 } });
  await makeGroup("free", [alice, bob]);
  await makeGroup("lied", [alice, bob]);
  connector.tamper = {
    fromClient(frame) {
      if (frame.type === "request" && frame.name === "append") log = frame.body.log.id;
      return undefined;
    },
  };
  await alice.message(await say("free"));
  await alice.message(await say("lied"));
});

describe("a relay that claims more of a log than it sends", () => {
  it("loses the connection within 20 s, less often each time, and holds up nothing else", async () => {
    await lie(undefined, higher);
    await isNoticed(20);
    await isNoticed(40);
    const connections = connector.connections;
    await pass(600);
    expect(connector.connections - connections).toBeLessThanOrEqual(4);
    await goesOn();
  });

  it("with pages that are empty for ever: the same", async () => {
    await lie((frame) => {
      if (frame.type === "pong" || frame.type === "reply") {
        const empty = { type: "entries", log: { kind: LogKind.group, id: log }, entries: [] } as const;
        return [frame, empty, empty, empty];
      }
      return undefined;
    }, higher);
    await isNoticed(20);
    await goesOn();
  });

  it("with pages that repeat: the same, and nothing comes twice", async () => {
    const page: RelayFrame[] = [];
    await lie((frame) => {
      if (frame.type === "entries" && isLied(frame.log)) page[0] ??= frame;
      return frame.type === "reply" || frame.type === "pong" ? [frame, ...page, ...page, ...page] : undefined;
    });
    await alice.client.sendGroupMessage("lied", "repeated");
    await bob.message("repeated");
    connector.tamper = {
      ...connector.tamper,
      replies: { subscribe: (head, { log }) => (isLied(log) ? higher(head) : undefined) },
    };
    connector.inject(new Uint8Array(0));
    await eventually(() => bob.all("connect").length === 3);
    await isNoticed(20);
    await goesOn();
    expect(bob.texts).toEqual(["repeated", "last of alice"]);
  });

  it("and sends what is really there: that is taken in", async () => {
    await lie(undefined, higher);
    await alice.client.sendGroupMessage("lied", "read all the same");
    await bob.message("read all the same");
    await goesOn();
  });

  it("and never answers when it is asked for the log: the same", async () => {
    const asked = new Set<number>();
    await lie((frame) => (frame.type === "reply" && asked.has(frame.id) ? [] : undefined));
    connector.tamper.fromClient = (frame) => {
      if (frame.type === "request" && frame.name === "subscribe" && isLied(frame.body.log))
        asked.add(frame.id);
      return undefined;
    };
    connector.inject(new Uint8Array(0));
    // What waits for the next session to begin is not held up either.
    await bob.client.sendDirectMessage("alice", "a new conversation");
    sent++;
    await eventually(() => bob.all("connect").length === 3);
    await pass(6);
    await alice.message("a new conversation");
    connector.inject(new Uint8Array(0));
    await eventually(() => bob.all("connect").length === 4);
    await isNoticed(20);
    await goesOn();
  });

  it("and calls stale what is not: the same", async () => {
    await lie(undefined);
    connector.tamper.fromClient = (frame) => {
      if (frame.type !== "request" || frame.name !== "append" || !isLied(frame.body.log)) return undefined;
      const { id } = frame;
      queueMicrotask(() => connector.inject({ type: "refuse", id, code: "stale", reason: "" }));
      return [];
    };
    await isNoticed(20);
    await goesOn();
  });
});

describe("a connection on which something of a log has not come", () => {
  it("and which is dead is replaced as such, and the relay not blamed", async () => {
    await lie(undefined, higher);
    // It has come to that by now.
    await bob.client.blocked();
    const { connections } = connector;
    const errors = bob.errors.length;
    const isDead = () => connector.connections === connections;
    connector.tamper = { fromRelay: () => (isDead() ? [] : undefined) };
    await clock.skip(28_000, () => new Promise((resolve) => setImmediate(resolve)));
    await eventually(() => !isDead());
    await goesOn();
    expect(bob.errors.slice(errors)).toEqual([]);
  });

  it("and on which nothing else is answered but pings is replaced within 50 s", async () => {
    await lie(undefined, higher);
    // It has come to that by now.
    await bob.client.blocked();
    const { connections } = connector;
    const errors = bob.errors.length;
    let unanswered = 0;
    connector.tamper = {
      fromClient(frame) {
        if (frame.type === "ping") unanswered++;
        return undefined;
      },
      fromRelay(frame) {
        if (frame.type === "pong") unanswered--;
        return frame.type === "pong" || connector.connections > connections ? undefined : [];
      },
    };
    const pass = (ms: number) => clock.skip(ms, () => eventually(() => unanswered === 0));
    await pass(47_000);
    expect([connector.connections, bob.errors.length]).toEqual([connections, errors]);
    await pass(4_000);
    expect(bob.errors.slice(errors)).toEqual(["timeout"]);
    await goesOn();
  });

  it.each(["of a log", "of an answer"])(
    "%s, and through which nothing can be sent just now, says nothing of the relay until it can",
    async (what) => {
      const isHead = what === "of a log";
      await lie(undefined, isHead ? higher : undefined);
      let [withheld, unanswered] = [0, 0];
      connector.tamper.fromClient = (frame) => {
        if (frame.type === "ping") unanswered++;
        if (frame.type !== "request" || frame.name !== "resolveDirect") return undefined;
        withheld++;
        return [];
      };
      connector.tamper.fromRelay = (frame) => {
        if (frame.type === "pong") unanswered--;
        return undefined;
      };
      if (!isHead) {
        await bob.client.sendDirectMessage("alice", "a new conversation");
        sent++;
        await eventually(() => withheld === 1);
      }
      await bob.client.blocked();
      const { connections } = connector;
      const errors = bob.errors.length;
      // What is asked meanwhile by itself is told to fail, and asked again.
      const blamed = () => bob.errors.slice(errors).filter((code) => code !== "queue-full");
      connector.backlog = 4 * 1024 * 1024;
      await clock.skip(300_000, () => eventually(() => unanswered === 0));
      expect([connector.connections, ...blamed()]).toEqual([connections]);
      connector.backlog = 0;
      await pass(32);
      expect(blamed()).toEqual(["timeout"]);
      connector.tamper = {};
      await pass(70);
      if (!isHead) await alice.message("a new conversation");
      await goesOn();
    },
  );
});

describe("a relay whose log gets shorter", () => {
  it("from one answer to the next without a word is told so, and messages come when it says the truth", async () => {
    await lie(undefined, (head) => ({ ...head, head: { ...head.head, seq: 1 } }));
    await bob.event("error", ({ code }) => code === "protocol-error");
    await alice.message(await say("free"));
    const held = await say("lied");
    await pass(60);
    expect(bob.errors.length).toBeLessThan(12);
    expect(new Set(bob.errors)).toEqual(new Set(["protocol-error"]));
    expect(alice.texts).not.toContain(held);
    await goesOn();
  });
});
