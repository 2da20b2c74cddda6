import { describe, expect, it } from "vitest";
import { connectAll, connected, makeActor, startRelay } from "./harness.js";
import { SkipClock, settle } from "./skip-clock.js";
import { TamperedConnector } from "./tamper.js";

describe("blocking", () => {
  it("keeps messages and invitations of the blocked away, until it ends", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    const mallory = await connected(relay, "mallory");
    await mallory.client.createGroup("spam");
    await bob.client.block("mallory");
    expect(await bob.client.blocked()).toEqual(["mallory"]);
    await mallory.client.sendDirectMessage("bob", "buy this");
    await expect(mallory.client.invite("spam", "bob")).rejects.toMatchObject({ code: "no-key-package" });
    await alice.client.sendDirectMessage("bob", "hello");
    expect((await bob.count(1)).map(({ from }) => from)).toEqual(["alice"]);
    expect(bob.recorded.filter(({ name }) => name === "invitation")).toEqual([]);
    // It holds for the user, whoever of its sessions asked for it.
    await relay.restart();
    expect(await bob.client.blocked()).toEqual(["mallory"]);
    await bob.client.unblock("mallory");
    expect(await bob.client.blocked()).toEqual([]);
    expect((await bob.count(2)).map(({ from, content }) => [from, content])).toEqual([
      ["alice", "hello"],
      ["mallory", "buy this"],
    ]);
  });

  it("has the blocked ask more and more seldom, so that they can still reach others", async () => {
    const relay = await startRelay();
    const bob = await connected(relay, "bob");
    await bob.client.block("mallory");
    let asked = 0;
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type === "request" && frame.name === "fetchKeyPackages") asked++;
        return undefined;
      },
    });
    const clock = new SkipClock();
    const mallory = await connected(relay, "mallory", { seams: { connector, clock, random: () => 0.1 } });
    await mallory.client.sendDirectMessage("bob", "buy this");
    await clock.skip(600_000, () => settle(mallory));
    expect(asked).toBeGreaterThan(5);
    expect(asked).toBeLessThan(15);
    await bob.client.unblock("mallory");
    await clock.skip(300_000, () => settle(mallory));
    await bob.message("buy this");
  });

  it("says what cannot be", async () => {
    const relay = await startRelay({ limits: { maxBlocked: 1 } });
    const alice = await connected(relay, "alice");
    await alice.client.block("one");
    await expect(alice.client.block("two")).rejects.toMatchObject({ code: "quota-exceeded" });
    await expect(alice.client.block("alice")).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(alice.client.block("")).rejects.toMatchObject({ code: "invalid-argument" });
    const offline = makeActor(relay, "bob");
    await expect(offline.client.block("alice", { timeout: 1 })).rejects.toMatchObject({ code: "timeout" });
  });
});
