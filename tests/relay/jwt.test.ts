import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  exportJWK,
  generateKeyPair,
  type JWTVerifyOptions,
  jwtVerify,
  SignJWT,
  UnsecuredJWT,
} from "jose";
import { beforeEach, describe, expect, it } from "vitest";
import { Client, type ClientEvents } from "../../src/index.js";
import { type AuthenticateHook, Relay } from "../../src/relay.js";
import { CloseCode } from "../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
const ISSUER = "https://login.example.org";
const AUDIENCE = "relay.example.org";
const MINUTE = 60_000;

describe("a login with tokens that jose verifies", () => {
  let clock: ManualClock;
  let url: string;
  /** Asks for the login service's keys. */
  let keys: ReturnType<typeof createLocalJWKSet>;
  let failures: unknown[];
  /** What the app's own login service does. */
  let issue: (subject: string, lifetime?: number, audience?: string) => Promise<string>;

  beforeEach(async () => {
    // Clients compare the relay's clock with their own.
    clock = new ManualClock(Date.now());
    const { privateKey, publicKey } = await generateKeyPair("ES256");
    keys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), alg: "ES256", kid: "1" }] });
    issue = (subject, lifetime = MINUTE, audience = AUDIENCE) =>
      new SignJWT()
        .setProtectedHeader({ alg: "ES256", kid: "1" })
        .setIssuer(ISSUER)
        .setAudience(audience)
        .setSubject(subject)
        .setExpirationTime(Math.floor((clock.now() + lifetime) / 1000))
        .sign(privateKey);

    // The README's, word for word, but for the clock and the keys, which come from the login service there.
    const verifyNow = (token: string, _: unknown, options: JWTVerifyOptions) =>
      jwtVerify(token, keys, { ...options, currentDate: new Date(clock.now()) });
    const hook = /authenticate: async[\s\S]*?\n {2}\},\n/.exec(readme)?.[0];
    const authenticate = new Function("jwtVerify", "keys", `return { ${hook} }.authenticate`)(
      verifyNow,
      keys,
    ) as AuthenticateHook;
    failures = [];
    const relay = new Relay({
      authenticate,
      clock,
      limits: { heartbeatInterval: Number.POSITIVE_INFINITY },
      onError: (error) => failures.push((error as Error).cause),
    });
    ({ url } = await relay.listen());
    return () => relay.close();
  });

  it("admits the right user, and nobody else", async () => {
    const alice = new Client({ url, userId: "alice", token: () => issue("alice") });
    await alice.connect();
    await alice.close();
    const bad = {
      "another user's": await issue("mallory"),
      expired: await issue("alice", -1000),
      "for another service": await issue("alice", MINUTE, "elsewhere.example.org"),
      forged: `${(await issue("alice")).slice(0, -6)}AAAAAA`,
      none: "",
      "signed with a key that nobody has": await new SignJWT()
        .setProtectedHeader({ alg: "ES256", kid: "2" })
        .sign((await generateKeyPair("ES256")).privateKey),
      "signed with a shared secret": await new SignJWT()
        .setProtectedHeader({ alg: "HS256", kid: "1" })
        .sign(new Uint8Array(32)),
      unsigned: new UnsecuredJWT().setSubject("alice").encode(),
    };
    for (const [what, token] of Object.entries(bad)) {
      const client = new Client({ url, userId: "alice", token });
      await expect(client.connect(), what).rejects.toMatchObject({ code: "unauthorized" });
      await client.close();
    }
    expect(failures).toEqual([]);
  });

  it("lets its users try again while the login service does not answer", async () => {
    const service = createServer((_, response) => response.writeHead(503).end());
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", resolve));
    const { port } = service.address() as AddressInfo;
    const answering = keys;
    const client = new Client({ url, userId: "alice", token: () => issue("alice") });
    const connected = client.connect();
    for (const remote of [`http://127.0.0.1:${port}/`, "http://127.0.0.1:1/"]) {
      const before = failures.length;
      keys = createRemoteJWKSet(new URL(remote)) as typeof keys;
      await expect.poll(() => failures.length, { timeout: 20_000 }).toBeGreaterThan(before);
    }
    keys = answering;
    await connected;
    await client.close();
    await new Promise((resolve) => service.close(resolve));
  });

  it("ends the session when the token expires; it is renewed while people chat, who lose nothing", async () => {
    let asked = 0;
    const tokenOf = (userId: string) => () => {
      asked++;
      return issue(userId);
    };
    const alice = new Client({ url, userId: "alice", token: tokenOf("alice") });
    const bob = new Client({ url, userId: "bob", token: tokenOf("bob") });
    const received: unknown[] = [];
    let heard = () => {};
    bob.on("message", ({ content }) => {
      received.push(content);
      heard();
    });
    const codes: number[] = [];
    alice.on("disconnect", ({ code, willReconnect }) => codes.push(willReconnect ? code : Number.NaN));
    await Promise.all([alice.connect(), bob.connect()]);
    const sent = Array.from({ length: 40 }, (_, i) => `message ${i}`);
    let back: Promise<unknown> = Promise.resolve();
    for (const [i, text] of sent.entries()) {
      await alice.sendDirectMessage("bob", text);
      if (i % 15 !== 10) continue;
      const next = (event: "connect" | "disconnect") =>
        Promise.all([alice, bob].map((client) => new Promise((resolve) => client.on(event, resolve))));
      await back;
      const ended = next("disconnect");
      back = next("connect");
      clock.advance(MINUTE);
      // They go on writing while they are away.
      await ended;
    }
    while (received.length < sent.length) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
    expect(received).toEqual(sent);
    expect(codes.length).toBeGreaterThanOrEqual(2);
    expect(new Set(codes)).toEqual(new Set([CloseCode.expired]));
    expect(asked).toBeGreaterThanOrEqual(6);
    await Promise.all([alice.close(), bob.close()]);
  });

  it("refuses who comes back with the token that has expired", async () => {
    const token = await issue("alice");
    const alice = new Client({ url, userId: "alice", token: async () => token });
    const refused = new Promise((resolve) => alice.on("error", resolve));
    await alice.connect();
    clock.advance(MINUTE);
    expect(await refused).toMatchObject({ code: "unauthorized" });
    expect(alice.state).toBe("idle");
    await alice.close();
  });

  it.each([
    ["a time that has passed", { expiresAt: 0 }],
    ["no time at all", { expiresAt: Number.NaN }],
    ["nothing", undefined],
    ["something else", "yes"],
  ])("a hook that answers %s refuses", async (_what, answer) => {
    const relay = new Relay({ authenticate: async () => answer as never });
    const client = new Client({ url: (await relay.listen()).url, userId: "alice" });
    await expect(client.connect()).rejects.toMatchObject({ code: "unauthorized" });
    await Promise.all([client.close(), relay.close()]);
  });

  it("a time far away does not end the session early", async () => {
    const far = new ManualClock(Date.now());
    const day = 24 * 60 * MINUTE;
    const relay = new Relay({
      clock: far,
      authenticate: async () => ({ expiresAt: far.now() + 40 * day }),
      limits: { heartbeatInterval: Number.POSITIVE_INFINITY },
    });
    const client = new Client({ url: (await relay.listen()).url, userId: "alice" });
    const ended = new Promise<ClientEvents["disconnect"]>((resolve) => client.on("disconnect", resolve));
    await client.connect();
    // Longer than any timer waits.
    far.advance(39 * day);
    await client.createGroup("still here");
    far.advance(day);
    expect(await ended).toMatchObject({ code: CloseCode.expired });
    await Promise.all([client.close(), relay.close()]);
  });
});
