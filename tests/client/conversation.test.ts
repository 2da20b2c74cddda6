import { afterEach, describe, expect, it } from "vitest";
import { Client, type ClientOptions, type Message, memoryStore } from "../../src/index.js";
import { Relay } from "../../src/relay.js";

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function startRelay(): Promise<string> {
  const relay = new Relay({ port: 0 });
  open.push(relay);
  return (await relay.listen()).url;
}

function client(url: string, userId: string, options: Partial<ClientOptions> = {}): Client {
  const made = new Client({ url, userId, store: memoryStore(), ...options });
  made.on("error", (error) => console.log(userId, "error", error));
  open.push(made);
  return made;
}

function inbox(of: Client): { all: Message[]; next(): Promise<Message> } {
  const iterator = of.messages();
  const all: Message[] = [];
  return {
    all,
    async next() {
      const { value } = await iterator.next();
      all.push(value);
      return value;
    },
  };
}

describe("a conversation", () => {
  it("carries a direct message and its answer", async () => {
    const url = await startRelay();
    const [alice, bob] = [client(url, "alice"), client(url, "bob")];
    await Promise.all([alice.connect(), bob.connect()]);
    const atBob = inbox(bob);
    const atAlice = inbox(alice);
    const id = await alice.sendDirectMessage("bob", "hello bob");
    const message = await atBob.next();
    expect(message).toMatchObject({ id, from: "alice", content: "hello bob", redelivered: false });
    await bob.sendDirectMessage("alice", "hello alice");
    expect(await atAlice.next()).toMatchObject({ from: "bob", content: "hello alice" });
  });

  it("carries group messages after a request was approved", async () => {
    const url = await startRelay();
    const [alice, bob] = [client(url, "alice"), client(url, "bob")];
    await Promise.all([alice.connect(), bob.connect()]);
    await alice.createGroup("team-42");
    alice.on("joinRequest", (request) => request.approve());
    await bob.joinGroup("team-42");
    const atBob = inbox(bob);
    await alice.sendGroupMessage("team-42", "standup at 10");
    expect(await atBob.next()).toMatchObject({ from: "alice", group: "team-42", content: "standup at 10" });
  });
});
