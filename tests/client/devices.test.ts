import { describe, expect, it } from "vitest";
import { Contacts } from "../../src/client/identity/contacts.js";
import { encode } from "../../src/codec/writer.js";
import { sha256 } from "../../src/crypto/hash.js";
import { generateSignatureKeyPair, sign } from "../../src/crypto/signature.js";
import { memoryStore, type SubrosaError } from "../../src/index.js";
import { type Account, deviceListToBeSigned, encodeSignedDeviceList } from "../../src/wire/identity.js";

const none = new Uint8Array(32);
const device = (name: number) => new Uint8Array(16).fill(name);
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => "taken",
    (error: SubrosaError) => `${error.code} ${error.rule ?? ""}`.trim(),
  );

async function makeUser() {
  const key = await generateSignatureKeyPair();
  return async (version: number, devices: readonly number[], previous = none): Promise<Account> => {
    const list = {
      userId: "bob",
      version,
      previous,
      devices: devices.map((name) => ({ deviceId: device(name), deviceKey: key.publicKey })),
    };
    const signature = await sign(key.privateKey, deviceListToBeSigned(list));
    return { userId: "bob", accountKey: key.publicKey, deviceList: { list, signature } };
  };
}

const hashOf = ({ deviceList }: Account) => sha256(encode(encodeSignedDeviceList, deviceList));

async function openContacts(store = memoryStore()) {
  const session = await store.open("alice");
  const events: string[] = [];
  const short = (id: string) => Number.parseInt(id.slice(0, 2), 16);
  const contacts = await Contacts.load(session, (changes) => session.write(changes), {
    met: () => {},
    identityChanged: () => events.push("changed"),
    deviceAdded: (_, id) => events.push(`+${short(id)}`),
    deviceRemoved: (_, id) => events.push(`-${short(id)}`),
  });
  return { contacts, events, session };
}

describe("another user's device list", () => {
  it("is followed from version to version, and told of", async () => {
    const bob = await makeUser();
    const store = memoryStore();
    const { contacts, events, session } = await openContacts(store);
    const first = await bob(1, [1, 2]);
    await contacts.checkAccount(first, "bob");
    expect(events).toEqual([]);
    const second = await bob(2, [2, 3], await hashOf(first));
    await contacts.checkAccount(second, "bob");
    await contacts.checkAccount(second, "bob");
    expect(events).toEqual(["+3", "-1"]);
    expect([1, 2, 3].map((name) => contacts.hasDevice("bob", device(name)))).toEqual([false, true, true]);
    // Whoever was away for a while cannot know the lists between.
    const later = await bob(7, [4], new Uint8Array(32).fill(9));
    await contacts.checkAccount(later, "bob");
    expect(events.slice(2)).toEqual(["+4", "-2", "-3"]);

    await session.close();
    const again = await openContacts(store);
    expect(again.contacts.hasDevice("bob", device(4))).toBe(true);
    expect(await code(again.contacts.checkAccount(second, "bob"))).toBe("data-lost device list version");
    await again.contacts.checkAccount(await bob(8, [4, 5], await hashOf(later)), "bob");
    expect(again.events).toEqual(["+5"]);
  });

  it("is refused if it does not name the one before it, or is another one of its version", async () => {
    const bob = await makeUser();
    const { contacts, events } = await openContacts();
    const first = await bob(1, [1]);
    await contacts.checkAccount(first, "bob");
    const broken = "invalid-message device list chain";
    expect(await code(contacts.checkAccount(await bob(1, [1, 6]), "bob"))).toBe(broken);
    expect(await code(contacts.checkAccount(await bob(2, [1, 6]), "bob"))).toBe(broken);
    const other = await bob(1, [6]);
    expect(await code(contacts.checkAccount(await bob(2, [6], await hashOf(other)), "bob"))).toBe(broken);
    expect(events).toEqual([]);
    expect(contacts.hasDevice("bob", device(6))).toBe(false);
    expect(await code(contacts.checkAccount(await bob(2, [1, 6], await hashOf(first)), "bob"))).toBe("taken");
  });
});
