import { afterEach, expect, it } from "vitest";
import { CHUNK_LENGTH } from "../../src/client/attachments/reference.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Attachment, type Progress } from "../../src/index.js";
import { type Person, type Tab, TabsWorld } from "./tabs-world.js";

const CHUNKS = 6;

let world: TabsWorld;

afterEach(async () => {
  await world.close();
  expect(world.failures).toEqual([]);
});

async function scene() {
  world = new TabsWorld();
  const tabs = [world.tab("alice"), world.tab("alice")] as const;
  const bob = world.user("bob");
  for (const one of [...tabs, bob]) {
    one.listen();
    await world.result(one.client.connect(), `${one.name} to connect`);
  }
  const owner = tabs.find((tab) => tab.isOwner) as Tab;
  const other = tabs.find((tab) => tab !== owner) as Tab;
  return { owner, other, bob };
}

async function attachmentOf(person: Person): Promise<Attachment> {
  await world.until(() => person.messages.length === 1);
  return person.messages[0]?.content as Attachment;
}

/** Ends the owner when the third chunk has gone; notes all steps. */
function endingAtThird(owner: Tab, steps: number[]) {
  return ({ transferred }: Progress) => {
    steps.push(transferred);
    if (steps.length === 3) owner.crash();
  };
}

const ALL = Array.from({ length: CHUNKS }, (_, i) => (i + 1) * CHUNK_LENGTH);

it("a tab's upload goes on where it stood when the owner of the store dies", async () => {
  const { owner, other, bob } = await scene();
  const bytes = randomBytes(CHUNKS * CHUNK_LENGTH);
  const steps: number[] = [];
  const onProgress = endingAtThird(owner, steps);
  await world.result(other.client.sendDirectMessage("bob", new Blob([bytes]), { onProgress }));
  expect(other.isOwner).toBe(true);
  expect(steps).toEqual(ALL);
  const content = await attachmentOf(bob);
  expect(Buffer.compare(await world.result(content.bytes()), bytes)).toBe(0);
  expect(bob.messages.length).toBe(1);
});

it("a tab fetches what came to all of them, and goes on when the owner of the store dies", async () => {
  const { owner, other, bob } = await scene();
  const bytes = randomBytes(CHUNKS * CHUNK_LENGTH);
  await world.result(bob.client.sendDirectMessage("alice", new Blob([bytes]), { name: "one.bin" }));
  const content = await attachmentOf(other);
  expect(content).toBeInstanceOf(Attachment);
  expect(content.name).toBe("one.bin");
  const steps: number[] = [];
  const got = await world.result(content.bytes({ onProgress: endingAtThird(owner, steps) }));
  expect(Buffer.compare(got, bytes)).toBe(0);
  expect(steps).toEqual(ALL);
  expect(other.isOwner).toBe(true);
});
