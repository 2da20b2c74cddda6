import { expect, it } from "vitest";
import { memoryStore } from "../../src/index.js";
import { connected, eventually, makeGroup, settledMembers } from "./harness.js";
import { relayWithBackups, sent } from "./relay-backup.js";

/** A relay with backups, and actors that come and go with what they have stored. */
async function world() {
  const { relay, backUp, restore } = await relayWithBackups();
  const stores = new Map<string, ReturnType<typeof memoryStore>>();
  const come = (userId: string) => {
    const store = stores.get(userId) ?? memoryStore();
    stores.set(userId, store);
    return connected(relay, userId, { store });
  };
  return { backUp, restore, come };
}

it.each(["has left", "was removed", "was invited again", "was invited again and does not want to"])(
  "a group that a relay knows as it was before anybody was let in is there again, though who made it %s",
  async (what) => {
    const { backUp, restore, come } = await world();
    let [alice, bob, carol] = [await come("alice"), await come("bob"), await come("carol")];
    await makeGroup("team", [alice]);
    await backUp();
    for (const other of [bob, carol]) {
      await alice.client.invite("team", other.userId);
      await (await other.event("invitation")).accept();
    }
    await settledMembers("team", [alice, bob, carol]);
    await alice.client.promote("team", "bob");
    await bob.event("groupUpdated");
    if (what === "was removed") await bob.client.remove("team", "alice");
    else await alice.client.leaveGroup("team");
    await settledMembers("team", [bob, carol]);
    await alice.event("groupLeave");
    if (what.startsWith("was invited")) {
      await bob.client.invite("team", "alice");
      const invitation = await alice.event("invitation");
      if (what.endsWith("not want to")) await invitation.reject();
    }
    for (const { client } of [alice, bob, carol]) await client.close();
    await restore();
    [bob, carol] = [await come("bob"), await come("carol")];
    await bob.client.sendGroupMessage("team", "waits for who made the group");
    alice = await come("alice");
    await carol.message("waits for who made the group");
    await carol.client.sendGroupMessage("team", "all are here");
    await bob.message("all are here");
    if (what === "was invited again") {
      await (await alice.event("invitation")).accept();
      await alice.client.sendGroupMessage("team", "so am I");
      await carol.message("so am I");
    } else await settledMembers("team", [bob, carol]);
    expect([...bob.all("undecryptable"), ...carol.all("undecryptable")]).toEqual([]);
    if (what !== "was invited again") expect(alice.texts).toEqual([]);
  },
);

it("who made a group and left it leaves once more where the others have gone on before the relay had that again", async () => {
  const { backUp, restore, come } = await world();
  let [alice, bob, carol] = [await come("alice"), await come("bob"), await come("carol")];
  await makeGroup("team", [alice, bob, carol]);
  await alice.client.promote("team", "bob");
  await bob.event("groupUpdated");
  await carol.event("groupUpdated");
  await backUp();
  await carol.client.close();
  await alice.client.leaveGroup("team");
  await eventually(async () => (await bob.client.members("team")).length === 2);
  await alice.event("groupLeave");
  for (const { client } of [alice, bob]) await client.close();
  await restore();
  carol = await come("carol");
  // Its first word renews its keys.
  await carol.client.sendGroupMessage("team", "who is there?");
  await sent(carol, 1);
  [alice, bob] = [await come("alice"), await come("bob")];
  await settledMembers("team", [bob, carol]);
  await bob.client.sendGroupMessage("team", "only we");
  await carol.message("only we");
  expect([...alice.all("invitation"), ...alice.all("groupJoin"), ...alice.texts]).toEqual([]);
});

it("who was invited again comes in again by that where the relay has lost it, and not how it was removed before", async () => {
  const { backUp, restore, come } = await world();
  let [alice, bob] = [await come("alice"), await come("bob")];
  await makeGroup("team", [alice, bob]);
  await alice.client.remove("team", "bob");
  await bob.event("groupLeave");
  await backUp();
  const [before] = bob.all("invitation");
  await alice.client.invite("team", "bob");
  await (await bob.event("invitation", (one) => one !== before)).accept();
  await settledMembers("team", [alice, bob]);
  for (const { client } of [alice, bob]) await client.close();
  await restore();
  bob = await come("bob");
  await bob.event("error", ({ code }) => code === "cursor-mismatch");
  alice = await come("alice");
  await alice.client.sendGroupMessage("team", "here we are");
  await bob.message("here we are");
  await eventually(async () => (await bob.client.members("team")).length === 2);
  expect(bob.all("groupLeave")).toEqual([]);
});
