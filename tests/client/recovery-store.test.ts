import { describe, expect, it } from "vitest";
import { toUtf8 } from "../../src/base/encoding.js";
import { GuardedStore } from "../../src/client/recovery/guarded-store.js";
import type { Change } from "../../src/stores/store.js";
import { codeOf } from "../harness/code-of.js";
import { type Damageable, damageableMemory } from "./damaged-store.js";
import { type Actor, connected, makeActor, startRelay } from "./harness.js";

const text = (value: Uint8Array | undefined) => value && new TextDecoder().decode(value);
const put = (key: string, value: string): Change => ({ put: key, value: toUtf8(value) });
describe("a guarded store", () => {
  async function opened(place: Damageable): Promise<GuardedStore> {
    return new GuardedStore(await place.store.open("name"));
  }

  it("reads from the copy what cannot be done without, and mends it unless it was replaced", async () => {
    const place = damageableMemory();
    const first = await opened(place);
    const keys = ["identity", "incarnation", "contact/1", "contact/2", "conversation/a", "conversation/b"];
    await first.write([
      ...keys.map((key) => put(key, `=${key}`)),
      put("history/1", "h"),
      put("history/2", "h"),
    ]);
    await first.close();
    for (const key of ["identity", "contact/1", "conversation/a"]) await place.damage(key, "flip", key);
    for (const key of ["incarnation", "contact/2", "conversation/b"]) await place.damage(key, "delete", key);
    await place.damage("history/1", "cut", "");

    const store = await opened(place);
    expect(text(await store.get("identity"))).toBe("=identity");
    expect(text(await store.get("incarnation"))).toBe("=incarnation");
    for (const prefix of ["contact/", "conversation/"]) {
      const listed = await store.list(prefix);
      expect(listed.map(([key, value]) => `${key}${text(value)}`)).toEqual(
        listed.map(([key]) => `${key}=${key}`),
      );
      expect(listed).toHaveLength(2);
    }
    expect((await store.list("history/")).map(([key]) => key)).toEqual(["history/2"]);
    expect([...store.damaged]).toEqual(["history/1"]);
    await store.write([
      put("conversation/a", "newer"),
      { delete: "conversation/b" },
      put("history/1", "new"),
    ]);
    await store.write(store.mending());
    await store.close();

    const inner = await place.store.open("name");
    const stored = Object.fromEntries((await inner.list("")).map(([key, value]) => [key, text(value)]));
    expect(stored).toMatchObject({
      identity: "=identity",
      "copy/identity": "=identity",
      "contact/1": "=contact/1",
      "contact/2": "=contact/2",
      "conversation/a": "newer",
      "copy/conversation/a": "newer",
      "history/1": "new",
    });
    expect(Object.keys(stored).filter((key) => key.endsWith("conversation/b"))).toEqual([]);
    await inner.close();
  });

  it("does not hide damage to what is of no use by halves", async () => {
    const place = damageableMemory();
    const first = await opened(place);
    await first.write([put("epoch/a", "1"), put("ratchet/a/n/1", "2"), put("ratchet/a/n/3", "3")]);
    await first.close();
    await place.damage("epoch/a", "flip", "");
    await place.damage("ratchet/a/n/1", "flip", "");
    const store = await opened(place);
    expect(await codeOf(store.get("epoch/a"))).toBe("store-damaged");
    expect(await codeOf(store.list("ratchet/a/"))).toBe("store-damaged");
    await store.close();
  });

  it("takes nothing more from those who had it before", async () => {
    const place = damageableMemory();
    const first = await opened(place);
    const writing = first.write([put("a", "1")]);
    const second = first.successor();
    await writing;
    expect(await codeOf(first.write([put("a", "2")]))).toBe("closed");
    expect(await codeOf(first.get("a"))).toBe("closed");
    await first.close();
    await second.write([put("b", "3")]);
    expect(text(await second.get("a"))).toBe("1");
    await second.close();
  });
});

describe("a client's store", () => {
  /** Alice knows bob; then records of her store are damaged, and she comes back. */
  async function damaged(keys: readonly string[]): Promise<Actor> {
    const relay = await startRelay();
    const place = damageableMemory();
    const bob = await connected(relay, "bob");
    const alice = await connected(relay, "alice", { store: place.store });
    await alice.client.sendDirectMessage("bob", "one");
    await bob.message("one");
    await alice.client.markVerified("bob");
    await alice.client.close();
    for (const key of keys) await place.damage(key, "flip", key);
    return makeActor(relay, "alice", { store: place.store });
  }

  it("cannot be opened without the account's key", async () => {
    const alice = await damaged(["account-key", "copy/account-key"]);
    const opening = alice.client.connect();
    expect(await codeOf(opening)).toBe("store-damaged");
    await expect(opening).rejects.toThrow("account's key is gone");
  });

  it.each([
    ["identity", ["identity", "copy/identity"]],
    ["device key", ["key:device-key", "key:copy/device-key"]],
    ["incarnation", ["incarnation", "copy/incarnation"]],
  ])("without the %s it goes on as another device", async (_, keys) => {
    const alice = await damaged(keys);
    await alice.client.connect();
    const { reason, newDevice } = await alice.event("storeRecovered");
    expect([reason, newDevice]).toEqual(["damaged", true]);
    expect((await alice.client.safetyNumber("bob")).verified).toBe(true);
  });

  it("says when it has forgotten whom it had verified", async () => {
    const contact = "contact/000000001";
    const kept = await damaged([contact]);
    expect((await kept.client.safetyNumber("bob")).verified).toBe(true);
    const lost = await damaged([contact, `copy/${contact}`]);
    await lost.client.connect();
    expect((await lost.client.safetyNumber("bob")).verified).toBe(false);
    expect((await lost.event("storeRecovered")).lost.contacts).toBe(1);
  });
});
