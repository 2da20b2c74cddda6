import { expect, it } from "vitest";
import { Client, type ClientEvents } from "../../src/index.js";
import { Relay } from "../../src/relay.js";
import { next } from "./next-event.js";

type Typing = ClientEvents["typing"];

/** As a person types: says so again and again, since what nobody is there to hear is lost. */
async function type(client: Client, conversation: string | { group: string }, heard: Promise<unknown>) {
  let isHeard = false;
  void heard.then(() => {
    isHeard = true;
  });
  while (!isHeard) {
    await client.setTyping(conversation, true);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

it("typing is shown in direct conversations and groups, and presence where both want it", async () => {
  const relay = new Relay();
  const { url } = await relay.listen();
  const [alice, bob] = ["alice", "bob"].map((userId) => new Client({ url, userId, presence: true })) as [
    Client,
    Client,
  ];
  try {
    await Promise.all([alice.connect(), bob.connect()]);
    const online = Promise.all([
      next(alice, "presence", (event) => event.online),
      next(bob, "presence", (event) => event.online),
    ]);
    const message = next(bob, "message");
    await alice.sendDirectMessage("bob", "hello");
    await message;
    const direct: Promise<Typing> = next(bob, "typing");
    await type(alice, "bob", direct);
    expect(await direct).toEqual({ userId: "alice", typing: true });

    await alice.createGroup("team-42");
    const invitation = next(bob, "invitation");
    await alice.invite("team-42", "bob");
    await (await invitation).accept();
    const grouped = next(alice, "typing", ({ group }) => group === "team-42");
    await type(bob, { group: "team-42" }, grouped);
    expect(await grouped).toEqual({ userId: "bob", group: "team-42", typing: true });
    const over = next(alice, "typing", ({ typing }) => !typing);
    await bob.setTyping({ group: "team-42" }, false);
    expect(await over).toEqual({ userId: "bob", group: "team-42", typing: false });

    expect((await online).map(({ userId }) => userId)).toEqual(["bob", "alice"]);
    expect(await alice.presence("bob")).toMatchObject({ userId: "bob", online: true });
    const gone = next(alice, "presence", (event) => !event.online);
    await bob.close();
    expect(await gone).toMatchObject({ userId: "bob", online: false });
    expect((await alice.presence("bob")).online).toBe(false);
  } finally {
    await Promise.all([alice.close(), bob.close()]);
    await relay.close();
  }
});
