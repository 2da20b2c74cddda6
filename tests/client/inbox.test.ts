import { expect, it } from "vitest";
import { equalBytes } from "../../src/base/bytes.js";
import { decode } from "../../src/codec/reader.js";
import { randomBytes } from "../../src/crypto/random.js";
import { memoryStore } from "../../src/index.js";
import { openMemoryStorage } from "../../src/relay.js";
import { decodePointer } from "../../src/wire/entries.js";
import { EntryKind, Role } from "../../src/wire/protocol.js";
import { inboxOf } from "../relay/raw-client.js";
import { connected, eventually, startRelay } from "./harness.js";
import { RawMember } from "./raw-member.js";
import { TamperedConnector } from "./tamper.js";

/** A pointer to a first group comes while the owner of the store is away, and is dropped for its age. */
async function missedPointer() {
  const storage = openMemoryStorage();
  const relay = await startRelay({ storage });
  const store = memoryStore();
  const one = await connected(relay, "bob", { store });
  const alice = await connected(relay, "alice");
  await one.client.close();
  await alice.client.createGroup("g1");
  await alice.client.invite("g1", "bob");
  for (let i = 0; i < 20; i++)
    await storage.prune({ now: Date.now() + 1, retention: 0, maxLogBytes: 1e9, batch: 1000 } as never);
  return { relay, store, alice };
}

it("a first pointer that retention dropped leaves the inbox alive", async () => {
  const { relay, store, alice } = await missedPointer();
  const bob = await connected(relay, "bob", { store });
  await alice.client.sendDirectMessage("bob", "hello");
  await bob.message("hello");
  expect(bob.errors).toEqual([]);
});

it.each(["while it was away", "since it is there"])(
  "a member's welcome for somebody else does not make a device whose inbox was cut give itself up: %s",
  async (when) => {
    const { relay, store, alice } = await missedPointer();
    const mallory = await RawMember.connect(relay, "mallory");
    await alice.client.createGroup("g2");
    await alice.client.invite("g2", "mallory");
    await mallory.join();
    const [own] = mallory.client.entriesOf(inboxOf(mallory.user));
    if (own?.form !== "full") throw new Error("no pointer");
    const { groupId, at } = decode(decodePointer, own.content.payload);
    const { welcome } = await mallory.client.request("fetchBundle", { groupId, seq: at.seq });
    await alice.client.close();
    await mallory.follow();
    const devices = async () => {
      const { deviceList } = await mallory.client.request("fetchAccount", { userId: "bob" });
      return deviceList.list.devices;
    };
    const before = await devices();
    const add = async () => {
      const { deviceId } = before[0] as (typeof before)[number];
      const access = [{ type: "add", userId: "bob", deviceId, role: Role.member }] as const;
      await mallory.append({
        kind: EntryKind.commit,
        payload: randomBytes(200),
        bundle: { access, welcome },
      });
    };
    let asked = 0;
    const connector = new TamperedConnector({
      fromClient(frame) {
        if (frame.type !== "request" || frame.name !== "fetchBundle") return undefined;
        if (equalBytes(frame.body.groupId, groupId)) asked++;
        return undefined;
      },
    });
    const open = () => connected(relay, "bob", { store, seams: { connector } });
    if (when === "while it was away") await add();
    let bob = await open();
    if (when === "since it is there") await add();
    // By the pointer, and twice since the group is listed.
    await eventually(() => asked > 2);
    await bob.client.blocked();
    await bob.client.close();
    asked = 0;
    bob = await open();
    await eventually(() => asked > 0);
    await bob.client.blocked();
    expect(bob.all("storeRecovered")).toEqual([]);
    expect(await devices()).toEqual(before);
  },
);
