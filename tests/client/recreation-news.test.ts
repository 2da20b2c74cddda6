import { expect, it } from "vitest";
import { EMPTY } from "../../src/base/bytes.js";
import { toHex } from "../../src/base/encoding.js";
import {
  accessChanges,
  commitAuthenticatedData,
  wantedAccess,
} from "../../src/client/conversation/membership/access.js";
import { nameHash } from "../../src/client/conversation/membership/directory-names.js";
import { authenticate, leavesOf } from "../../src/client/conversation/membership/leaves.js";
import {
  type GroupPolicy,
  POLICY_EXTENSION,
  policyExtension,
} from "../../src/client/conversation/membership/policy.js";
import { policyIn } from "../../src/client/conversation/state.js";
import { randomBytes } from "../../src/crypto/random.js";
import { createCommit, createGroup, makeCapabilities, readKeyPackage } from "../../src/mls/group/index.js";
import { EntryKind, Role } from "../../src/wire/protocol.js";
import { keyPackageOf, type RawMember } from "./raw-member.js";
import { garble, stranded, world } from "./recreation-world.js";

/** Mallory, an admin, begins the group anew with these members, and is its only admin. */
async function takeOver({ group, user, client, log, handshake }: RawMember, members: readonly string[]) {
  const policy = { ...(policyIn(group) as GroupPolicy), admins: ["mallory"] };
  await client.append(log, handshake, { kind: EntryKind.close, entryId: randomBytes(16), payload: EMPTY });
  const created = await createGroup({
    groupId: randomBytes(32),
    credential: readKeyPackage((await keyPackageOf(user)).bytes).leafNode.credential,
    signer: user.device,
    extensions: [policyExtension(policy)],
    capabilities: makeCapabilities({ extensions: [POLICY_EXTENSION] }),
  });
  const offers = await Promise.all(members.map((userId) => client.request("fetchKeyPackages", { userId })));
  const proposals = offers.flatMap(({ devices }) =>
    devices.map(({ keyPackage }) => ({ kind: "add", keyPackage: readKeyPackage(keyPackage) }) as const),
  );
  const commitWith = (authenticatedData: typeof EMPTY) =>
    createCommit(created, {
      proposals,
      forcePath: true,
      authenticatedData,
      signer: user.device,
      authenticate,
      now: BigInt(Math.floor(Date.now() / 1000)),
      welcome: { ratchetTree: true },
    });
  const own = { userId: "mallory", deviceId: user.deviceId, role: Role.admin };
  const { state } = (await commitWith(EMPTY)).staged;
  const wanted = wantedAccess(leavesOf(state), policy);
  const access = accessChanges(new Map([[toHex(user.deviceId), own]]), wanted, new Set());
  const { commit, welcome } = await commitWith(await commitAuthenticatedData(access));
  const bundle = { access, welcome: welcome as typeof EMPTY };
  await client.request("create", {
    groupId: created.groupContext.groupId,
    nameHash: await nameHash("team"),
    first: { kind: EntryKind.commit, entryId: randomBytes(16), payload: commit, bundle },
  });
}

it("an admin that begins a group anew by its own rules does not do so without a trace", async () => {
  const { actors, alice, bob, mallory } = await world();
  await alice.client.promote("team", "mallory");
  for (const actor of actors) await actor.event("groupUpdated");
  await garble(mallory);
  await Promise.all(actors.map(stranded));
  await mallory.follow();
  await takeOver(mallory, ["alice", "bob"]);
  for (const actor of [alice, bob]) {
    const by = "mallory";
    expect(await actor.event("memberLeave")).toEqual({ group: "team", userId: "carol", by });
    const demoted = { group: "team", by, demoted: ["alice"] };
    expect(await actor.event("groupUpdated", (news) => news.by === by)).toEqual(demoted);
  }
});
