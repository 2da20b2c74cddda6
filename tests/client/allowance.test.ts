import { expect, it } from "vitest";
import { ManualClock } from "../relay/manual-clock.js";
import { connectAll, connected, startRelay } from "./harness.js";

const HOUR = 3_600_000;

it("messages to strangers wait while the relay allows no more first contacts, and go then", async () => {
  const relayClock = new ManualClock(Date.now());
  const relay = await startRelay({
    clock: relayClock,
    limits: { firstContactsPerHour: 1, heartbeatInterval: Number.POSITIVE_INFINITY },
  });
  const [bob, carol] = await connectAll(relay, ["bob", "carol"]);
  const clock = new ManualClock(Date.now());
  const alice = await connected(relay, "alice", { seams: { clock } });
  await alice.client.sendDirectMessage("bob", "first");
  await bob.count(1);
  await alice.client.sendDirectMessage("carol", "second");
  // What is asked afterwards is answered after the refusal.
  await alice.client.createGroup("meanwhile", { join: "open" });
  // Nor is the relay late with anything when the time goes on all at once.
  await alice.receipts([await alice.client.sendGroupMessage("meanwhile", "x")], "sent");
  expect(alice.recorded.filter(({ name }) => name === "receipt" || name === "error")).not.toContainEqual(
    expect.objectContaining({ event: expect.objectContaining({ state: "failed" }) }),
  );
  expect(carol.messages).toEqual([]);
  relayClock.advance(HOUR);
  clock.advance(30_000);
  expect((await carol.count(1)).map(({ content }) => content)).toEqual(["second"]);
  expect(alice.errors).toEqual([]);
});

it("creating too many groups, or inviting too many strangers, rejects with `rate-limited`", async () => {
  const relay = await startRelay({ limits: { groupCreationsPerHour: 1, invitationsPerHour: 1 } });
  const [alice] = await connectAll(relay, ["alice", "bob", "carol"]);
  await alice.client.createGroup("one");
  await expect(alice.client.createGroup("two")).rejects.toMatchObject({ code: "rate-limited" });
  await alice.client.invite("one", "bob");
  await expect(alice.client.invite("one", "carol")).rejects.toMatchObject({ code: "rate-limited" });
  // Nothing of it stands in the way of messages.
  await alice.receipts([await alice.client.sendGroupMessage("one", "still here")], "sent", "alice");
});
