import { createServer } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { Client, type ClientOptions, SubrosaError } from "../../src/index.js";
import { type LogRecord, openMemoryStorage, Relay, type RelayOptions } from "../../src/relay.js";
import { next } from "./next-event.js";

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function startRelay(options: RelayOptions = {}): Promise<{ relay: Relay; url: string }> {
  const relay = new Relay(options);
  ends.push(() => relay.close());
  return { relay, url: (await relay.listen()).url };
}

function makeClient(options: ClientOptions): Client {
  const client = new Client(options);
  ends.push(() => client.close());
  return client;
}

describe("messages", () => {
  it.each([
    ["a text", "grüß dich"],
    ["bytes", Uint8Array.of(0, 255, 7)],
  ])("%s comes directly and in a group, with its id, its sender and its time", async (_, content) => {
    const { url } = await startRelay();
    const [alice, bob] = [makeClient({ url, userId: "alice" }), makeClient({ url, userId: "bob" })];
    await Promise.all([alice.connect(), bob.connect()]);
    const direct = next(bob, "message");
    const id = await alice.sendDirectMessage("bob", content);
    expect(await direct).toMatchObject({ id, from: "alice", content, redelivered: false });
    expect((await direct).group).toBeUndefined();

    const created = next(alice, "groupCreated");
    await alice.createGroup("team", { join: "open", timeout: 20_000 });
    expect(await created).toEqual({ group: "team" });
    const [joined, seen] = [next(bob, "groupJoin"), next(alice, "memberJoin")];
    await bob.joinGroup("team", { timeout: 20_000 });
    expect(await joined).toEqual({ group: "team", members: ["alice", "bob"] });
    expect(await seen).toMatchObject({ group: "team", userId: "bob" });
    const inGroup = next(bob, "message");
    const groupId = await alice.sendGroupMessage("team", content);
    expect(await inGroup).toMatchObject({ id: groupId, from: "alice", group: "team", content });

    const [left, gone] = [next(bob, "groupLeave"), next(alice, "memberLeave")];
    await bob.leaveGroup("team");
    expect(await left).toEqual({ group: "team", reason: "left" });
    expect(await gone).toEqual({ group: "team", userId: "bob", by: "bob" });
    const deleted = next(alice, "groupDeleted");
    await alice.deleteGroup("team");
    expect((await deleted).group).toBe("team");
  });
});

describe("a connection", () => {
  it("says when it is there and with which code it ended, comes back, and loses nothing meanwhile", async () => {
    const storage = openMemoryStorage();
    ends.push(() => storage.close());
    const { relay, url } = await startRelay({ storage });
    const port = Number(new URL(url).port);
    const [alice, bob] = [makeClient({ url, userId: "alice" }), makeClient({ url, userId: "bob" })];
    const connected = next(alice, "connect");
    await Promise.all([alice.connect(), bob.connect()]);
    expect(await connected).toEqual({ registered: true });
    expect([alice.userId, alice.deviceId.length, alice.state]).toEqual(["alice", 32, "connected"]);
    const disconnected = next(alice, "disconnect");
    await relay.close();
    expect(await disconnected).toMatchObject({ code: 1001, willReconnect: true });
    const id = await alice.sendDirectMessage("bob", "written while there was no relay");
    const message = next(bob, "message");
    await startRelay({ storage, port });
    expect(await message).toMatchObject({ id, from: "alice" });
  });

  it("is refused with a code, a description and no retry where the login fails", async () => {
    const { url } = await startRelay({ authenticate: ({ userId, token }) => token === `of ${userId}` });
    await makeClient({ url, userId: "alice", token: "of alice" }).connect();
    const error = await makeClient({ url, userId: "bob", token: "of alice" })
      .connect()
      .catch((caught: unknown) => caught);
    expect(SubrosaError.is(error)).toBe(true);
    expect(error).toMatchObject({ code: "unauthorized", message: expect.stringContaining("admit") });
  });

  it("has the version of the package, and its own way to make a WebSocket", async () => {
    const { url } = await startRelay();
    const made: string[] = [];
    const { WebSocket } = await import("ws");
    class Counted extends WebSocket {
      constructor(address: string, protocols: string[]) {
        super(address, protocols);
        made.push(address);
      }
    }
    const Given = Counted as unknown as NonNullable<ClientOptions["WebSocket"]>;
    await makeClient({ url, userId: "alice", WebSocket: Given }).connect();
    expect(made).toHaveLength(1);
    expect(Client.version).toMatch(/^\d+\.\d+\.\d+/);
  });
});

it("a relay shares a server with plain HTTP, tells its operator what happens, and counts", async () => {
  const server = createServer((_, response) => response.end("the app"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ends.push(() => new Promise((resolve) => server.close(resolve)));
  const records: LogRecord[] = [];
  const { relay, url } = await startRelay({ server, onLog: (record) => void records.push(record) });
  await makeClient({ url, userId: "alice" }).connect();
  expect(await (await fetch(url.replace("ws:", "http:"))).text()).toBe("the app");
  expect((await relay.users()).items).toMatchObject([{ userId: "alice", connected: 1 }]);
  expect(await relay.metrics()).toMatch(/^\w+connections\b.* 1$/m);
  expect(JSON.stringify(records)).toContain("listening");
});
