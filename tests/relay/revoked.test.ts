import { afterEach, expect, it } from "vitest";
import { Relay } from "../../src/relay.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { makeUser, RawClient } from "./raw-client.js";

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
