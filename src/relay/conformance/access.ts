import { START } from "../../wire/identifiers.js";
import { EntryKind } from "../../wire/protocol.js";
import { expect, refused } from "./expectations.js";
import { add, application, commit, type Define, plain, remove, setRole, type World } from "./world.js";

/** Who may change what in a group. */
export function accessCases(it: Define, world: World): void {
  const { admit, append, create } = world;
  it("access: let members add members and remove who leaves, admins do everything", async () => {
    const [alice, bob, carol, dave] = [
      await admit("alice"),
      await admit("bob"),
      await admit("carol"),
      await admit("dave"),
    ];
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
    const denied = [
      [add(dave, 2)],
      [remove(carol)],
      [remove(alice)],
      [setRole(bob, 2)],
      [setRole(alice, 1)],
      // Adding an admin anew would take the role away.
      [add(alice)],
      [add(carol, 2)],
      [add(dave), remove(carol)],
    ];
    for (const changes of denied) {
      await expect(append(bob, log, at, await commit(changes))).rejects.toEqual(refused("not-an-admin"));
    }
    await expect(append(bob, log, at, await plain(EntryKind.close))).rejects.toEqual(refused("not-an-admin"));
    expect((await world.storage.head(log)).seq).toBe(1);
    at = await append(bob, log, at, await commit([add(dave)]));
    at = await append(carol, log, at, await plain(EntryKind.leave));
    at = await append(bob, log, at, await commit([remove(carol)]));
    at = await append(alice, log, at, await commit([setRole(bob, 2)]));
    at = await append(bob, log, at, await commit([setRole(alice, 1), remove(dave)]));
    expect((await world.storage.access(log.id, alice.deviceId))?.role).toBe(1);
    expect((await world.storage.access(log.id, carol.deviceId))?.until?.seq).toBe(4);
    expect((await world.storage.access(log.id, dave.deviceId))?.until).toEqual(at);
    expect(await world.storage.listGroups(dave.deviceId)).toEqual([]);
    await expect(append(dave, log, at, await application())).rejects.toEqual(refused("not-a-member"));
  });

  it("access: let no commit remove its sender, whatever its role", async () => {
    const [alice, bob] = [await admit("alice"), await admit("bob")];
    const { log } = await create(alice);
    const at = await append(alice, log, START, await commit([add(bob)]));
    for (const sender of [alice, bob]) {
      for (const changes of [[remove(sender)], [remove(sender), add(sender)]]) {
        await expect(append(sender, log, at, await commit(changes))).rejects.toEqual(refused("forbidden"));
      }
      expect((await world.storage.access(log.id, sender.deviceId))?.until).toBeUndefined();
    }
  });

  it("access: let any member remove what a member added, until an admin vouches for it", async () => {
    const [alice, bob, carol, dave] = [
      await admit("alice"),
      await admit("bob"),
      await admit("carol"),
      await admit("dave"),
    ];
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol)]));
    at = await append(bob, log, at, await commit([add(dave)]));
    expect(await world.storage.access(log.id, dave.deviceId)).toMatchObject({ byMember: true });
    at = await append(carol, log, at, await commit([remove(dave)]));
    expect((await world.storage.access(log.id, dave.deviceId))?.until).toEqual(at);
    // Put right in one commit: removed and added anew.
    at = await append(bob, log, at, await commit([add(dave)]));
    at = await append(carol, log, at, await commit([remove(dave), add(dave)]));
    // A role given by an admin, and being added by one, are an admin's word.
    at = await append(alice, log, at, await commit([setRole(dave, 2)]));
    await expect(append(carol, log, at, await commit([remove(dave)]))).rejects.toEqual(
      refused("not-an-admin"),
    );
    at = await append(alice, log, at, await commit([setRole(dave, 1)]));
    await expect(append(carol, log, at, await commit([remove(dave)]))).rejects.toEqual(
      refused("not-an-admin"),
    );
    at = await append(alice, log, at, await commit([remove(dave)]));
    at = await append(bob, log, at, await commit([add(dave)]));
    at = await append(alice, log, at, await commit([remove(dave), add(dave)]));
    await expect(append(carol, log, at, await commit([remove(dave)]))).rejects.toEqual(
      refused("not-an-admin"),
    );
  });

  it("access: let any member make any change where no admin stays", async () => {
    const [alice, bob, carol, dave] = [
      await admit("alice"),
      await admit("bob"),
      await admit("carol"),
      await admit("dave"),
    ];
    const { log } = await create(alice);
    let at = await append(alice, log, START, await commit([add(bob), add(carol), add(dave)]));
    const heir = [setRole(bob, 2), remove(carol)];
    await expect(append(bob, log, at, await commit(heir))).rejects.toEqual(refused("not-an-admin"));
    at = await append(alice, log, at, await plain(EntryKind.leave));
    at = await append(bob, log, at, await commit(heir));
    expect(await world.storage.access(log.id, bob.deviceId)).toMatchObject({ role: 2 });
    expect((await world.storage.access(log.id, carol.deviceId))?.until).toEqual(at);
    // From here on there is an admin again, and it alone decides.
    await expect(append(dave, log, at, await commit([setRole(dave, 2)]))).rejects.toEqual(
      refused("not-an-admin"),
    );
    at = await append(bob, log, at, await commit([remove(alice), setRole(bob, 1)]));
    at = await append(dave, log, at, await commit([setRole(dave, 2)]));
    expect(await world.storage.access(log.id, dave.deviceId)).toMatchObject({ role: 2 });
  });
}
