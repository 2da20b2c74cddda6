import { expect, it } from "vitest";
import { Contacts } from "../../../src/client/identity/contacts.js";
import { memoryStore } from "../../../src/index.js";

const KEY = new Uint8Array(65).fill(4);

async function open() {
  const store = await memoryStore().open("contacts");
  const met: string[] = [];
  const listener = {
    met: (userId: string) => void met.push(userId),
    identityChanged: () => {},
    deviceAdded: () => {},
    deviceRemoved: () => {},
  };
  const load = () => Contacts.load(store, (changes) => store.write(changes), listener);
  return { contacts: await load(), load, met };
}

it("pins a user once whom several meet at the same moment", async () => {
  const { contacts, load, met } = await open();
  const [one, other] = await Promise.all([contacts.check("bob", KEY), contacts.check("bob", KEY)]);
  expect(one).toEqual(other);
  expect(met).toEqual(["bob"]);
  expect((await load()).all()).toHaveLength(1);
  await expect(
    Promise.all([contacts.check("eve", KEY), contacts.check("eve", KEY.slice().fill(5))]),
  ).rejects.toMatchObject({ code: "identity-changed" });
});

it("undoes nothing by what the relay says while it is written", async () => {
  const { contacts, load } = await open();
  await contacts.check("bob", KEY);
  await Promise.all([contacts.markVerified("bob"), contacts.setRemoved("bob", true)]);
  for (const known of [contacts, await load()]) {
    expect(known.get("bob")).toMatchObject({ verified: true, removed: true });
  }
});
