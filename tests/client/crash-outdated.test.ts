import { orderCrypto } from "../simulation/ordered-crypto.js";
import { failureTests } from "./crash-enumeration.js";
import { base, registered, type Scene } from "./crash-scenes.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const both = ["alice", "bob"];

/** Alice's disk is that of before she and bob began to speak; what he has written since, nobody has got. */
const setBack = base("a disk that is set back to before a conversation", async () => {
  const world = await registered(...both)();
  const disk = world.device("alice").place.copy();
  for (const user of both) world.start(user);
  await world.settle();
  for (const [from, to] of [both, [...both].reverse()] as [string, string][]) {
    world.send(from, [to], `${from} greets ${to}`);
    await world.settle();
  }
  await world.close();
  // What this disk knows nothing of is not asked for.
  world.sends.length = 0;
  for (const { taken } of world.devices.values()) taken.length = 0;
  world.start("bob");
  await world.settle();
  world.send("bob", ["alice"], "written to nobody");
  await world.settle();
  await world.close();
  world.device("alice").place = disk;
  world.remembers = true;
  return world;
});

const scenes: Scene[] = [
  {
    name: "a direct conversation that an older copy knows nothing of begins anew by itself",
    base: setBack,
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
];

failureTests("outdated", scenes);
