import { afterEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay, type RelayOptions } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { add, commit, groupLog, inboxOf, makeUser, RawClient } from "./raw-client.js";

const relays: Relay[] = [];
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.close()));
});

async function start(options: RelayOptions): Promise<string> {
  const relay = new Relay(options);
  relays.push(relay);
  return (await relay.listen()).url;
}

describe("what others do to a device", () => {
  it("does not use up how many groups it may make", async () => {
    const url = await start({ limits: { maxGroups: 2 } });
    const user = await makeUser("victim");
    const victim = await RawClient.connect(url, user);
    const mallory = await RawClient.connect(url, await makeUser("mallory"));
    for (const other of [mallory, await RawClient.connect(url, await makeUser("other"))]) {
      await other.request("create", { groupId: randomBytes(32), first: commit([add(user)]) });
      await other.request("create", { groupId: randomBytes(32), first: commit([add(user)]) });
    }
    await victim.request("create", { groupId: randomBytes(32) });
    await victim.request("create", { groupId: randomBytes(32), direct: { peer: "mallory", generation: 1 } });
    await expect(victim.request("create", { groupId: randomBytes(32) })).rejects.toMatchObject({
      code: "quota-exceeded",
    });
  });

  it("does not fill its inbox by adding it again and again", async () => {
    const url = await start({ limits: { maxInboxEntries: 5, invitationsPerHour: 1 } });
    const user = await makeUser("victim");
    await (await RawClient.connect(url, user)).close();
    const mallory = await RawClient.connect(url, await makeUser("mallory"));
    const log = groupLog(randomBytes(32));
    let at = await mallory.request("create", { groupId: log.id, first: commit([add(user)]) });
    for (let i = 0; i < 20; i++) at = await mallory.append(log, at, commit([add(user)]));
    const honest = await RawClient.connect(url, await makeUser("honest"));
    await honest.request("create", { groupId: randomBytes(32), first: commit([add(user)]) });

    const victim = await RawClient.connect(url, user);
    const { head } = await victim.subscribe(inboxOf(user), START);
    const entries = await victim.untilEntries(inboxOf(user), head.seq);
    expect(entries.filter(({ form }) => form === "full")).toHaveLength(2);
    expect(entries).toHaveLength(22);
  });
});
