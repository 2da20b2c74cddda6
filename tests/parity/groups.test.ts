import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { fromHex } from "../../src/base/encoding.js";
import { nameHash } from "../../src/client/conversation/membership/directory-names.js";
import { sha256 } from "../../src/crypto/hash.js";
import { randomBytes } from "../../src/crypto/random.js";
import type { RelayStorage, StoredEntry } from "../../src/relay/storage.js";
import { openMemoryStorage } from "../../src/relay.js";
import { type AccessChange, contentDigestInput } from "../../src/wire/entries.js";
import { type LogId, START } from "../../src/wire/identifiers.js";
import { EntryKind, isHandshake, LogKind, Role } from "../../src/wire/protocol.js";
import {
  type Actor,
  connectAll,
  eventually,
  makeGroup,
  settledMembers,
  startRelay,
} from "../client/harness.js";
import { codeOf } from "../harness/code-of.js";

const adminsOf = async ({ client }: Actor, group: string) =>
  (await client.members(group)).filter(({ admin }) => admin).map(({ userId }) => userId);

describe("groups, by the public interface alone", () => {
  it("are made, joined, administered, renamed and deleted", async () => {
    const relay = await startRelay();
    const [alice, bob, carol, dave] = await connectAll(relay, ["alice", "bob", "carol", "dave"]);
    await alice.client.createGroup("team", { join: "approval" });
    const joined = bob.client.joinGroup("team");
    await (await alice.event("joinRequest")).approve();
    await joined;
    await alice.client.invite("team", "carol");
    await (await carol.event("invitation")).accept();
    await settledMembers("team", [alice, bob, carol]);

    await alice.client.promote("team", "bob");
    await eventually(async () => (await bob.client.groups())[0]?.admin === true);
    await bob.client.setJoinMode("team", "open");
    await eventually(async () => (await alice.client.groups())[0]?.join === "open");
    await dave.client.joinGroup("team");
    await settledMembers("team", [alice, bob, carol, dave]);
    await bob.client.ban("team", "dave");
    await settledMembers("team", [alice, bob, carol]);
    expect(await dave.event("groupLeave")).toMatchObject({ reason: "removed", by: "bob" });
    expect(await codeOf(dave.client.joinGroup("team"))).toBe("banned");
    await alice.client.remove("team", "carol");
    await settledMembers("team", [alice, bob]);
    await alice.client.renameGroup("team", "crew");
    await eventually(async () => (await bob.client.groups())[0]?.name === "crew");
    await bob.client.unban("crew", "dave");
    // An admin that has not heard of it yet would refuse.
    await eventually(async () => (await alice.client.banned("crew")).length === 0);
    await dave.client.joinGroup("crew");
    await alice.client.setDisappearing({ group: "crew" }, 60_000);
    await alice.client.demote("crew", "bob");
    for (const actor of [alice, bob, dave]) {
      await eventually(async () => (await adminsOf(actor, "crew")).join() === "alice");
      const [group] = await actor.client.groups();
      expect(group).toMatchObject({ name: "crew", join: "open", banned: [], disappearAfter: 60_000 });
    }
    expect(alice.all("groupUpdated").map(({ group: _, by: __, ...change }) => change)).toEqual([
      { promoted: ["bob"] },
      { join: "open" },
      { banned: ["dave"] },
      { name: { before: "team", after: "crew" } },
      { unbanned: ["dave"] },
      { disappearAfter: 60_000 },
      { demoted: ["bob"] },
    ]);
    await dave.client.sendGroupMessage("crew", "back again");
    await Promise.all([alice.message("back again"), bob.message("back again")]);
    await dave.client.leaveGroup("crew");
    await alice.client.deleteGroup("crew");
    expect(await bob.event("groupDeleted")).toEqual({ group: "crew", by: "alice" });
    expect(await bob.client.groups()).toEqual([]);
  });

  it("say why they refuse: each its own code", async () => {
    const relay = await startRelay();
    const [alice, bob, carol] = await connectAll(relay, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob]);
    await carol.client.createGroup("other");
    const codes = {
      "not-an-admin": () => bob.client.renameGroup("team", "mine"),
      "not-a-member": () => alice.client.promote("team", "carol"),
      "last-admin": () => alice.client.demote("team", "alice"),
      "name-taken": () => alice.client.renameGroup("team", "other"),
      "unknown-user": () => alice.client.invite("team", "nobody"),
      "unknown-group": () => bob.client.joinGroup("nowhere"),
      "already-a-member": () => alice.client.invite("team", "bob"),
      "invalid-argument": () => alice.client.ban("team", "alice"),
    };
    for (const [code, call] of Object.entries(codes)) expect(await codeOf(call())).toBe(code);
    await alice.client.ban("team", "carol");
    expect(await codeOf(alice.client.invite("team", "carol"))).toBe("banned");
    await alice.client.unban("team", "carol");
    await alice.client.setJoinMode("team", "closed");
    expect(await codeOf(carol.client.joinGroup("team"))).toBe("join-rejected");
    expect(await codeOf(alice.client.createGroup("other"))).toBe("name-taken");
  });
});

/** A relay whose operator writes into its storage whatever it likes, under the name of any device. */
class HostileRelay {
  readonly #storage: RelayStorage;
  log!: LogId;

  /** What it has seen of the group's log: it keeps what others may forget. */
  readonly entries: StoredEntry[] = [];

  constructor(storage: RelayStorage) {
    this.#storage = storage;
    storage.watch(({ log, entry }) => {
      if (log.kind === LogKind.group && entry !== undefined) this.entries.push(entry);
    });
  }

