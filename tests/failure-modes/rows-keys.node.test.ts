import { afterEach, describe, expect, it, vi } from "vitest";
import { systemClock } from "../../src/base/clock.js";
import { memoryStore } from "../../src/index.js";
import type { ClientFrame } from "../../src/wire/frames.js";
import type { BodyOf } from "../../src/wire/requests.js";
import { connectAll, connected, eventually, makeActor, makeGroup, startRelay } from "../client/harness.js";
import { TamperedConnector } from "../client/tamper.js";
import { makeUser, RawClient } from "../relay/raw-client.js";
import { SleepingClock } from "../unit/transport/sleeping-clock.js";

afterEach(() => vi.unstubAllGlobals());

/** Uploads of key packages that a client made, in order. */
function watchUploads(connector: TamperedConnector) {
  const uploads: BodyOf<"publishKeyPackages">[] = [];
  connector.tamper = {
    ...connector.tamper,
    fromClient: (frame: ClientFrame) => {
      if (frame.type === "request" && frame.name === "publishKeyPackages") {
        uploads.push(frame.body as BodyOf<"publishKeyPackages">);
      }
      return undefined;
    },
  };
  return uploads;
}

/** A relay that lets a stranger have all one-time packages; by default it gives the last resort instead. */
const OPEN_HANDED = { limits: { oneTimePackagesPerPair: 1_000, oneTimePackagesPerHour: 1_000 } };

