import { expect, it } from "vitest";
import { orderCrypto } from "../simulation/ordered-crypto.js";
import { enumerateTwice, failureTests } from "./crash-enumeration.js";
import { acquainted, registered, type Scene } from "./crash-scenes.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const direct = [{ members: ["alice", "bob"] }];
const both = ["alice", "bob"];

const scenes: Scene[] = [
  {
    name: "the first message of two users",
    base: registered("alice", "bob"),
    online: both,
    steps: [
      (world) => {
        world.send("alice", ["bob"], "one");
        world.send("alice", ["bob"], "two");
      },
    ],
    victims: both,
    standing: direct,
  },
  {
    name: "both write first",
    base: registered("alice", "bob"),
    online: both,
    steps: [
      (world) => {
        world.send("alice", ["bob"], "from alice");
        world.send("bob", ["alice"], "from bob");
      },
    ],
    victims: both,
    standing: direct,
  },
  {
    name: "messages both ways",
    base: acquainted("alice", "bob"),
    online: both,
    steps: [
      (world) => {
        for (const text of ["a1", "a2", "a3"]) world.send("alice", ["bob"], text);
      },
      (world) => {
        world.send("bob", ["alice"], "b1");
        world.send("alice", ["bob"], "a4");
        world.send("bob", ["alice"], "b2");
      },
    ],
    victims: both,
    standing: direct,
  },
  {
    name: "messages to somebody who is offline",
    base: acquainted("alice", "bob"),
    online: ["alice"],
    steps: [
      (world) => {
        for (const text of ["a1", "a2", "a3"]) world.send("alice", ["bob"], text);
      },
      (world) => world.start("bob"),
      (world) => world.send("bob", ["alice"], "b1"),
    ],
    victims: both,
    standing: direct,
  },
  {
    name: "the first start of a client",
    base: registered("bob"),
    online: both,
    steps: [(world) => world.send("bob", ["alice"], "welcome")],
    victims: ["alice"],
    standing: direct,
  },
];

failureTests("direct conversations", scenes);

it("survives failures while it recovers from one", { timeout: 60_000 }, async () => {
  const { points, problems } = await enumerateTwice(
    {
      name: "a message and its answer",
      base: acquainted("alice", "bob"),
      online: both,
      steps: [(world) => world.send("alice", ["bob"], "a1"), (world) => world.send("bob", ["alice"], "b1")],
      victims: both,
      standing: direct,
    },
    "alice",
  );
  console.log(`failures during recovery: ${points} points covered`);
  expect(problems).toEqual([]);
  expect(points).toBeGreaterThan(50);
});
