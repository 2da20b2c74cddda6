import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { Client } from "../../src/index.js";
import { backupLmdb, Relay } from "../../src/relay.js";
import { type Cursor, START } from "../../src/wire/identifiers.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { connectAll, makeGroup } from "../client/harness.js";
import { chain, groupLog, makeUser, message, RawClient } from "./raw-client.js";
import { buildCli, RelayProcess } from "./relay-process.js";

let cli: Awaited<ReturnType<typeof buildCli>>;
let data: string;
const running: RelayProcess[] = [];

beforeAll(async () => {
  cli = await buildCli();
});
afterAll(() => cli.dispose());
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), "subrosa-relay-"));
  return async () => {
    for (const process of running.splice(0)) await process.signal("SIGKILL");
    await rm(data, { recursive: true });
  };
});

function run(args: readonly string[], environment: Record<string, string> = {}): RelayProcess {
  const process = new RelayProcess(cli.path, args, environment);
  running.push(process);
  return process;
}

/** Runs a command to its end. */
async function done(...args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const process = run(args);
  return { code: await process.ended(), output: process.output };
}

const parsed = (output: string) =>
  output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

const UNTOLD =
  "; a relay is running and was not told: nobody learns of it, and sessions go on until they end";

describe("subrosa-relay", () => {
  it("is configured by the environment, and writes records of JSON", async () => {
    const process = run([], {
      SUBROSA_RELAY_PORT: "0",
      SUBROSA_RELAY_DATA: join(data, "kept"),
      SUBROSA_RELAY_LIMIT: "maxConnectionsPerUser=0",
      SUBROSA_RELAY_METRICS_PORT: "0",
      SUBROSA_RELAY_LOG: "json",
    });
    await process.says(/"listening"/);
    const { url, metricsUrl } = JSON.parse(process.output) as { url: string; metricsUrl: string };
    const client = new RawClient(url, await makeUser("alice"));
    await client.authenticate();
    expect((await client.closed()).code).toBe(CloseCode.rateLimited);
    expect(await (await fetch(metricsUrl)).text()).toContain('refusals_total{code="rate-limited"} 1\n');
    expect(await process.signal("SIGTERM")).toBe(0);
    const records = process.output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(records.map(({ event }) => event)).toEqual([
      "listening",
      "draining",
      "limited",
      "limited",
      "closed",
    ]);
    expect(process.output).not.toContain("alice");
  });

  it("refuses misspelt settings before it does anything", async () => {
    const process = run([], { SUBROSA_RELAY_PROT: "1" });
    expect(await process.ended()).toBe(1);
    expect(process.output).toBe("subrosa-relay: there is no setting SUBROSA_RELAY_PROT; see --help\n");
    for (const flag of ["--help", "--limits"]) {
      const shown = run([flag]);
      expect(await shown.ended()).toBe(0);
      expect(shown.output).toContain(flag === "--help" ? "--metrics-port" : "maxConnections=10000");
    }
  });

  it("drains on SIGTERM while people write, who lose nothing and find its successor", async () => {
    const args = ["--data", data, "--drain", "0.3", "--name", "relay.example:80", "--name"];
    let process = run([...args, "unused.example", "--port", "0"]);
    const first = await process.url();
    const port = new URL(first).port;
    await process.signal("SIGTERM");
    process = run([...args, `127.0.0.1:${port}`, "--port", port]);
    const url = await process.url();
    const [alice, bob] = [new Client({ url, userId: "alice" }), new Client({ url, userId: "bob" })];
    const received: unknown[] = [];
    let heard = () => {};
    bob.on("message", ({ content }) => {
      received.push(content);
      heard();
    });
    await Promise.all([alice.connect(), bob.connect()]);
    const sent = Array.from({ length: 60 }, (_, i) => `message ${i}`);
    for (const [i, text] of sent.entries()) {
      await alice.sendDirectMessage("bob", text);
      if (i === 20) {
        expect(await process.signal("SIGTERM")).toBe(0);
        process = run([...args, `127.0.0.1:${port}`, "--port", port]);
        await process.url();
      }
    }
    while (received.length < sent.length) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
    expect(received).toEqual(sent);
    await Promise.all([alice.close(), bob.close()]);
  });

  it("ends at once on a second signal", async () => {
    const process = run(["--port", "0", "--drain", "3600"]);
    const url = await process.url();
    const [a, b] = await Promise.all([makeUser("a"), makeUser("b")]);
    const first = await RawClient.connect(url, a);
    await RawClient.connect(url, b);
    process.child.kill("SIGINT");
    await first.closed();
    expect(await process.signal("SIGTERM")).toBe(1);
  });

  it("copies its data while it runs; what was acknowledged before is in the copy, and a relay goes on with it", async () => {
    const process = run(["--port", "0", "--data", data]);
    const alice = await makeUser("alice");
    const a = await RawClient.connect(await process.url(), alice);
    const log = groupLog(randomBytes(32));
    await a.request("create", { groupId: log.id });
    const acknowledged: Cursor[] = [];
    let writing = true;
    const written = (async () => {
      for (let i = 0; writing; i++) acknowledged.push(await a.append(log, START, message(`${i}`)));
    })();
    while (acknowledged.length < 50) await a.request("listGroups", {});
    const target = join(data, "copy");
    const before = acknowledged.length;
    const copy = run(["backup", target, "--data", data]);
    expect(await copy.ended()).toBe(0);
    expect(copy.output).toBe(`copied to ${target}\n`);
    writing = false;
    await written;
    expect(await readdir(target)).toEqual(["data.mdb"]);
    const again = run(["backup", target, "--data", data]);
    expect(await again.ended()).toBe(1);
    expect(again.output).toContain("is not empty");
    expect(await run(["backup", join(data, "other"), "--data", join(data, "none")]).ended()).toBe(1);
    expect(await run(["backup"]).ended()).toBe(1);

    const restored = new Relay({ data: target });
    const reader = await RawClient.connect((await restored.listen()).url, alice);
    const { head } = await reader.subscribe(log);
    expect(head.seq).toBeGreaterThanOrEqual(before);
    const entries = await reader.untilEntries(log, head.seq);
    expect(await chain(log, entries)).toEqual(acknowledged[head.seq - 1]);
    expect((await reader.append(log, START, message("on"))).seq).toBe(head.seq + 1);
    await restored.close();
    await a.close();
  });

  it("refuses the data of a relay that runs, at once takes that of one that was killed, and removes users meanwhile", async () => {
    const args = ["--port", "0", "--data", data];
    const first = run(args);
    const url = await first.url();
    await (await RawClient.connect(url, await makeUser("alice"))).close();
    const second = run(args);
    expect(await second.ended()).toBe(75);
    expect(second.output).toBe(`subrosa-relay: another relay uses ${data}; stop it first\n`);
    const removal = run(["remove-user", "alice", "--data", data]);
    expect([await removal.ended(), removal.output]).toEqual([0, `removed alice${UNTOLD}\n`]);
    // The name is free, and the first goes on.
    const other = await RawClient.connect(url, await makeUser("alice"));
    await other.request("create", { groupId: randomBytes(32) });
    await first.signal("SIGKILL");
    const third = run(args);
    await third.url();
    expect(await third.signal("SIGTERM")).toBe(0);
  });

  it("lists users and groups while a relay runs, and does the rest while none does, of which people learn then", async () => {
    const args = ["--data", data, "--drain", "0", "--port"];
    const first = run([...args, "0"]);
    const { port } = new URL(await first.url());
    await first.signal("SIGTERM");
    const second = run([...args, port, "--directory", "open"]);
    const [alice, bob] = await connectAll({ url: await second.url() }, ["alice", "bob", "carol"]);
    await makeGroup("team", [alice, bob]);
    await alice.event("userCreated", ({ userId }) => userId === "carol");
    const { fingerprint } = await alice.client.safetyNumber("bob");
    const [users, usersAsJson, groups, groupsAsJson] = await Promise.all([
      done("users", "--data", data),
      done("users", "--data", data, "--json"),
      done("groups", "--data", data),
      done("groups", "--data", data, "--json"),
    ]);
    expect(users.output.split("\n")[1]).toBe(`bob\t1 device\t${fingerprint}`);
    const listed = parsed(usersAsJson.output);
    expect(listed.map(({ userId }) => userId)).toEqual(["alice", "bob", "carol"]);
    expect(listed[1]).toEqual({ userId: "bob", fingerprint, devices: [bob.client.deviceId] });
    const [group] = parsed(groupsAsJson.output);
    const { groupId } = group;
    expect(group).toMatchObject({ direct: false, members: ["alice", "bob"], closed: false });
    expect(groups.output).toMatch(
      new RegExp(`^${groupId}\tgroup\t[1-9]\\d* entr(y|ies)\t[1-9]\\d* bytes\talice, bob\n$`),
    );

    const refused = await Promise.all([
      done("close-group", groupId, "--data", data),
      done("notice", "hello", "--user", "alice", "--data", data),
    ]);
    const inUse = { code: 75, output: `subrosa-relay: a relay uses ${data}; stop it first\n` };
    expect(refused).toEqual([inUse, inUse]);

    await second.signal("SIGTERM");
    const outcomes = [
      await done("remove-user", "bob", "--data", data, "--json"),
      await done("notice", "Back at noon", "--user", "alice", "--data", data),
      await done("close-group", "--name", "team", "--data", data),
      await done("close-group", groupId, "--data", data),
    ];
    expect(outcomes.map(({ code, output }) => [code, output])).toEqual([
      [0, '{"removed":"bob","told":true}\n'],
      [0, "sent to alice\n"],
      [0, "closed team\n"],
      [0, `${groupId} was closed before\n`],
    ]);
    // It is what the inboxes and logs hold that people learn of: this one has no directory.
    await run([...args, port]).url();
    expect(await alice.event("groupLeave")).toEqual({ group: "team", reason: "closed" });
    expect(await alice.event("notice")).toMatchObject({ text: "Back at noon" });
    expect(await alice.event("userDeleted")).toMatchObject({ userId: "bob" });
    expect(bob.all("notice")).toEqual([]);
  });

  it("copies what nobody uses, too, by its function", async () => {
    const relay = new Relay({ data: join(data, "kept") });
    await RawClient.connect((await relay.listen()).url, await makeUser("alice"));
    await relay.close();
    await backupLmdb(join(data, "kept"), join(data, "copy"));
    const restored = new Relay({ data: join(data, "copy") });
    const stranger = new RawClient((await restored.listen()).url, await makeUser("alice"));
    await stranger.authenticate();
    expect((await stranger.frame("refuse")).code).toBe("user-id-taken");
    await restored.close();
  });
});
