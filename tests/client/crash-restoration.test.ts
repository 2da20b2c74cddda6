import { orderCrypto } from "../simulation/ordered-crypto.js";
import { failureTests, WRITES } from "./crash-enumeration.js";
import { base, grouped, invite, promote, type Scene } from "./crash-scenes.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const both = ["alice", "bob"];
const three = [...both, "carol"];

/** The relay knows nothing of what came after its backup: a commit, and messages that carol has not got yet. */
const shortened = base("the relay has lost the end of a log", async () => {
  const world = await grouped(three)();
  world.backUp();
  world.remembers = true;
  for (const user of both) world.start(user);
  await world.settle();
  world.send("bob", ["alice", "carol"], "before the commit", "team");
  await world.settle();
  promote(world, "alice", "bob");
  await world.settle();
  world.send("alice", ["bob", "carol"], "a1", "team");
  world.send("bob", ["alice", "carol"], "b1", "team");
  await world.settle();
  await world.close();
  await world.loseSince();
  return world;
});

/** Nor of who was added by a commit that came after it. */
const orphaned = base("the relay has lost who joined", async () => {
  const world = await grouped(["alice"], ["bob"])();
  world.backUp();
  world.remembers = true;
  for (const user of both) world.start(user);
  await world.settle();
  invite(world, "alice", "bob");
  await world.settle();
  world.send("bob", ["alice"], "b1", "team");
  await world.settle();
  world.send("alice", ["bob"], "a1", "team");
  await world.settle();
  await world.close();
  await world.loseSince();
  return world;
});

/** What they may be told of. */
const lost = ["error data-lost", "error cursor-mismatch"];
const troubles = { alice: lost, bob: lost, carol: lost };

const scenes: Scene[] = [
  {
    name: "a relay that lost a commit, and messages that one had not got",
    base: shortened,
    online: three,
    steps: [],
    victims: both,
    standing: [{ group: "team", members: three, policy: { admins: both } }],
    troubles,
  },
  {
    name: "a relay that lost the commit which brought a member in",
    base: orphaned,
    online: both,
    steps: [],
    victims: both,
    standing: [{ group: "team", members: both }],
    troubles,
  },
];

failureTests("restoration", scenes, WRITES);
