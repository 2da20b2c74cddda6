import { afterEach, describe, expect, it } from "vitest";
import { Relay, type RelayOptions, type WrittenData } from "../../src/relay.js";
import { ManualClock } from "./manual-clock.js";
import { makeUser, RawClient } from "./raw-client.js";

const relays: Relay[] = [];
afterEach(async () => {
  await Promise.all(relays.splice(0).map((relay) => relay.close()));
});

async function pair(options: RelayOptions = {}) {
  const relay = new Relay(options);
  relays.push(relay);
  const { url } = await relay.listen();
  const users = await Promise.all(["alice", "bob"].map((name) => makeUser(name)));
  const [alice, bob] = await Promise.all(users.map((user) => RawClient.connect(url, user)));
  return { url, alice: alice as RawClient, bob: bob as RawClient };
}

const heard = (client: RawClient) =>
  client.frames.flatMap((frame) => {
    if (frame.type !== "data") return [];
    const { type: _, ...data } = frame;
    return [data];
  });
const refused = (code: string) => expect.objectContaining({ code });
const publish = (client: RawClient, channel: string, data: string | Uint8Array) =>
  client.request("publish", { channel, data });

describe("a channel", () => {
  it("takes what is published to all who subscribe to it, but not back to the publisher", async () => {
    const { url, alice, bob } = await pair();
    await bob.request("subscribeChannel", { channel: "news" });
    await alice.request("subscribeChannel", { channel: "news" });
    await publish(alice, "news", "one");
    await publish(alice, "other", "not for bob");
    await publish(alice, "news", Uint8Array.of(1, 2));
    await bob.until(() => heard(bob).length >= 2);
    expect(heard(bob)).toEqual([
      { channel: "news", from: "alice", data: "one" },
      { channel: "news", from: "alice", data: Uint8Array.of(1, 2) },
    ]);
    expect(heard(alice)).toEqual([]);
    await bob.request("unsubscribeChannel", { channel: "news" });
    await publish(alice, "news", "two");
    await bob.request("listGroups", {});
    expect(heard(bob)).toHaveLength(2);
    // A session begins without any.
    await bob.request("subscribeChannel", { channel: "news" });
    const again = await RawClient.connect(url, bob.user);
    await publish(alice, "news", "three");
    await again.request("listGroups", {});
    expect(heard(again)).toEqual([]);
  });

  it("has limits, each with its code", async () => {
    const clock = new ManualClock();
    const limits = { maxChannels: 2, maxDataBytes: 4, dataPerSecond: 1, dataBurst: 4 };
    const { alice } = await pair({ clock, limits });
    await expect(publish(alice, "news", "12345")).rejects.toEqual(refused("too-large"));
    await expect(publish(alice, "news", "€€")).rejects.toEqual(refused("too-large"));
    for (const channel of ["a", "b"]) await alice.request("subscribeChannel", { channel });
    await expect(alice.request("subscribeChannel", { channel: "c" })).rejects.toEqual(
      refused("quota-exceeded"),
    );
    await publish(alice, "news", "1234");
    await expect(publish(alice, "news", "1234")).rejects.toEqual(refused("rate-limited"));
    clock.advance(1000);
    await publish(alice, "news", "1234");
    // The same again is no other one.
    await alice.request("subscribeChannel", { channel: "a" });
  });

  it("is forbidden where the operator says so", async () => {
    const off = await pair({ limits: { maxChannels: 0 } });
    await expect(publish(off.alice, "news", "x")).rejects.toEqual(refused("forbidden"));
    await expect(off.alice.request("subscribeChannel", { channel: "news" })).rejects.toEqual(
      refused("forbidden"),
    );
    const errors: unknown[] = [];
    const asked: string[] = [];
    const { alice, bob } = await pair({
      onError: (error) => errors.push(error),
      onSubscribe: async ({ userId, deviceId, channel, publish: writes }) => {
        asked.push(`${userId} ${deviceId.length} ${channel} ${writes}`);
        if (channel === "broken") throw new Error("no idea");
        return channel === "open" && (userId === "alice" || !writes);
      },
    });
    await bob.request("subscribeChannel", { channel: "open" });
    await expect(bob.request("subscribeChannel", { channel: "staff" })).rejects.toEqual(refused("forbidden"));
    await expect(bob.request("subscribeChannel", { channel: "broken" })).rejects.toEqual(
      refused("forbidden"),
    );
    await expect(publish(bob, "open", "x")).rejects.toEqual(refused("forbidden"));
    await publish(alice, "open", "y");
    await bob.until(() => heard(bob).length > 0);
    expect(heard(bob)).toEqual([{ channel: "open", from: "alice", data: "y" }]);
    expect(asked).toEqual([
      "bob 32 open false",
      "bob 32 staff false",
      "bob 32 broken false",
      "bob 32 open true",
      "alice 32 open true",
    ]);
    expect(errors).toEqual([new Error("no idea")]);
  });
});

describe("data for the operator", () => {
  it("reaches its hook, which may answer that session", async () => {
    const taken: WrittenData[] = [];
    const { alice, bob } = await pair({
      onData: (written) => {
        taken.push(written);
        written.reply(`got ${written.data.length}`);
        written.reply(Uint8Array.of(7));
      },
    });
    await alice.request("write", { data: "hello" });
    await alice.until(() => heard(alice).length >= 2);
    expect(heard(alice)).toEqual([{ data: "got 5" }, { data: Uint8Array.of(7) }]);
    expect(heard(bob)).toEqual([]);
    expect(taken.map(({ userId, deviceId, data }) => [userId, deviceId.length, data])).toEqual([
      ["alice", 32, "hello"],
    ]);
    await alice.close();
    // Nothing is there to answer any more, which is no failure.
    taken[0]?.reply("late");
    await bob.request("listGroups", {});
  });

  it("is forbidden without a hook, and a hook that fails is reported and ends nothing", async () => {
    const without = await pair();
    await expect(without.alice.request("write", { data: "x" })).rejects.toEqual(refused("forbidden"));
    const errors: unknown[] = [];
    const { alice } = await pair({
      onError: (error) => errors.push(error),
      onData: async ({ reply }) => reply(7 as unknown as string),
    });
    await alice.request("write", { data: "x" });
    await alice.request("listGroups", {});
    expect(errors).toEqual([refused("invalid-argument")]);
  });
});
