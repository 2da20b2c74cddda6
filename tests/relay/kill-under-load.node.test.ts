import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { toHex } from "../../src/base/encoding.js";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay } from "../../src/relay.js";
import { type Cursor, START } from "../../src/wire/identifiers.js";
import { add, chain, commit, groupLog, makeUser, message, RawClient, textOf } from "./raw-client.js";
import { buildCli, RelayProcess } from "./relay-process.js";

const KILLS = 20;
const SENDERS = 4;
const IN_FLIGHT = 16;

let cli: Awaited<ReturnType<typeof buildCli>>;
let data: string;
let running: RelayProcess | undefined;

beforeAll(async () => {
  cli = await buildCli();
  data = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
});
afterAll(async () => {
  await running?.signal("SIGKILL");
  await cli.dispose();
  await rm(data, { recursive: true });
});

it(`loses no entry that was acknowledged or read in ${KILLS} kills under load`, async () => {
  const users = await Promise.all(Array.from({ length: SENDERS + 1 }, (_, n) => makeUser(`user ${n}`)));
  const [creator, ...others] = users as [(typeof users)[0], ...typeof users];
  const log = groupLog(randomBytes(32));
  const acknowledged = new Map<string, Cursor>();
  const read = new Map<number, string>();
  let after: Cursor = START;
  for (let kill = 0; kill < KILLS; kill++) {
    running = new RelayProcess(cli.path, ["--port", "0", "--data", data]);
    const process = running;
    const url = await process.url();
    const clients = await Promise.all(
      users.map((user) => RawClient.connect(url, user, { incarnation: kill + 1 })),
    );
    const [reader, ...senders] = clients as [RawClient, ...RawClient[]];
    if (kill === 0) {
      const access = others.map((user) => add(user));
      after = await reader.request("create", { groupId: log.id, first: commit(access) });
    }
    // Each kill comes at another place in the load.
    let left = 20 + ((kill * 53) % 200);
    const begin = (await reader.subscribe(log, after)).head.seq;
    const killed = new Promise<void>((resolve) => {
      const send = async (sender: RawClient, name: string, n: number): Promise<void> => {
        const text = `${name} ${n}`;
        acknowledged.set(text, await sender.append(log, after, message(text)));
        if (--left === 0) void process.signal("SIGKILL").then(() => resolve());
        await send(sender, name, n + 1);
      };
      senders.forEach((sender, s) => {
        // They go on until the connection ends, which fails their last append.
        for (let i = 0; i < IN_FLIGHT; i++) send(sender, `${kill}:${s}:${i}`, 0).catch(() => {});
      });
    });
    await killed;
    await Promise.all(clients.map((client) => client.closed()));
    for (const entry of reader.entriesOf(log)) {
      if (entry.seq > begin) read.set(entry.seq, textOf(entry) as string);
    }
  }
  running = undefined;

  const relay = new Relay({ data });
  const { url } = await relay.listen();
  const reader = await RawClient.connect(url, creator, { incarnation: KILLS + 1 });
  const { head } = await reader.subscribe(log, START);
  const entries = await reader.untilEntries(log, head.seq);
  expect(await chain(log, entries)).toEqual(head);
  const texts = entries.map((entry) => (entry.seq === 1 ? "" : textOf(entry)));
  expect(new Set(texts).size).toBe(texts.length);
  const ids = entries.map((entry) => toHex(entry.form === "full" ? entry.content.entryId : entry.entryId));
  expect(new Set(ids).size).toBe(ids.length);
  const lost = [...acknowledged].filter(([text, cursor]) => texts[cursor.seq - 1] !== text);
  const unseen = [...read].filter(([seq, text]) => texts[seq - 1] !== text);
  await reader.close();
  await relay.close();
  console.log(
    `${KILLS} kills under load: ${acknowledged.size} entries acknowledged, ${lost.length} lost; ` +
      `${read.size} read before a kill, ${unseen.length} lost`,
  );
  expect(acknowledged.size).toBeGreaterThan(KILLS * 20);
  expect(read.size).toBeGreaterThan(KILLS);
  expect([lost, unseen]).toEqual([[], []]);
}, 180_000);
