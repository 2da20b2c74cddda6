import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { randomBytes } from "../../src/crypto/random.js";
import { Relay } from "../../src/relay.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { add, chain, commit, groupLog, inboxOf, makeUser, message, RawClient, textOf } from "./raw-client.js";
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

function run(...args: string[]): RelayProcess {
  const process = new RelayProcess(cli.path, args);
  running.push(process);
  return process;
}

describe("a relay over LMDB", () => {
  it("goes on after a restart: the same cursors, accounts, packages and waiting entries", async () => {
    const [alice, bob] = await Promise.all([makeUser("alice"), makeUser("bob")]);
    const groupId = randomBytes(32);
    const log = groupLog(groupId);
    let relay = new Relay({ data });
    let { url } = await relay.listen();
    let a = await RawClient.connect(url, alice);
    let b = await RawClient.connect(url, bob);
    await b.request("publishKeyPackages", { oneTime: [{ notAfter: 1e10, keyPackage: randomBytes(9) }] });
    const at = await a.request("create", { groupId, first: commit([add(bob)]) });
    await b.subscribe(log, at);
    await b.close();
    const entry = message("while bob is away");
    const sent = await a.append(log, at, entry);
    await relay.close();
    expect((await a.closed()).code).toBe(CloseCode.goingAway);

    relay = new Relay({ data });
    ({ url } = await relay.listen());
    a = await RawClient.connect(url, alice);
    b = await RawClient.connect(url, bob);
    expect(await b.ready()).toMatchObject({ registered: false, keyPackages: 1 });
    expect(await b.subscribe(log, at)).toEqual({ head: sent, from: at });
    expect((await b.untilEntries(log, 1)).map(textOf)).toEqual(["while bob is away"]);
    expect(await a.append(log, at, entry)).toEqual(sent);
    await b.subscribe(inboxOf(bob));
    await b.untilEntries(inboxOf(bob), 1);
    const next = await a.append(log, at, message("now"));
    await b.untilEntries(log, 2);
    expect(await chain(log, b.entriesOf(log), at)).toEqual(next);
    await relay.close();
  });
});

describe("subrosa-relay", () => {
  it("stops on SIGTERM and SIGINT with 1001 and an exit code of 0", async () => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const process = run("--port", "0", "--data", data);
      const client = await RawClient.connect(await process.url(), await makeUser(`user of ${signal}`));
      expect(await process.signal(signal)).toBe(0);
      expect((await client.closed()).code).toBe(CloseCode.goingAway);
    }
  });

  it("listens on this machine only unless told otherwise, under the given names", async () => {
    const process = run("--port", "0", "--name", "relay.example.org", "--name", "other.example.org");
    const url = await process.url();
    expect(url).toMatch(/^ws:\/\/127\.0\.0\.1:\d+$/);
    expect(process.output).toContain("(in memory)");
    const user = await makeUser("alice");
    const nameAt = async (host: string) =>
      (await new RawClient(url, user, { host }).frame("challenge")).challenge.relayName;
    expect(await nameAt("other.example.org")).toBe("other.example.org");
    expect(await nameAt("evil.example.org")).toBe("relay.example.org");
  });

  it("removes a user, whose id is then free and whose devices are not", async () => {
    const alice = await makeUser("alice");
    let relay = new Relay({ data });
    let { url } = await relay.listen();
    await RawClient.connect(url, alice);
    await relay.close();
    const removal = run("remove-user", "alice", "--data", data);
    expect(await removal.ended()).toBe(0);
    expect(removal.output).toBe("removed alice\n");
    const again = run("remove-user", "alice", "--data", data);
    expect(await again.ended()).toBe(1);
    expect(again.output).toContain("there is no user alice");
    relay = new Relay({ data });
    ({ url } = await relay.listen());
    const old = new RawClient(url, alice);
    await old.authenticate();
    expect((await old.frame("refuse")).code).toBe("user-removed");
    expect((await (await RawClient.connect(url, await makeUser("alice"))).ready()).registered).toBe(true);
    await relay.close();
  });

  it("explains itself and refuses what it does not understand", async () => {
    const help = run("--help");
    expect(await help.ended()).toBe(0);
    for (const word of ["--port", "--host", "--data", "--name", "remove-user"])
      expect(help.output).toContain(word);
    for (const args of [
      ["--nonsense"],
      ["dance"],
      ["--port", "99999"],
      ["remove-user"],
      ["remove-user", "x", "--data", `${data}/none`],
      ["users", "--data", data, "--redis", "redis://127.0.0.1:1"],
    ]) {
      const process = run(...args);
      expect(await process.ended()).toBe(1);
      expect(process.output).toMatch(/^subrosa-relay: /);
    }
  });
});