/** Takes key packages of a user, as anyone may. */
async function take(relay: { url: string }, userId: string, times: number) {
  const thief = await RawClient.connect(relay.url, await makeUser(`thief ${Math.random()}`));
  const taken = [];
  for (let i = 0; i < times; i++) {
    taken.push((await thief.request("fetchKeyPackages", { userId })).devices[0]?.keyPackage);
  }
  return taken.map((bytes) => Buffer.from(bytes as Uint8Array).toString("hex"));
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("C12 key packages", () => {
  it("no id is used twice: every package ever published is another one", async () => {
    const relay = await startRelay(OPEN_HANDED);
    const store = memoryStore();
    const all: string[] = [];
    for (let session = 0; session < 3; session++) {
      const connector = new TamperedConnector();
      const uploads = watchUploads(connector);
      const bob = makeActor(relay, "bob", { store, seams: { connector, random: () => 0.1 } });
      await bob.client.connect();
      await take(relay, "bob", 33);
      await bob.client.close();
      for (const { oneTime, lastResort } of uploads) {
        all.push(
          ...[...oneTime, ...(lastResort ? [lastResort] : [])].map(({ keyPackage }) => hex(keyPackage)),
        );
      }
    }
    expect(all.length).toBeGreaterThan(60);
    expect(new Set(all).size).toBe(all.length);
  });

  it("an answer that was lost neither loses nor repeats a package", async () => {
    const relay = await startRelay(OPEN_HANDED);
    const connector = new TamperedConnector();
    const published: string[] = [];
    let lost = 0;
    connector.tamper = {
      fromClient: (frame) => {
        if (frame.type === "request" && frame.name === "publishKeyPackages") {
          const { oneTime } = frame.body as BodyOf<"publishKeyPackages">;
          published.push(...oneTime.map(({ keyPackage }) => hex(keyPackage)));
        }
        return undefined;
      },
      replies: {
        // The relay has them; bytes that do not decode end the session before the client knows.
        publishKeyPackages: () => (lost++ < 2 ? new Uint8Array([1]) : undefined),
      },
    };
    const bob = makeActor(relay, "bob", { seams: { connector, random: () => 0.01 } });
    await bob.client.connect();
    await eventually(() => lost > 2, "an answer that comes");
    expect(new Set(published).size).toBe(published.length);
    // Each one that the relay hands out is one that bob can join by.
    const [alice] = await connectAll(relay, ["alice"]);
    await makeGroup("team", [alice, bob]);
  });

  it("the pool is filled again in a session that goes on, when the page wakes", async () => {
    const page = new EventTarget();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    const relay = await startRelay(OPEN_HANDED);
    const connector = new TamperedConnector();
    const uploads = watchUploads(connector);
    const clock = new SleepingClock();
    const bob = await connected(relay, "bob", { seams: { connector, clock, random: () => 0.1 } });
    const published = () => uploads.reduce((sum, { oneTime }) => sum + oneTime.length, 0);
    await eventually(() => published() === 32, "a full pool");
    const taken = await take(relay, "bob", 20);
    expect(new Set(taken).size).toBe(20);
    page.dispatchEvent(new Event("focus"));
    await clock.run(10_000);
    await eventually(() => published() === 52, "a full pool again");
    expect(bob.errors).toEqual([]);
  });

  it("a last resort that was used is replaced at once, and stays good for those who have it", async () => {
    const relay = await startRelay(OPEN_HANDED);
    const connector = new TamperedConnector();
    const uploads = watchUploads(connector);
    const clock = new SleepingClock();
    const bob = await connected(relay, "bob", { seams: { connector, clock, random: () => 0.1 } });
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    await eventually(() => uploads.length === 4, "a full pool");
    await take(relay, "bob", 32);
    uploads.length = 0;
    // Both have the same package.
    for (const [founder, group] of [
      [alice, "one"],
      [carol, "two"],
    ] as const) {
      await founder.client.createGroup(group);
      await founder.client.invite(group, "bob");
      await (await bob.event("invitation", (invitation) => invitation.group === group)).accept();
      await founder.client.sendGroupMessage(group, `in ${group}`);
      await bob.message(`in ${group}`);
    }
    await clock.run(10_000);
    await eventually(() => uploads.some(({ lastResort }) => lastResort !== undefined), "another last resort");
    expect(bob.errors).toEqual([]);
  });

  it("a user whose packages have all expired is a result for that user; the group goes on", async () => {
    let ahead = 0;
    const clock = { now: () => Date.now() + ahead, after: systemClock.after };
    const relay = await startRelay({ clock });
    const [alice, carol] = await connectAll(relay, ["alice", "carol"]);
    const bobs = memoryStore();
    await (await connected(relay, "bob", { store: bobs })).client.close();
    await makeGroup("team", [alice, carol]);
    ahead = 91 * 86_400_000;
    await expect(alice.client.invite("team", "bob")).rejects.toMatchObject({ code: "no-key-package" });
    await alice.client.sendGroupMessage("team", "we go on");
    await carol.message("we go on");
    // Back after all that time, bob is there to be added: his clock may be what it likes.
    const bob = makeActor(relay, "bob", { store: bobs });
    await bob.client.connect();
    const seams = { random: () => 0.1, clock };
    const dave = await connected(relay, "dave", { seams });
    await dave.client.createGroup("other");
    await dave.client.invite("other", "bob");
    await bob.event("invitation");
  });

  it("whose pool was empty looks with the next session for what was missed", async () => {
    const relay = await startRelay(OPEN_HANDED);
    const connector = new TamperedConnector();
    let listed = 0;
    let published = 0;
    connector.tamper = {
      fromClient: (frame) => {
        if (frame.type === "request" && frame.name === "listGroups") listed++;
        if (frame.type === "request" && frame.name === "publishKeyPackages") {
          published += (frame.body as BodyOf<"publishKeyPackages">).oneTime.length;
        }
        return undefined;
      },
    };
    const bob = await connected(relay, "bob", { seams: { connector, random: () => 0.01 } });
    await eventually(() => listed === 1, "the list, with the start");
    await eventually(() => published === 32, "a full pool");
    await take(relay, "bob", 33);
    await relay.restart();
    await bob.until(() => bob.all("connect").length === 2);
    await eventually(() => listed === 2, "the list, since the pool was empty");
    await relay.restart();
    await bob.until(() => bob.all("connect").length === 3);
    await eventually(() => listed === 3, "the list, with each session");
    const [alice] = await connectAll(relay, ["alice"]);
    await makeGroup("team", [alice, bob]);
    expect(listed).toBe(3);
  });
});
