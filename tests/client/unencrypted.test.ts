import { expect, it } from "vitest";
import type { UnencryptedData } from "../../src/index.js";
import { type Actor, connectAll, connected, eventually, makeActor, startRelay } from "./harness.js";

/** What comes to `on("data")` of a client. */
function listen({ client }: Actor): UnencryptedData[] {
  const heard: UnencryptedData[] = [];
  client.unencrypted.on("data", (event) => heard.push(event));
  return heard;
}

it("subscriptions come back with the connection, and what was published meanwhile does not", async () => {
  const relay = await startRelay();
  const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
  const heard = listen(bob);
  await bob.client.unencrypted.subscribe("news");
  await bob.client.unencrypted.subscribe("old news");
  await bob.client.unencrypted.unsubscribe("old news");
  await relay.stop();
  await Promise.all([alice.event("disconnect"), bob.event("disconnect")]);
  await expect(alice.client.unencrypted.publish("news", "lost")).rejects.toMatchObject({
    code: "connection-failed",
  });
  await expect(alice.client.unencrypted.write("lost")).rejects.toMatchObject({ code: "connection-failed" });
  await relay.start();
  await alice.until(() => alice.all("connect").length === 2);
  await eventually(async () => {
    await alice.client.unencrypted.publish("news", "found");
    await alice.client.unencrypted.publish("old news", "not for bob");
    return heard.length > 0;
  });
  expect(new Set(heard.map(({ data }) => data))).toEqual(new Set(["found"]));
  expect(heard[0]).toEqual({ channel: "news", from: "alice", data: "found" });
});

it("a subscription that the relay no longer allows is given up with an error", async () => {
  let allowed = true;
  const relay = await startRelay({ onSubscribe: () => allowed });
  const bob = await connected(relay, "bob");
  await bob.client.unencrypted.subscribe("news");
  allowed = false;
  await relay.restart();
  expect((await bob.event("error")).code).toBe("forbidden");
  await relay.restart();
  await bob.until(() => bob.all("connect").length === 3);
  await bob.client.blocked();
  expect(bob.errors).toEqual(["forbidden"]);
});

it("waits for a connection to subscribe, takes only what it can send, and ends with its signal", async () => {
  const relay = await startRelay({ onData: ({ reply }) => reply("yes") });
  const bob = makeActor(relay, "bob");
  const subscribing = bob.client.unencrypted.subscribe("news");
  await bob.client.connect();
  await subscribing;
  const { unencrypted } = bob.client;
  const invalid = { code: "invalid-argument" };
  await expect(unencrypted.subscribe("")).rejects.toMatchObject(invalid);
  await expect(unencrypted.publish("news", 7 as unknown as string)).rejects.toMatchObject(invalid);
  expect(() => unencrypted.on("message" as "data", () => {})).toThrow(expect.objectContaining(invalid));
  const controller = new AbortController();
  const heard: UnencryptedData[] = [];
  unencrypted.on("data", (event) => heard.push(event), { signal: controller.signal });
  await unencrypted.write("one");
  await bob.until(() => bob.all("unencryptedData").length === 1);
  controller.abort();
  await unencrypted.write(Uint8Array.of(2));
  await bob.until(() => bob.all("unencryptedData").length === 2);
  expect(heard).toEqual([{ data: "yes" }]);
});
