import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay } from "../../src/relay.js";
import { START } from "../../src/wire/identifiers.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { add, chain, commit, groupLog, inboxOf, makeUser, message, RawClient, textOf } from "./raw-client.js";

describe("a conversation through the relay", () => {
  let relay: Relay;
  let url: string;

  beforeEach(async () => {
    relay = new Relay();
    ({ url } = await relay.listen());
  });
  afterEach(() => relay.close());

  it("registers, adds a member by a commit, and passes messages on live and later", async () => {
    const [alice, bob] = await Promise.all([makeUser("alice"), makeUser("bob")]);
    const a = await RawClient.connect(url, alice);
    const b = await RawClient.connect(url, bob);
    expect((await a.ready()).registered).toBe(true);
    expect(
      await b.request("publishKeyPackages", { oneTime: [{ notAfter: 1e10, keyPackage: randomBytes(9) }] }),
    ).toEqual({
      oneTime: 1,
    });
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    await b.subscribe(inboxOf(bob));
    expect(await a.request("create", { groupId })).toEqual(START);
    const packages = await a.request("fetchKeyPackages", { userId: "bob" });
    expect(packages.devices).toHaveLength(1);
    const welcome = randomBytes(50);
    const added = await a.append(log, START, commit([add(bob)], welcome));
    expect(added.seq).toBe(1);

    const [pointer] = await b.untilEntries(inboxOf(bob), 1);
    expect(pointer?.form === "full" && pointer.content.kind).toBe(EntryKind.pointer);
    const bundle = await b.request("fetchBundle", { groupId, seq: 1 });
    expect(bundle.welcome).toEqual(welcome);
    expect(bundle.at).toEqual(added);
    await b.subscribe(log, bundle.at);
    const sent = await a.append(log, added, message("hello bob"));
    const [received] = await b.untilEntries(log, 1);
    expect(textOf(received)).toBe("hello bob");
    expect(await chain(log, b.entriesOf(log), bundle.at)).toEqual(sent);

    await a.subscribe(log);
    const own = await a.untilEntries(log, 2);
    expect(own.map((entry) => entry.form)).toEqual(["short", "short"]);
    expect(await chain(log, own)).toEqual(sent);
  });
});
