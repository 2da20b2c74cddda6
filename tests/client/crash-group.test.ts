import { orderCrypto } from "../simulation/ordered-crypto.js";
import { failureTests } from "./crash-enumeration.js";
import {
  askInVain,
  createClosed,
  createGroup,
  deleteGroup,
  grouped,
  invite,
  joinGroup,
  leaveGroup,
  registered,
  remove,
  type Scene,
} from "./crash-scenes.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const both = ["alice", "bob"];
const three = ["alice", "bob", "carol"];

const scenes: Scene[] = [
  {
    name: "a group is created",
    base: registered("alice", "bob"),
    online: ["alice"],
    steps: [(world) => createGroup(world, "alice")],
    victims: ["alice"],
    standing: [{ group: "team", members: ["alice"] }],
  },
  {
    name: "a request to join is approved",
    base: grouped(["alice"], ["bob"]),
    online: both,
    steps: [(world) => joinGroup(world, "bob"), (world) => world.send("alice", ["bob"], "welcome", "team")],
    victims: both,
    standing: [{ group: "team", members: both }],
  },
  {
    name: "a request to join a closed group is refused",
    base: registered("alice", "bob"),
    online: both,
    steps: [(world) => createClosed(world, "alice"), (world) => askInVain(world, "bob")],
    victims: both,
    standing: [{ group: "team", members: ["alice"] }],
  },
  {
    name: "group messages",
    base: grouped(three),
    online: three,
    steps: [
      (world) => {
        world.send("alice", ["bob", "carol"], "a1", "team");
        world.send("alice", ["bob", "carol"], "a2", "team");
        world.send("bob", ["alice", "carol"], "b1", "team");
      },
    ],
    victims: both,
    standing: [{ group: "team", members: three }],
  },
  {
    name: "an invitation is accepted",
    base: grouped(["alice"], ["bob"]),
    online: both,
    steps: [
      (world) => invite(world, "alice", "bob"),
      (world) => world.send("alice", ["bob"], "welcome", "team"),
    ],
    victims: both,
    standing: [{ group: "team", members: both }],
  },
  {
    name: "the only admin leaves",
    base: grouped(both),
    online: both,
    steps: [(world) => leaveGroup(world, "alice")],
    victims: both,
    standing: [{ group: "team", members: ["bob"] }],
  },
  {
    name: "who was removed asks to come back",
    base: grouped(both),
    online: both,
    steps: [
      (world) => remove(world, "alice", "bob"),
      (world) => joinGroup(world, "bob"),
      (world) => world.send("alice", ["bob"], "welcome back", "team"),
    ],
    victims: both,
    standing: [{ group: "team", members: both }],
  },
  {
    name: "a member is removed",
    base: grouped(three),
    online: three,
    steps: [
      (world) => remove(world, "alice", "bob"),
      (world) => world.send("carol", ["alice"], "among us", "team"),
    ],
    victims: both,
    standing: [{ group: "team", members: ["alice", "carol"] }],
  },
  {
    name: "a member leaves",
    base: grouped(three),
    online: three,
    steps: [
      (world) => leaveGroup(world, "bob"),
      (world) => world.send("carol", ["alice"], "among us", "team"),
    ],
    victims: both,
    standing: [{ group: "team", members: ["alice", "carol"] }],
  },
  {
    name: "a member that is removed has messages left to send",
    base: grouped(three),
    online: ["alice", "bob", "carol"],
    steps: [
      (world) => world.disconnect("bob"),
      (world) => {
        world.send("bob", [], "too late", "team");
        remove(world, "alice", "bob");
      },
      (world) => world.reconnect("bob"),
    ],
    victims: ["bob"],
    standing: [{ group: "team", members: ["alice", "carol"] }],
    failing: ["bob"],
  },
  {
    name: "a group is deleted",
    base: grouped(both),
    online: both,
    steps: [
      (world) => world.send("alice", ["bob"], "the end", "team"),
      (world) => deleteGroup(world, "alice"),
    ],
    victims: both,
    standing: [],
  },
];

failureTests("groups", scenes);
