import type { Client } from "../../src/client/client.js";
import { orderCrypto } from "../simulation/ordered-crypto.js";
import { failureTests, WRITES } from "./crash-enumeration.js";
import {
  acquainted,
  ban,
  createGroup,
  demote,
  grouped,
  joinGroup,
  promote,
  rename,
  type Scene,
  unban,
} from "./crash-scenes.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const both = ["alice", "bob"];
const three = ["alice", "bob", "carol"];
const SHORT = 30_000;

/** The ids of messages in a client's history, by their texts. */
async function idsOf(client: Client, peer: string, ...texts: string[]): Promise<string[]> {
  const found = (await client.history(peer)).filter(({ content }) => texts.includes(content as string));
  return found.map(({ id }) => id);
}

const scenes: Scene[] = [
  {
    name: "a group is renamed, and another takes its name",
    base: grouped(both),
    online: both,
    steps: [(world) => rename(world, "alice", "club"), (world) => createGroup(world, "bob")],
    victims: both,
    standing: [
      { group: "club", members: both, policy: { name: "club", admins: ["alice"] } },
      { group: "team", members: ["bob"] },
    ],
  },
  {
    name: "an admin makes another, who takes the first one's right",
    base: grouped(both),
    online: both,
    steps: [(world) => promote(world, "alice", "bob"), (world) => demote(world, "bob", "alice")],
    victims: both,
    standing: [{ group: "team", members: both, policy: { admins: ["bob"] } }],
  },
  {
    name: "a member is banned",
    base: grouped(three),
    online: three,
    steps: [(world) => ban(world, "alice", "bob")],
    victims: both,
    standing: [{ group: "team", members: ["alice", "carol"], policy: { banned: ["bob"] } }],
  },
  {
    name: "who was banned may come again",
    base: grouped(three),
    online: three,
    steps: [
      (world) => ban(world, "alice", "bob"),
      (world) => unban(world, "alice", "bob"),
      (world) => joinGroup(world, "bob"),
    ],
    victims: both,
    standing: [{ group: "team", members: three, policy: { banned: [] } }],
  },
  {
    name: "messages disappear",
    base: acquainted("alice", "bob"),
    online: both,
    steps: [
      (world) => world.call("alice", (client) => client.setDisappearing("bob", SHORT)),
      (world) => {
        world.send("alice", ["bob"], "not for long");
        world.send("bob", ["alice"], "nor this");
      },
      (world) => world.settle(2 * SHORT),
    ],
    victims: both,
    standing: [{ members: both, policy: { disappearAfter: SHORT } }],
    gone: { alice: ["nor this"], bob: ["not for long"] },
  },
  {
    name: "messages are read, and some deleted",
    base: acquainted("alice", "bob"),
    online: both,
    steps: [
      (world) => {
        for (const text of ["a1", "a2", "a3"]) world.send("alice", ["bob"], text);
      },
      (world) =>
        world.call("bob", async (client) => client.markRead(await idsOf(client, "alice", "a1", "a2"))),
      (world) =>
        world.call("bob", async (client) =>
          client.deleteMessages("alice", await idsOf(client, "alice", "a2", "a3")),
        ),
    ],
    victims: both,
    standing: [{ members: both }],
    gone: { bob: ["a2", "a3"] },
    check: async (world) => {
      const sent = (await world.device("alice").life?.client.history("bob")) ?? [];
      const found = sent.flatMap(({ content, state }) =>
        state !== undefined && /^a\d$/.test(content as string) ? [`${content} ${state}`] : [],
      );
      const wanted = ["a1 read", "a2 read", "a3 delivered"].filter((one) =>
        world.sends.some(({ text, id }) => id !== undefined && one.startsWith(text)),
      );
      return wanted.filter((one) => !found.includes(one)).map((one) => `alice has [${found}], not ${one}`);
    },
  },
];

failureTests("administration", scenes, WRITES);
