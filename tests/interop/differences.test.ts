import { createGroupInfoWithExternalPubAndRatchetTree } from "ts-mls/createCommit.js";
import { describe, expect, it } from "vitest";
import { toUtf8 } from "../../src/base/encoding.js";
import { externalSendersExtension } from "../../src/mls.js";
import { Group } from "./group.js";
import { SubrosaActor } from "./subrosa-actor.js";
import { TsMlsActor } from "./ts-mls-actor.js";
import { writeMessage } from "./ts-mls-tools.js";
import { suite } from "./webcrypto-provider.js";

/** required_capabilities: no extension and no proposal types, credential type basic. */
const REQUIRED = { type: 3, data: Uint8Array.of(0, 0, 2, 0, 1) };

/** Where ts-mls 1.6.4 leaves RFC 9420; a new version that does not shows here, and the other tests can ask for more. */
describe("known differences", () => {
  it("§12.4: ts-mls commits group context extensions without the path that they require", async () => {
    const alice = await SubrosaActor.create("alice");
    const bob = await TsMlsActor.create("bob");
    await Group.of([alice, bob]);
    const { commit } = await bob.commit({ changes: [{ kind: "extensions", extensions: [REQUIRED] }] });
    await expect(alice.receive(commit)).rejects.toMatchObject({
      code: "invalid-message",
      rule: expect.stringContaining("§12.4"),
    });
  });

  it("§12.4.1: with an empty left half of the tree, ts-mls derives another commit secret", async () => {
    const removals = [0, 1].map((leaf) => ({ kind: "remove", leaf }) as const);
    const create = (names: readonly string[]) => Promise.all(names.map((name) => SubrosaActor.create(name)));
    const group = await Group.of(await create(["alice", "bob", "carol", "dave"]));
    await group.commit(group.members[2] as SubrosaActor, { changes: removals });
    await group.talk();

    const [erin, frank, grace] = (await create(["erin", "frank", "grace"])) as [
      SubrosaActor,
      SubrosaActor,
      SubrosaActor,
    ];
    const heidi = await TsMlsActor.create("heidi");
    await Group.of([erin, frank, grace, heidi]);
    const ours = await grace.commit({ changes: removals });
    await expect(heidi.receive(ours.commit)).rejects.toThrow("Could not verify confirmation tag");
    const theirs = await heidi.commit({ changes: removals });
    await expect(grace.receive(theirs.commit)).rejects.toMatchObject({
      rule: expect.stringContaining("confirmation"),
    });
  });

  it("§12.4.3.2: ts-mls writes external_pub without the length of the key", async () => {
    const alice = await TsMlsActor.create("alice");
    await alice.createGroup(toUtf8("group"));
    const groupInfo = await createGroupInfoWithExternalPubAndRatchetTree(alice.state, [], suite);
    const message = writeMessage({ wireformat: "mls_group_info", groupInfo });
    const bob = await SubrosaActor.create("bob");
    await expect(bob.joinByCommit(message)).rejects.toMatchObject({ code: "malformed" });
    await expect(bob.joinByCommit(await alice.groupInfo(true))).resolves.toBeDefined();
  });

  it("§12.1.8.1: ts-mls takes external_senders for one sender, not for a list", async () => {
    const bob = await TsMlsActor.create("bob");
    const credential = { kind: "basic", identity: toUtf8("server") } as const;
    const { publicKey } = await suite.signature.keygen();
    const { data } = externalSendersExtension([{ signatureKey: Uint8Array.from(publicKey), credential }]);
    await expect(bob.createGroup(toUtf8("group"), [{ type: 5, data }])).rejects.toThrow(
      "Could not decode external_senders",
    );
  });

  it("§12.4.2: ts-mls does not notice its own removal when its leaf is taken at once", async () => {
    const [alice, carol] = [await SubrosaActor.create("alice"), await SubrosaActor.create("carol")];
    const bob = await TsMlsActor.create("bob");
    await Group.of([alice, bob]);
    const keyPackage = await carol.renewKeyPackage();
    const remove = { kind: "remove", leaf: bob.leaf } as const;
    const { commit } = await alice.commit({ changes: [remove, { kind: "add", keyPackage }] });
    await expect(bob.receive(commit)).rejects.toThrow("No overlap between provided private keys");
  });
});