  async begin(group: string): Promise<void> {
    const id = (await this.#storage.resolveName(await nameHash(group))) as Bytes;
    this.log = { kind: LogKind.group, id };
  }

  payloads(kind: EntryKind): Bytes[] {
    return this.entries
      .filter((entry) => entry.kind === kind)
      .map(({ content }) => content?.payload as Bytes);
  }

  async append(as: Actor, kind: EntryKind, payload: Bytes, access?: readonly AccessChange[]): Promise<void> {
    const last = this.entries.filter((entry) => isHandshake(entry.kind)).at(-1);
    const after = last === undefined ? START : { seq: last.seq, digest: last.digest };
    const bundle = access && { bundle: { access, welcomeHash: new Uint8Array(0) } };
    const content = { kind, entryId: randomBytes(16), payload, ...bundle };
    const contentDigest = await sha256(contentDigestInput(content));
    const sender = { userId: as.userId, deviceId: fromHex(as.client.deviceId) };
    const quotas = { maxInboxEntries: 1_000, maxInboxBytes: 1_000_000, maxRequests: 9, maxGroups: 9 };
    const entry = { content, contentDigest, welcome: new Uint8Array(0) };
    await this.#storage.append({ log: this.log, sender, after, entry, now: Date.now(), quotas });
  }

  /** Binds another name to the group. */
  async bind(as: Actor, name: string): Promise<void> {
    const sender = { userId: as.userId, deviceId: fromHex(as.client.deviceId) };
    await this.#storage.claimName({ groupId: this.log.id, nameHash: await nameHash(name), sender });
  }
}

describe("a relay that would rule a group", () => {
  async function world() {
    const storage = openMemoryStorage();
    const relay = await startRelay({ storage });
    const hostile = new HostileRelay(storage);
    const [alice, bob, eve] = await connectAll(relay, ["alice", "bob", "eve"]);
    await makeGroup("team", [alice, bob]);
    const id = await alice.client.sendGroupMessage("team", "by alice");
    await Promise.all([bob.message("by alice"), alice.receipts([id], "sent")]);
    await hostile.begin("team");
    /** What it has seen of a real commit, and what is none. */
    const payloads = [hostile.payloads(EntryKind.commit).at(-1) as Bytes, randomBytes(400)];
    const goesOn = async () => {
      const text = `goes on ${bob.texts.length}`;
      await alice.client.sendGroupMessage("team", text);
      await bob.message(text);
      for (const actor of [alice, bob]) {
        expect(await actor.client.members("team")).toEqual([
          { userId: "alice", admin: true },
          { userId: "bob", admin: false },
        ]);
        expect((await actor.client.groups()).map(({ name }) => name)).toEqual(["team"]);
        expect(actor.all("groupUpdated")).toEqual([]);
      }
    };
    return { alice, bob, eve, hostile, payloads, goesOn };
  }
  const device = (actor: Actor) => ({ userId: actor.userId, deviceId: fromHex(actor.client.deviceId) });

  it("admits nobody: its list of readers is not who can read", async () => {
    const { alice, bob, eve, hostile, payloads, goesOn } = await world();
    for (const payload of payloads) {
      await hostile.append(alice, EntryKind.commit, payload, [
        { type: "add", ...device(eve), role: Role.member },
      ]);
    }
    await bob.until(() => bob.errors.length >= payloads.length);
    await goesOn();
    expect(await eve.client.groups()).toEqual([]);
    expect(eve.messages).toEqual([]);
    expect(eve.all("invitation")).toEqual([]);
  });

  it("promotes nobody: who is an admin stands in what it cannot write", async () => {
    const { alice, bob, hostile, payloads, goesOn } = await world();
    for (const payload of payloads) {
      await hostile.append(alice, EntryKind.commit, payload, [
        { type: "role", ...device(bob), role: Role.admin },
      ]);
    }
    await alice.until(() => alice.errors.length >= 1);
    await bob.until(() => bob.errors.length >= payloads.length);
    expect(await codeOf(bob.client.remove("team", "alice"))).toBe("not-an-admin");
    expect(await codeOf(bob.client.promote("team", "bob"))).toBe("not-an-admin");
    await goesOn();
  });

  it("speaks as nobody: neither in its own words nor again in a member's", async () => {
    const { alice, bob, hostile } = await world();
    const payload = hostile.payloads(EntryKind.application).at(-1) as Bytes;
    const changed = payload.slice();
    changed[changed.length - 1] = (changed.at(-1) as number) ^ 1;
    for (const forged of [payload, changed, randomBytes(300)])
      await hostile.append(alice, EntryKind.application, forged);
    await bob.until(() => bob.all("undecryptable").length >= 2);
    expect(bob.texts).toEqual(["by alice"]);
    expect(alice.texts).toEqual([]);
    await hostile.append(alice, EntryKind.close, randomBytes(300));
    await bob.until(() => bob.all("undecryptable").length >= 3);
    expect(bob.all("groupDeleted")).toEqual([]);
  });

  it("renames nothing: a name that it gives to a group leads nobody there", async () => {
    const { alice, bob, eve, hostile, goesOn } = await world();
    await hostile.bind(alice, "bank");
    await goesOn();
    const asked = codeOf(eve.client.joinGroup("bank"));
    const request = await alice.event("joinRequest");
    expect(request.group).toBe("team");
    await request.approve();
    expect(await asked).toBe("unknown-group");
    // By its own name, which she did not ask for, she may come in or not.
    expect((await eve.event("invitation")).group).toBe("team");
    expect(eve.all("groupJoin")).toEqual([]);
    expect((await bob.client.groups()).map(({ name }) => name)).toEqual(["team"]);
    expect(await codeOf(eve.client.sendGroupMessage("bank", "my password"))).toBe("not-a-member");
  });
});
