import { expect, it } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.js";
import { memoryStore } from "../../src/index.js";
import { type Actor, connected, eventually, makeGroup, settledMembers } from "./harness.js";
import { relayWithBackups, sent } from "./relay-backup.js";

/** The machine's, nine days later: keys are due to be renewed. */
const LATER: Clock = {
  now: () => Date.now() + 9 * 86_400_000,
  after: (...given) => systemClock.after(...given),
};

/**
 * Bob gets rid of mallory, which the relay loses; carol, who was away, renews her keys before that can be put back. All but
 * carol come again and write.
 */
async function undone(getRid: (bob: Actor) => Promise<void>) {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = { alice: memoryStore(), bob: memoryStore(), carol: memoryStore(), mallory: memoryStore() };
  const come = (userId: keyof typeof stores, clock: Clock = systemClock) =>
    connected(relay, userId, { store: stores[userId], seams: { clock, random: () => 0.1 } });
  const before = [
    await come("alice"),
    await come("bob"),
    await come("carol"),
    await come("mallory"),
  ] as const;
  const [alice, bob, carol, mallory] = before;
  await makeGroup("team", before);
  await alice.client.promote("team", "bob");
  for (const actor of [bob, carol, mallory]) await actor.event("groupUpdated");
  await carol.client.close();
  await backUp();
  await getRid(bob);
  await mallory.event("groupLeave");
  await alice.event("memberLeave");
  for (const { client } of [alice, bob, mallory]) await client.close();
  await restore();
  const first = await come("carol", LATER);
  await first.client.sendGroupMessage("team", "carol first");
  await sent(first, 1);
  const last = await come("mallory");
  last.client.on("invitation", (invitation) => void invitation.accept().catch(() => {}));
  const again = [await come("alice"), await come("bob")] as const;
  const ids = await Promise.all(
    again.map(({ client, userId }) => client.sendGroupMessage("team", `by ${userId}, not for mallory`)),
  );
  return { alice: again[0], bob: again[1], carol: first, mallory: last, ids };
}

it.each(["remove", "ban"] as const)(
  "who was removed, and is in again since the relay has lost that (%s), is removed again, and gets nothing that waited",
  async (how) => {
    const { alice, bob, carol, mallory, ids } = await undone((one) => one.client[how]("team", "mallory"));
    const admins = [alice, bob];
    const isMallory = ({ userId }: { userId: string }) => userId === "mallory";
    // Who comes in last may find mallory gone already.
    const first = await Promise.any(admins.map((one) => one.event("memberJoin", isMallory).then(() => one)));
    await first.event("memberLeave", isMallory);
    await first.receipts([ids[admins.indexOf(first)] as string], "failed");
    await settledMembers("team", [alice, bob, carol]);
    for (const { client, userId } of [alice, bob, carol])
      await client.sendGroupMessage("team", `by ${userId} afterwards`);
    for (const actor of [alice, bob, carol]) {
      for (const userId of ["alice", "bob", "carol"])
        if (userId !== actor.userId) await actor.message(`by ${userId} afterwards`);
    }
    expect(mallory.texts).toEqual([]);
    if (how === "ban") await eventually(async () => (await bob.client.banned("team")).includes("mallory"));
  },
);
