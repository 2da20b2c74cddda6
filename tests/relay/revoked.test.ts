import { afterEach, expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { add, commit, makeUser, RawClient, signAccount } from "./raw-client.js";

const relays: Relay[] = [];
afterEach(() => Promise.all(relays.splice(0).map((relay) => relay.close())));

it("ends the sessions of a device that a newer list has replaced, and admits it never again", async () => {
  const relay = new Relay({ port: 0 });
  relays.push(relay);
  const { url } = await relay.listen();
  const old = await makeUser("alice");
  const bystander = await RawClient.connect(url, await makeUser("bob"));
  const session = await RawClient.connect(url, old);
  const fresh = await makeUser("alice", old.account);
  const next = await RawClient.connect(url, fresh, { version: 2 });
  expect(await session.closed()).toMatchObject({ code: CloseCode.revoked });

  const again = new RawClient(url, old);
  await again.authenticate({ incarnation: 5 });
  expect((await again.frame("refuse")).code).toBe("revoked");
  expect((await again.closed()).code).toBe(CloseCode.unauthorized);
  // Nobody else is disturbed.
  expect(await next.request("listGroups", {})).toEqual({ groups: [] });
  expect(await bystander.request("listGroups", {})).toEqual({ groups: [] });
});

it("tells a device what another one of its account is in, and nobody else, whatever they claim", async () => {
  const relay = new Relay({ port: 0 });
  relays.push(relay);
  const { url } = await relay.listen();
  const [old, bob] = [await makeUser("alice"), await makeUser("bob")];
  const of = old.deviceId;
  await RawClient.connect(url, bob);
  const session = await RawClient.connect(url, old);
  const [direct, named] = [randomBytes(32), randomBytes(32)];
  const first = commit([add(bob)], randomBytes(9));
  await session.request("create", { groupId: direct, direct: { peer: "bob", generation: 1 }, first });
  await session.request("create", { groupId: named });
  const next = await RawClient.connect(url, await makeUser("alice", old.account), { version: 2 });
  expect(await next.request("listGroups", {})).toEqual({ groups: [] });
  const { groups } = await next.request("listGroups", { of });
  const byId = Object.fromEntries(groups.map(({ groupId, ...group }) => [toHex(groupId), group]));
  expect(byId).toEqual({
    [toHex(direct)]: { role: 2, since: START, peer: "bob" },
    [toHex(named)]: { role: 2, since: START },
  });
  // To anybody else it is as a device that there is not.
  const mallory = await makeUser("mallory");
  const other = await RawClient.connect(url, mallory);
  for (const asked of [of, next.user.deviceId, bob.deviceId, randomBytes(16)])
    expect(await other.request("listGroups", { of: asked })).toEqual({ groups: [] });
  // The device ids cannot be listed by another account either, be it with a key of its own for them.
  const thief = new RawClient(url, mallory);
  const devices = [mallory.deviceId, of].map((deviceId) => ({
    deviceId,
    deviceKey: mallory.device.publicKey,
  }));
  const account = await signAccount(mallory, 2, devices);
  await thief.authenticate({ alter: (authentication) => ({ ...authentication, account }) });
  expect((await thief.frame("refuse")).code).toBe("conflict");
  // Nor does the user id do, for who takes it when it is free.
  await relay.removeUser("alice");
  const heir = await RawClient.connect(url, await makeUser("alice"));
  for (const asked of [of, next.user.deviceId])
    expect(await heir.request("listGroups", { of: asked })).toEqual({ groups: [] });
});
