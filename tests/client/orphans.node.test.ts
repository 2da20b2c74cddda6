import { expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import type { RelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import type { ResultOf } from "../../src/wire/requests.js";
import { type Actor, connected, eventually, makeGroup, settledMembers, startRelay } from "./harness.js";
import { relayWithBackups, sent } from "./relay-backup.js";
import { settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

const random = () => 0.1;

/** Everybody has a word, and with it keys of their own making. */
async function speak(word: string, actors: readonly Actor[]): Promise<void> {
  for (const { client, userId } of actors) {
    await client.sendGroupMessage("team", `${word} of ${userId}`);
    for (const one of actors) if (one.userId !== userId) await one.message(`${word} of ${userId}`);
  }
}

const isIn = async ({ client }: Actor, user: string) =>
  (await client.members("team")).some(({ userId }) => userId === user);

it.each([
  ["who has left", false],
  ["who has renewed its keys and left", true],
])(
  "%s, and is in for a relay that has lost that and dropped what it came in by, leaves by itself",
  async (_, isRenewed) => {
    const { relay, backUp, restore } = await relayWithBackups();
    const [bobs, carols] = [memoryStore(), memoryStore()];
    const alice = await connected(relay, "alice");
    let bob = await connected(relay, "bob", { store: bobs });
    let carol = await connected(relay, "carol", { store: carols });
    await makeGroup("team", [alice, bob, carol]);
    if (isRenewed) {
      await alice.client.promote("team", "bob");
      await speak("a word", [alice, bob, carol]);
    }
    await backUp();
    await carol.client.close();
    if (isRenewed) await bob.client.setJoinMode("team", "open");
    await bob.client.leaveGroup("team");
    await eventually(async () => !(await isIn(alice, "bob")));
    await bob.event("groupLeave");
    await bob.client.close();
    await alice.client.close();
    await restore();
    carol = await connected(relay, "carol", { store: carols });
    await carol.client.sendGroupMessage("team", "who is there?");
    await sent(carol, 1);
    let dropped: number | undefined;
    const refused = new Set<number>();
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "fetchBundle") return undefined;
        dropped ??= frame.body.seq;
        if (frame.body.seq === dropped) refused.add(frame.id);
        return undefined;
      },
      fromRelay(frame): RelayFrame[] | undefined {
        if (frame.type !== "reply" || !refused.delete(frame.id)) return undefined;
        return [{ type: "refuse", id: frame.id, code: "gap", reason: "the log begins later" }];
      },
    });
    bob = await connected(relay, "bob", { store: bobs, seams: { connector, random } });
    await eventually(async () => !(await isIn(carol, "bob")));
    expect(dropped).toBeGreaterThan(0);
    expect([...bob.all("invitation"), ...bob.all("groupJoin"), ...bob.texts]).toEqual([]);
  },
);

it.each(["accepts", "has turned down"])(
  "an invitation is there again where the others went on without what the relay had lost: who was invited %s it",
  async (what) => {
    const { relay, backUp, restore } = await relayWithBackups();
    const carols = memoryStore();
    const alice = await connected(relay, "alice");
    let carol = await connected(relay, "carol", { store: carols });
    await makeGroup("team", [alice, carol]);
    await alice.client.promote("team", "carol");
    await speak("a word", [alice, carol]);
    let isMute = false;
    const connector = new TamperedConnector({
      fromClient: (frame) => {
        const isAppend = frame.type === "request" && frame.name === "append";
        return isMute && isAppend && frame.body.log.kind === LogKind.group ? [] : undefined;
      },
    });
    const bob = await connected(relay, "bob", { seams: { connector, random } });
    await alice.client.invite("team", "bob");
    await bob.event("invitation");
    await carol.event("memberJoin", ({ userId }) => userId === "bob");
    await backUp();
    await carol.client.close();
    await alice.client.setJoinMode("team", "open");
    await settle(alice, bob);
    await alice.client.close();
    // It cannot put back what it knows.
    isMute = true;
    await restore();
    await bob.event("error", ({ code }) => code === "data-lost");
    const [invitation] = bob.all("invitation");
    const rejected = what === "accepts" ? undefined : invitation?.reject();
    carol = await connected(relay, "carol", { store: carols });
    await carol.client.setJoinMode("team", "closed");
    isMute = false;
    if (rejected === undefined) {
      const again = await bob.event("invitation", (one) => one !== invitation);
      expect(again).toMatchObject({ group: "team", from: "carol" });
      await again.accept();
      await speak("at last", [carol, bob]);
      return;
    }
    await rejected;
    await eventually(async () => !(await isIn(carol, "bob")));
    expect(bob.all("invitation")).toEqual([invitation]);
  },
);

it("what has been looked for and is not there any more ends no request to join that was made meanwhile", async () => {
  const relay = await startRelay();
  const alice = await connected(relay, "alice");
  type Groups = ResultOf<"listGroups">;
  let [before, isLate, asked]: [Groups | undefined, boolean, number] = [undefined, false, 0];
  const fetched = new Set<number>();
  const connector = new TamperedConnector({
    fromClient(frame) {
      if (isLate && frame.type === "request" && frame.name === "fetchBundle") fetched.add(frame.id);
      return undefined;
    },
    fromRelay: (frame) =>
      frame.type === "refuse" && fetched.has(frame.id) ? [{ ...frame, code: "gap" }] : undefined,
    replies: {
      listGroups(result) {
        if (!isLate) {
          if (result.groups.length > 0) before = result;
          return undefined;
        }
        // As it was when it was asked.
        return asked++ === 0 ? before : undefined;
      },
    },
  });
  const bob = await connected(relay, "bob", { seams: { connector, random } });
  await makeGroup("team", [alice, bob]);
  connector.inject(new Uint8Array(0));
  await eventually(() => before !== undefined);
  await makeGroup("other", [alice, bob]);
  await alice.client.remove("team", "bob");
  await bob.event("groupLeave");
  await settle(bob);
  const joined = bob.client.joinGroup("team", { timeout: 60_000 });
  const request = await alice.event("joinRequest");
  await settle(bob);
  isLate = true;
  await alice.client.remove("other", "bob");
  await eventually(() => asked >= 2);
  await settle(bob);
  await request.approve();
  await joined;
  await settledMembers("team", [alice, bob]);
});
