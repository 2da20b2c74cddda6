import { orderCrypto } from "../simulation/ordered-crypto.js";
import { failureTests } from "./crash-enumeration.js";
import { base, createGroup, invite, registered, type Scene } from "./crash-scenes.js";
import type { World } from "./crash-world.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const both = ["alice", "bob"];

/** Alice's disk is that of before `meanwhile`; what bob has written `since`, nobody has got. */
function setBack(
  name: string,
  meanwhile: (world: World) => Promise<void>,
  since: (world: World) => void,
): Scene["base"] {
  return base(`a disk that is set back to before ${name}`, async () => {
    const world = await registered(...both)();
    const disk = world.device("alice").place.copy();
    for (const user of both) world.start(user);
    await world.settle();
    await meanwhile(world);
    await world.close();
    // What this disk knows nothing of is not asked for.
    world.sends.length = 0;
    for (const { taken } of world.devices.values()) taken.length = 0;
    world.start("bob");
    await world.settle();
    since(world);
    await world.settle();
    await world.close();
    world.device("alice").place = disk;
    world.remembers = true;
    return world;
  });
}

const conversation = setBack(
  "a conversation",
  async (world) => {
    for (const [from, to] of [both, [...both].reverse()] as [string, string][]) {
      world.send(from, [to], `${from} greets ${to}`);
      await world.settle();
    }
  },
  (world) => world.send("bob", ["alice"], "written to nobody"),
);

const group = setBack(
  "a group",
  async (world) => {
    createGroup(world, "bob");
    await world.settle();
    invite(world, "bob", "alice");
    await world.settle();
    world.send("alice", ["bob"], "alice was here", "team");
    await world.settle();
  },
  (world) => world.send("bob", [], "written to nobody", "team"),
);

const scenes: Scene[] = [
  {
    name: "a direct conversation that an older copy knows nothing of begins anew by itself",
    base: conversation,
    online: both,
    steps: [
      (world) => world.send("bob", ["alice"], "written since"),
      (world) => {
        const texts = world.device("alice").taken.map(({ content }) => content);
        for (const { from, text, id } of world.sends) {
          if (from === "bob" && id !== undefined && !texts.includes(text))
            world.failures.push(`alice has to write before she gets ${text}`);
        }
      },
    ],
    victims: both,
    standing: [{ members: both }],
  },
  {
    name: "a group that an older copy knows nothing of lets its device in",
    base: group,
    online: both,
    steps: [
      () => {},
      (world) => world.send("alice", ["bob"], "alice is back", "team"),
      (world) => world.send("bob", ["alice"], "welcome back", "team"),
    ],
    victims: both,
    standing: [{ group: "team", members: both }],
    // Opened twice, it is the newest to the relay: it comes in where it had, and what it has said since shows it.
    troubles: { alice: ["undecryptable store-outdated"] },
  },
];

failureTests("outdated", scenes);
