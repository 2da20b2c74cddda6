import { expect, it } from "vitest";
import { Client, type UnencryptedData } from "../../src/index.js";
import { Relay } from "../../src/relay.js";

it("what is not encrypted is named so: written to the operator, published, subscribed to", async () => {
  const written: string[] = [];
  const relay = new Relay({
    onData: ({ userId, data, reply }) => {
      written.push(`${userId}: ${data}`);
      reply("taken");
    },
    onSubscribe: ({ channel }) => channel !== "staff",
  });
  const { url } = await relay.listen();
  const [alice, bob] = ["alice", "bob"].map((userId) => new Client({ url, userId })) as [Client, Client];
  try {
    await Promise.all([alice.connect(), bob.connect()]);
    const heard: UnencryptedData[] = [];
    let look = () => {};
    const off = bob.unencrypted.on("data", (event) => {
      heard.push(event);
      look();
    });
    const until = (count: number) =>
      new Promise<void>((resolve) => {
        look = () => heard.length >= count && resolve();
        look();
      });
    await bob.unencrypted.subscribe("news");
    expect(bob.unencrypted.subscriptions).toEqual(["news"]);
    await alice.unencrypted.publish("news", "the market is open");
    await alice.unencrypted.publish("elsewhere", "not for bob");
    await alice.unencrypted.publish("news", Uint8Array.of(1, 2, 3));
    await until(2);
    expect(heard).toEqual([
      { channel: "news", from: "alice", data: "the market is open" },
      { channel: "news", from: "alice", data: Uint8Array.of(1, 2, 3) },
    ]);
    await bob.unencrypted.write("hello operator");
    await until(3);
    expect(heard[2]).toEqual({ data: "taken" });
    expect(written).toEqual(["bob: hello operator"]);
    await expect(bob.unencrypted.subscribe("staff")).rejects.toMatchObject({ code: "forbidden" });
    await expect(alice.unencrypted.publish("news", "x".repeat(20_000))).rejects.toMatchObject({
      code: "too-large",
    });
    await bob.unencrypted.unsubscribe("news");
    await alice.unencrypted.publish("news", "after");
    await bob.unencrypted.write("the last");
    await until(4);
    expect(heard.map(({ data }) => data)).not.toContain("after");
    off();
    await bob.close();
    await expect(bob.unencrypted.publish("news", "x")).rejects.toMatchObject({ code: "closed" });
  } finally {
    await Promise.all([alice.close(), bob.close()]);
    await relay.close();
  }
});
