import type { IncomingMessage } from "node:http";
import { describe, expect, it } from "vitest";
import { addressOf, networkOf } from "../../../src/relay/abuse/address.js";
import { Allowances } from "../../../src/relay/abuse/allowances.js";
import { Buckets, Counts } from "../../../src/relay/abuse/buckets.js";
import { completeLimits, DEFAULT_LIMITS } from "../../../src/relay/limits.js";
import { TokenBucket } from "../../../src/relay/token-bucket.js";
import { ManualClock } from "../../relay/manual-clock.js";

describe("a token bucket", () => {
  it("allows a burst, then the rate, and says how long to wait for what was taken beyond", () => {
    const clock = new ManualClock();
    const bucket = new TokenBucket(clock, 2, 4);
    expect([bucket.take(3), bucket.take(1), bucket.take(1)]).toEqual([0, 0, 500]);
    expect(bucket.tryTake(1)).toBe(false);
    clock.advance(1000);
    expect([bucket.has(1), bucket.has(2)]).toEqual([true, false]);
    expect([bucket.tryTake(1), bucket.tryTake(1)]).toEqual([true, false]);
    clock.advance(1e9);
    expect([bucket.has(4), bucket.has(5)]).toEqual([true, false]);
  });

  it("stands a clock that is set back, no rate and no limit", () => {
    const clock = new ManualClock();
    const endless = new TokenBucket(clock, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
    expect([endless.take(1e9), endless.tryTake(1e9), endless.take(1)]).toEqual([0, true, 0]);
    const bucket = new TokenBucket(clock, 1, 1);
    bucket.take(1);
    clock.advance(-5000);
    expect(bucket.has(1)).toBe(false);
    clock.advance(1000);
    expect(bucket.has(1)).toBe(true);
    expect(new TokenBucket(clock, 0, 0).take(1)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("memory of who did what", () => {
  it("is bounded: whoever was seen least lately is forgotten", () => {
    const buckets = new Buckets(new ManualClock(), 3);
    const take = (name: string) => buckets.get(name, 0.001, 1).tryTake(1);
    expect(["a", "b", "c"].map(take)).toEqual([true, true, true]);
    expect(take("a")).toBe(false);
    expect(take("d")).toBe(true);
    expect(buckets.size).toBe(3);
    expect([take("a"), take("c"), take("b")]).toEqual([false, false, true]);
    for (let i = 0; i < 1000; i++) take(`${i}`);
    expect(buckets.size).toBe(3);
    const allowances = new Allowances(
      new ManualClock(),
      completeLimits({ maxTracked: 10, registrationsPerHour: 1 }),
    );
    for (let i = 0; i < 1000; i++) allowances.register(`${i}`);
    expect(() => allowances.register("999")).toThrow();
    allowances.register("0");
  });

  it("counts and forgets what is at nothing again", () => {
    const counts = new Counts();
    counts.add("a");
    counts.add("a");
    counts.remove("a");
    counts.remove("b");
    expect([counts.of("a"), counts.of("b")]).toEqual([1, 0]);
    counts.remove("a");
    expect(counts.of("a")).toBe(0);
  });

  it("does not mix users, addresses and what they did, whatever their names", () => {
    const limits = completeLimits({ oneTimePackagesPerPair: 1, joinRequestsPerHour: 1, addressFactor: 1 });
    const allowances = new Allowances(new ManualClock(), limits);
    // "ab" asking for "c" and "a" asking for "bc".
    expect([allowances.oneTimePackages("ab", "c"), allowances.oneTimePackages("a", "bc")]).toEqual([
      true,
      true,
    ]);
    expect(allowances.oneTimePackages("ab", "c")).toBe(false);
    allowances.spend("joinRequestsPerHour", { userId: "10.0.0.1", address: "10.0.0.2" });
    allowances.spend("joinRequestsPerHour", { userId: "bob", address: "10.0.0.1" });
    expect(() => allowances.spend("joinRequestsPerHour", { userId: "bob", address: "10.0.0.3" })).toThrow();
    expect(() => allowances.spend("joinRequestsPerHour", { userId: "eve", address: "10.0.0.1" })).toThrow();
  });

  it("forgets nobody's allowance for names that users make up", () => {
    const limits = completeLimits({ maxTracked: 10, nameClaimsPerHour: 1 });
    const allowances = new Allowances(new ManualClock(), limits);
    const origin = { userId: "mallory", address: "10.0.0.1" };
    allowances.spend("nameClaimsPerHour", origin);
    for (let i = 0; i < 100; i++) allowances.oneTimePackages("mallory", `user ${i}`);
    expect(() => allowances.spend("nameClaimsPerHour", origin)).toThrow();
  });

  it("lets through once an hour what is larger than an hour's allowance", () => {
    const clock = new ManualClock();
    const allowances = new Allowances(clock, completeLimits({ invitationsPerHour: 10, addressFactor: 1 }));
    const origin = { userId: "alice", address: "a" };
    allowances.spend("invitationsPerHour", origin, 1000);
    expect(() => allowances.spend("invitationsPerHour", origin)).toThrow();
    allowances.spend("invitationsPerHour", origin, 0);
    clock.advance(3_600_000);
    allowances.spend("invitationsPerHour", origin, 10);
  });
});

describe("addresses", () => {
  it.each([
    ["127.0.0.1", "127.0.0.1"],
    ["::ffff:10.1.2.3", "10.1.2.3"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:0DB8:0001::1", "2001:db8:1:0::/64"],
    ["[2001:db8::1]", "2001:db8:0:0::/64"],
    ["10.1.2.3:54321", "10.1.2.3"],
    ["[2001:db8::1]:443", "2001:db8:0:0::/64"],
    ["[::ffff:10.1.2.3]:443", "10.1.2.3"],
    ["[fe80::1%eth0]:1", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["unknown", "unknown"],
    ["x".repeat(1000), "x".repeat(64)],
  ])("count by network: %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it("are those that trusted proxies wrote", () => {
    const request = (forwarded?: string[]) =>
      ({
        socket: { remoteAddress: "172.16.0.1" },
        headersDistinct: forwarded === undefined ? {} : { "x-forwarded-for": forwarded },
      }) as unknown as IncomingMessage;
    expect(addressOf(request(["1.1.1.1"]), 0)).toBe("172.16.0.1");
    expect(addressOf(request(["1.1.1.1, 2.2.2.2"]), 1)).toBe("2.2.2.2");
    expect(addressOf(request(["1.1.1.1", "2.2.2.2,3.3.3.3"]), 2)).toBe("2.2.2.2");
    expect(addressOf(request(["1.1.1.1"]), 2)).toBe("172.16.0.1");
    expect(addressOf(request(), 1)).toBe("172.16.0.1");
    // Each connection has another port: with it no two would count together.
    expect(addressOf(request(["1.1.1.1:1000, [2001:db8::1]:2000"]), 1)).toBe("2001:db8:0:0::/64");
    expect(addressOf(request(["1.1.1.1:1000, 2.2.2.2:2000"]), 2)).toBe("1.1.1.1");
  });
});

describe("limits", () => {
  it("are the defaults with what is given, none undefined, no timer too long", () => {
    expect(completeLimits({ maxGroups: undefined } as never)).toEqual(DEFAULT_LIMITS);
    const { heartbeatInterval, retention } = completeLimits({
      heartbeatInterval: Number.POSITIVE_INFINITY,
      retention: Number.POSITIVE_INFINITY,
    });
    expect([heartbeatInterval, retention]).toEqual([2 ** 31 - 1, Number.POSITIVE_INFINITY]);
  });
});
