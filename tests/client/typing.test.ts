import { describe, expect, it } from "vitest";
import {
  type Actor,
  type ActorOptions,
  connectAll,
  connected,
  eventually,
  makeGroup,
  settledMembers,
  startRelay,
} from "./harness.js";
import { SkipClock, settle } from "./skip-clock.js";
import { watchVerifications } from "./verifications.js";

const verified = watchVerifications();

/** A relay on a clock of the test's, with the signals that came to it by user. */
async function world() {
  const clock = new SkipClock();
  const signals: string[] = [];
  const relay = await startRelay({
    clock,
    onFrame: ({ direction, userId, bytes }) => {
      if (direction === "in" && bytes[0] === 0x09) signals.push(userId as string);
    },
  });
  const options: ActorOptions = { seams: { clock, random: () => 0.1 } };
  return { clock, relay, signals, options };
}

const typing = (actor: Actor) =>
  actor.all("typing").map(({ userId, group, typing: on }) => `${userId} ${group ?? "direct"} ${on}`);

async function talking(alice: Actor, bob: Actor): Promise<void> {
  await alice.client.sendDirectMessage("bob", "hello");
  await bob.message("hello");
  const id = await bob.client.sendDirectMessage("alice", "hi");
  await alice.message("hi");
  await bob.receipts([id], "delivered");
}

describe("typing", () => {
  it("is heard by those in the conversation, once, until it is said or six seconds have passed", async () => {
    const { clock, relay, signals, options } = await world();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"], options);
    await makeGroup("team", [alice, bob, carol]);
    await talking(alice, bob);
    await alice.client.setTyping("bob", true);
    await bob.event("typing");
    await alice.client.setTyping("bob", false);
    await bob.event("typing", (event) => !event.typing);
    expect(typing(bob)).toEqual(["alice direct true", "alice direct false"]);

    await alice.client.setTyping({ group: "team" }, true);
    await Promise.all([bob, carol].map((one) => one.event("typing", ({ group }) => group === "team")));
    // Said again in time it goes on, and is no news.
    await clock.skip(4_000, () => settle(alice, bob, carol));
    const before = verified.done;
    await alice.client.setTyping({ group: "team" }, true);
    await eventually(() => verified.done >= before + 2, "both have verified it");
    expect(signals).toEqual(["alice", "alice", "alice", "alice"]);
    await clock.skip(5_000, () => settle(alice, bob, carol));
    expect(typing(carol)).toEqual(["alice team true"]);
    await clock.skip(2_000, () => settle(alice, bob, carol));
    expect(typing(carol)).toEqual(["alice team true", "alice team false"]);
    expect(typing(alice)).toEqual([]);
  });

  it("ends with the message, and with the member", async () => {
    const { relay, options } = await world();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"], options);
    await makeGroup("team", [alice, bob, carol]);
    await bob.client.setTyping({ group: "team" }, true);
    await alice.event("typing");
    await bob.client.sendGroupMessage("team", "what I typed");
    await alice.event("typing", (event) => !event.typing);
    // Right after the message the next one may be typed.
    await bob.client.setTyping({ group: "team" }, true);
    await alice.until(() => typing(alice).length === 3);
    await alice.client.remove("team", "bob");
    await carol.event("typing", (event) => event.userId === "bob" && !event.typing);
    await alice.until(() => typing(alice).length === 4);
    expect(typing(alice).map((line) => line.split(" ").at(-1))).toEqual(["true", "false", "true", "false"]);
    // Who was removed cannot say anything there any more.
    await bob.event("groupLeave");
    await expect(bob.client.setTyping({ group: "team" }, true)).rejects.toMatchObject({
      code: "not-a-member",
    });
  });

  it("is not said again and again, not for later, and begins no conversation", async () => {
    const { clock, relay, signals, options } = await world();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], options);
    await alice.client.setTyping("bob", true);
    await settle(alice, bob);
    expect([signals, await alice.client.conversations()]).toEqual([[], []]);
    await talking(alice, bob);
    for (let i = 0; i < 50; i++) await alice.client.setTyping("bob", true);
    await alice.client.setTyping("bob", false);
    for (let i = 0; i < 50; i++) await alice.client.setTyping("bob", false);
    for (let i = 0; i < 50; i++) await alice.client.setTyping("bob", i % 2 === 0);
    await settle(alice, bob);
    expect(signals).toHaveLength(4);
    await clock.skip(10_000, () => settle(alice, bob));
    const before = bob.all("typing").length;
    await relay.stop();
    await alice.event("disconnect");
    await alice.client.setTyping("bob", true);
    await relay.start();
    await Promise.all([alice, bob].map((one) => one.until(() => one.all("connect").length === 2)));
    await settle(alice, bob);
    expect(signals).toHaveLength(4);
    expect(bob.all("typing")).toHaveLength(before);
  });

  it("goes on after the keys have changed", async () => {
    const { relay, options } = await world();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"], options);
    await makeGroup("team", [alice, bob]);
    await alice.client.setTyping({ group: "team" }, true);
    await bob.event("typing");
    await alice.client.setTyping({ group: "team" }, false);
    await bob.event("typing", (event) => !event.typing);
    await alice.client.invite("team", "carol");
    await (await carol.event("invitation")).accept();
    await settledMembers("team", [alice, bob, carol]);
    await alice.client.setTyping({ group: "team" }, true);
    await Promise.all([
      bob.until(() => bob.all("typing").length === 3),
      carol.event("typing", (event) => event.typing),
    ]);
  });

  it("is nothing to who has only been invited", async () => {
    const { relay, options } = await world();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"], options);
    const carol = await connected(relay, "carol", options);
    await makeGroup("team", [alice, bob]);
    await alice.client.invite("team", "carol");
    const invitation = await carol.event("invitation");
    await alice.until(() => alice.all("memberJoin").some(({ userId }) => userId === "carol"));
    await bob.until(() => bob.all("memberJoin").some(({ userId }) => userId === "carol"));
    await bob.client.setTyping({ group: "team" }, true);
    await alice.event("typing");
    await settle(alice, bob, carol);
    expect(typing(carol)).toEqual([]);
    await invitation.accept();
  });
});
