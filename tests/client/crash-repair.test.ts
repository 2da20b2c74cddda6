import { type Bytes, concat } from "../../src/base/bytes.js";
import type { ConversationState } from "../../src/client/conversation/state.js";
import { layout } from "../../src/client/layout.js";
import { randomBytes } from "../../src/crypto/random.js";
import { encodeClientFrame } from "../../src/wire/frames.js";
import { EntryKind, LogKind } from "../../src/wire/protocol.js";
import { flipped, sendCommit, unreadablePath } from "../rejects/builder.js";
import { orderCrypto } from "../simulation/ordered-crypto.js";
import { failureTests, WRITES } from "./crash-enumeration.js";
import { statesIn } from "./crash-oracle.js";
import { agreeable, ban, base, grouped, invite, promote, type Scene } from "./crash-scenes.js";
import type { World } from "./crash-world.js";

// Nothing here depends on how keys are computed, and much on how often.
orderCrypto();

const both = ["alice", "bob"];
/** After so long an admin begins a group anew. */
const HOPE = 200_000;
/** After so long a member asks to be added anew that can read nothing. */
const DOUBT = 40_000;
const three = ["alice", "bob", "carol"];

/** Bob was away for longer than the relay keeps what he has not read: a message, and a commit. */
const gap = base("the relay has dropped what bob has not read", async () => {
  const world = await grouped(three)();
  for (const user of ["alice", "carol"]) world.start(user);
  await world.settle();
  world.send("alice", ["carol"], "never seen by bob", "team");
  await world.settle();
  promote(world, "alice", "carol");
  await world.settle();
  await world.close();
  await world.forget();
  return world;
});

/** Bob's last commit is lost with the relay's data, and the others have gone on without it. */
const fork = base("the relay has lost what only bob had read", async () => {
  const world = await grouped(three)();
  for (const user of three) world.start(user);
  await world.settle();
  promote(world, "alice", "bob");
  await world.settle();
  await world.close();
  world.backUp();
  world.remembers = true;
  world.start("bob");
  await world.settle();
  promote(world, "bob", "carol");
  await world.settle();
  world.send("bob", ["alice", "carol"], "lost by the relay", "team");
  await world.settle();
  await world.close();
  await world.loseSince();
  const later = agreeable(await world.copy());
  later.remembers = true;
  for (const user of ["alice", "carol"]) later.start(user);
  await later.settle();
  ban(later, "alice", "mallory");
  await later.settle();
  return later;
});

const damaged = base("a group's keys are gone from bob's store", async () => {
  const world = await grouped(three)();
  const { place } = world.device("bob");
  for (const [key] of place.under(layout.epochs)) place.values.delete(key);
  return world;
});

/** Bob's keys for what alice writes are not hers. */
const deaf = base("what one member writes another cannot read", async () => {
  const world = await grouped(three)();
  for (const user of three) world.start(user);
  await world.settle();
  world.send("alice", ["bob", "carol"], "read by all", "team");
  await world.settle();
  await world.close();
  const { place } = world.device("bob");
  for (const [key, value] of place.under(layout.allRatchets)) {
    // Its last byte counts the keys that were kept; before it stands the secret.
    if (key.endsWith("/a/0"))
      place.values.set(key, concat(flipped(value.slice(0, -1) as Bytes), value.slice(-1)));
  }
  return world;
});

/** Mallory is gone, and left a commit that nobody can read. */
const stranded = base("a commit that nobody can read", async () => {
  const world = await grouped(["alice", "bob", "mallory"])();
  world.start("mallory");
  await world.settle();
  const { place } = world.device("mallory");
  const [state] = (await statesIn(place)) as [ConversationState];
  const signer = { privateKey: place.keys.get(layout.deviceKey), publicKey: new Uint8Array(0) };
  const payload = await sendCommit({ state: state.group, signer } as never, [], {
    updatePath: unreadablePath(),
  });
  const entry = {
    kind: EntryKind.commit,
    entryId: randomBytes(16),
    payload,
    bundle: { access: [], welcome: new Uint8Array(0) },
  };
  const log = { kind: LogKind.group, id: state.record.groupId };
  const body = { log, after: state.place.handshake, entry };
  const wire = world.wire("mallory");
  world.transform = (user, _direction, bytes) => (user === "mallory" ? undefined : bytes);
  wire.smuggle(encodeClientFrame({ type: "request", id: 1_000_000, name: "append", body }));
  await world.settle();
  world.kill("mallory");
  await world.settle();
  return world;
});

/** A user is told how much it may have missed: once, or again where a process ended before it was known to be told. */
const told = (user: string, missed: number) => (world: World) => {
  const all = world
    .device(user)
    .events.flatMap(({ name, event }) =>
      name === "undecryptable" ? [(event as { missed?: number }).missed ?? 1] : [],
    );
  const sum = all.reduce((before, one) => before + one, 0);
  const isWell = world.hit ? sum >= missed : sum === missed;
  return isWell ? [] : [`${user} was told of [${all}] missed messages, not ${missed}`];
};

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

const repairs: Scene[] = [
  {
    name: "a member with a gap is added anew",
    base: gap,
    online: three,
    steps: [(world) => world.send("bob", ["alice", "carol"], "back again", "team")],
    victims: both,
    standing: [{ group: "team", members: three }],
    troubles: { bob: ["error gap", "undecryptable gap"] },
    check: told("bob", 2),
  },
  {
    name: "a member whose commit the relay has lost is added anew",
    base: fork,
    online: three,
    steps: [(world) => world.send("bob", ["alice", "carol"], "back again", "team")],
    victims: both,
    standing: [{ group: "team", members: three, policy: { admins: ["alice", "bob"], banned: ["mallory"] } }],
    troubles: { bob: ["error data-lost"] },
  },
  {
    name: "a member that has lost its keys is added anew",
    base: damaged,
    online: three,
    steps: [(world) => world.send("bob", ["alice", "carol"], "back again", "team")],
    victims: ["bob"],
    standing: [{ group: "team", members: three }],
    troubles: {},
  },
  {
    name: "a member that can read nothing of another is added anew",
    base: deaf,
    online: three,
    steps: [
      (world) => {
        for (const text of ["a1", "a2", "a3"]) world.send("alice", ["carol"], text, "team");
      },
      (world) => world.settle(DOUBT),
      (world) => (world.hit ? world.settle(DOUBT) : undefined),
    ],
    victims: ["bob"],
    standing: [{ group: "team", members: three }],
    troubles: { bob: ["undecryptable decryption-failed"] },
    check: told("bob", 3),
  },
  {
    name: "a group of which nobody can read the last commit is begun anew",
    base: stranded,
    online: both,
    steps: [
      (world) => {
        world.send("alice", ["bob"], "alice meanwhile", "team");
        world.send("bob", ["alice"], "bob meanwhile", "team");
      },
      (world) => world.settle(HOPE),
      (world) => (world.hit ? world.settle(HOPE) : undefined),
    ],
    victims: both,
    standing: [{ group: "team", members: both, policy: { admins: ["alice"] } }],
    troubles: { alice: ["error decryption-failed"], bob: ["error decryption-failed"] },
  },
];

const restorations: Scene[] = [
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

failureTests("repair", repairs, WRITES);
failureTests("restoration", restorations, WRITES);
