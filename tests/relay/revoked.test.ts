import { afterEach, expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { sign } from "../../src/crypto/signature.js";
import { Relay } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { certificateToBeSigned } from "../../src/wire/identity.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { add, commit, makeUser, RawClient, type TestUser } from "./raw-client.js";

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

it("tells a device what another one of its account is in, by the account's certificate for that one", async () => {
  const relay = new Relay({ port: 0 });
  relays.push(relay);
  const { url } = await relay.listen();
  const [old, bob, mallory] = [await makeUser("alice"), await makeUser("bob"), await makeUser("mallory")];
  const certified = async ({ account, device, ...user }: TestUser, by = account) => {
    const of = { userId: user.userId, deviceId: user.deviceId, deviceKey: device.publicKey };
    return { ...of, certificate: await sign(by.privateKey, certificateToBeSigned(of)) };
  };
  await RawClient.connect(url, bob);
  const session = await RawClient.connect(url, old);
  const [direct, named] = [randomBytes(32), randomBytes(32)];
  const first = commit([add(bob)], randomBytes(9));
  await session.request("create", { groupId: direct, direct: { peer: "bob", generation: 1 }, first });
  await session.request("create", { groupId: named });
  const next = await RawClient.connect(url, await makeUser("alice", old.account), { version: 2 });
  expect(await next.request("listGroups", {})).toEqual({ groups: [] });
  const { groups } = await next.request("listGroups", { of: await certified(old) });
  const byId = Object.fromEntries(groups.map(({ groupId, ...group }) => [toHex(groupId), group]));
  expect(byId).toEqual({
    [toHex(direct)]: { role: 2, since: START, peer: "bob" },
    [toHex(named)]: { role: 2, since: START },
  });
  // Nobody else has that, nor whoever has the user id by another account.
  const other = await RawClient.connect(url, mallory);
  for (const of of [await certified(old), await certified(old, mallory.account), await certified(bob)])
    await expect(other.request("listGroups", { of })).rejects.toMatchObject({ code: "invalid-signature" });
  await relay.removeUser("alice");
  const successor = await RawClient.connect(url, await makeUser("alice"));
  await expect(successor.request("listGroups", { of: await certified(old) })).rejects.toMatchObject({
    code: "invalid-signature",
  });
});
