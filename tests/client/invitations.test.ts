import { cp } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { openStore } from "../../src/node.js";
import { codeOf } from "../harness/code-of.js";
import {
  type Actor,
  connectAll,
  connected,
  eventually,
  makeActor,
  makeGroup,
  settledMembers,
  startRelay,
  temporaryFolder,
} from "./harness.js";
import { TamperedConnector } from "./tamper.js";

const groupsOf = async ({ client }: Actor) => (await client.groups()).map(({ name }) => name);

describe("an invitation that was withdrawn before it is accepted", () => {
  it.each([
    ["the user was removed", (alice: Actor) => alice.client.remove("team", "bob")],
    ["the user was banned", (alice: Actor) => alice.client.ban("team", "bob")],
    ["the group was deleted", (alice: Actor) => alice.client.deleteGroup("team")],
  ])("is refused, and another is taken: %s", async (_, withdraw) => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    const invitation = await bob.event("invitation");
    await withdraw(alice);
    // No event tells of it.
    await eventually(async () => (await codeOf(invitation.accept())) === "not-a-member");
    expect(await codeOf(invitation.accept())).toBe("not-a-member");
    expect(await codeOf(invitation.reject())).toBe("done");
    expect([await groupsOf(bob), bob.all("groupJoin")]).toEqual([[], []]);
    if ((await groupsOf(alice)).length === 0) await alice.client.createGroup("team");
    else await alice.client.unban("team", "bob");
    await alice.client.invite("team", "bob");
    const again = await bob.event("invitation", (one) => one !== invitation);
    await again.accept();
    await again.accept();
    expect(await groupsOf(bob)).toEqual(["team"]);
    expect(bob.all("groupJoin")).toHaveLength(1);
    expect([...alice.errors, ...bob.errors]).toEqual([]);
  });

  it("is none where only the inviter has left: the user is a member of what is left", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    const invitation = await bob.event("invitation");
    await alice.client.leaveGroup("team");
    await invitation.accept();
    expect(await groupsOf(bob)).toEqual(["team"]);
    await eventually(async () => (await bob.client.members("team")).length === 1);
    expect(await bob.client.members("team")).toEqual([{ userId: "bob", admin: true }]);
  });

  it("lets who asks to join meanwhile ask the members", async () => {
    const relay = await startRelay();
    const [alice, bob] = await connectAll(relay, ["alice", "bob"]);
    await alice.client.createGroup("team");
    await alice.client.invite("team", "bob");
    await bob.event("invitation");
    await alice.client.remove("team", "bob");
    const joined = bob.client.joinGroup("team", { timeout: 60_000 });
    await (await alice.event("joinRequest")).approve();
    await joined;
    expect(await groupsOf(bob)).toEqual(["team"]);
  });
});

describe("what a device has shown whose place another takes while the client runs", () => {
  it("is answered with a code until the new device shows it again", async () => {
    const relay = await startRelay();
    const [bob, carol] = await connectAll(relay, ["bob", "carol"]);
    const [original, copy] = [await temporaryFolder(), await temporaryFolder()];
    const first = await connected(relay, "alice", { store: await openStore(original) });
    await makeGroup("mine", [first, bob]);
    await bob.client.createGroup("theirs");
    await bob.client.invite("theirs", "alice");
    await first.event("invitation");
    const joined = carol.client.joinGroup("mine", { timeout: 60_000 });
    await first.event("joinRequest");
    // As a snapshot of the disk takes it, while everything runs.
    await cp(original, copy, { recursive: true, filter: (from) => !from.includes("lock") });
    await first.client.createGroup("made");
    await first.client.close();
    // Nothing shows that it is an older copy until all has been shown.
    const held: Bytes[] = [];
    const connector = new TamperedConnector({
      fromClient(frame, bytes) {
        if (frame.type !== "request" || frame.name !== "listGroups") return undefined;
        held.push(bytes);
        return [];
      },
    });
    const seams = { connector, random: () => 0.1 };
    const alice = makeActor(relay, "alice", { store: await openStore(copy), seams });
    const connecting = alice.client.connect();
    const [invitation, request] = [await alice.event("invitation"), await alice.event("joinRequest")];
    await connecting;
    await eventually(() => held.length > 0);
    connector.tamper = {};
    for (const bytes of held) connector.forward(bytes);
    await alice.event("storeRecovered");
    expect(await codeOf(invitation.accept())).toBe("not-a-member");
    expect(await codeOf(invitation.reject())).toBe("not-a-member");
    expect(await codeOf(request.approve())).toBe("not-a-member");
    const again = await alice.event("invitation", (one) => one !== invitation);
    await again.accept();
    await alice.event("joinRequest", (one) => one !== request);
    await request.approve();
    await joined;
    await settledMembers("mine", [alice, bob, carol]);
    await settledMembers("theirs", [alice, bob]);
    expect([...alice.errors, ...bob.errors, ...carol.errors]).toEqual([]);
  });
});
