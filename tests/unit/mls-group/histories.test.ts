import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex, toUtf8 } from "../../../src/base/encoding.js";
import { verifyTree } from "../../../src/mls/tree/validate-tree.js";
import * as mls from "../../../src/mls.js";
import { Actor, agree, commitBy, groupOf, talk, trusting } from "./actors.js";

/** One step of a history; numbers pick members, modulo how many there are. */
type Step =
  | { kind: "add"; by: number; count: number; path: boolean }
  | { kind: "remove"; by: number; whom: number; count: number }
  | { kind: "commit"; by: number; wireFormat: mls.WireFormat }
  | { kind: "propose"; by: number; what: "update" | "remove" | "psk"; whom: number }
  | { kind: "external"; by: number; resync: boolean }
  | { kind: "extensions"; by: number; text: string }
  | { kind: "reload"; by: number }
  | { kind: "talk"; by: number; whom: number };

const number = fc.nat(1000);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("add" as const),
    by: number,
    count: fc.integer({ min: 1, max: 5 }),
    path: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("remove" as const),
    by: number,
    whom: number,
    count: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({
    kind: fc.constant("commit" as const),
    by: number,
    wireFormat: fc.constantFrom("private" as const, "public" as const),
  }),
  fc.record({
    kind: fc.constant("propose" as const),
    by: number,
    what: fc.constantFrom("update" as const, "remove" as const, "psk" as const),
    whom: number,
  }),
  fc.record({ kind: fc.constant("external" as const), by: number, resync: fc.boolean() }),
  fc.record({ kind: fc.constant("extensions" as const), by: number, text: fc.string({ maxLength: 8 }) }),
  fc.record({ kind: fc.constant("reload" as const), by: number }),
  fc.record({ kind: fc.constant("talk" as const), by: number, whom: number }),
);

const SIZE = 12;
const POLICY = 0xf001;
const capabilities = mls.makeCapabilities({ extensions: [POLICY] });
const pick = (members: readonly Actor[], index: number): Actor => members[index % members.length] as Actor;

/** Carries out a step and leaves nobody behind in another epoch. */
async function run(step: Step, all: Actor[], pool: Actor[]): Promise<void> {
  const members = all.filter((actor) => actor.isMember);
  const by = pick(members, step.by);
  switch (step.kind) {
    case "add": {
      const joiners = pool.filter((actor) => !actor.isMember).slice(0, step.count);
      if (joiners.length === 0) return;
      await Promise.all(joiners.map((joiner) => joiner.renewKeyPackage({ capabilities })));
      await commitBy(
        by,
        members,
        { proposals: joiners.map((joiner) => joiner.add), forcePath: step.path },
        joiners,
      );
      all.push(...joiners.filter((joiner) => !all.includes(joiner)));
      break;
    }
    case "remove": {
      const others = members.filter((other) => other !== by);
      const start = step.whom % Math.max(others.length, 1);
      const gone = others.slice(start, start + step.count);
      const proposals = gone.map(
        (actor): mls.Proposal => ({ kind: "remove", removed: actor.state.ownLeafIndex }),
      );
      await commitBy(by, members, { proposals });
      break;
    }
    case "commit":
      await commitBy(by, members, { wireFormat: step.wireFormat });
      break;
    case "propose": {
      const options = { signer: by.signer };
      const { groupId, epoch } = by.state.groupContext;
      const sent =
        step.what === "update"
          ? await mls.proposeUpdate(by.state, options)
          : step.what === "remove"
            ? await mls.proposeRemove(by.state, pick(members, step.whom).state.ownLeafIndex, options)
            : await mls.proposePsk(by.state, mls.resumptionPskProposal(groupId, epoch), options);
      by.state = sent.state;
      for (const other of members) if (other !== by) await other.process(sent.message);
      await commitBy(pick(members, step.whom + 1), members);
      break;
    }
    case "external": {
      const joiner = step.resync ? pick(members, step.by + 1) : pool.find((actor) => !actor.isMember);
      if (joiner === undefined || joiner === by) return;
      const { credential, signer } = joiner;
      const info = await mls.exportGroupInfo(by.state, { signer: by.signer, externalPub: true });
      const replaces = step.resync ? { replaces: joiner.state.ownLeafIndex } : {};
      const options = { credential, signer, capabilities, ...replaces, ...trusting };
      const { staged, commit } = await mls.createExternalCommit(info, options);
      for (const other of members) if (other !== joiner) await other.process(commit);
      joiner.state = mls.merge(staged);
      if (!all.includes(joiner)) all.push(joiner);
      break;
    }
    case "extensions": {
      const extensions = [{ extensionType: POLICY, data: toUtf8(step.text) }];
      await commitBy(by, members, { proposals: [{ kind: "groupContextExtensions", extensions }] });
      break;
    }
    case "reload": {
      const records = mls
        .encodeRatchets(by.state.secretTree)
        .map(({ key, value }) => [key, value as mls.Bytes] as const);
      by.state = mls.decodeGroup(mls.encodeEpoch(by.state), records);
      break;
    }
    case "talk": {
      const reader = pick(members, step.whom);
      if (reader === by) return;
      const processed = await reader.process(await by.send("hello"));
      expect(processed.kind).toBe("application");
      break;
    }
  }
}

async function check(all: readonly Actor[]): Promise<void> {
  const members = all.filter((actor) => actor.isMember);
  agree(members);
  const [first] = members as [Actor];
  expect(first.state.tree.memberCount).toBe(members.length);
  await verifyTree(first.state.tree);
  const { leafCount } = first.state.tree;
  const half = [...first.state.tree.members()].some(([leafIndex]) => leafIndex >= leafCount / 2);
  expect(leafCount === 1 || half).toBe(true);
  for (const actor of members) {
    for (const [node, key] of actor.state.privateKeys) {
      expect(actor.state.tree.publicKey(node), `node ${node} of ${actor.name}`).toBeDefined();
      expect(key.length).toBe(32);
    }
  }
}

describe("random histories", () => {
  it("keep all members in agreement, and the tree valid", async () => {
    const pool = await Promise.all(
      Array.from({ length: SIZE }, (_, i) => Actor.create(`member ${i}`, { capabilities })),
    );
    const property = fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      for (const actor of pool) actor.leaveBehind();
      const [founder] = pool as [Actor];
      await founder.createGroup({ capabilities });
      const all = [founder];
      for (const one of steps) {
        await run(one, all, pool);
        await check(all);
      }
    });
    await fc.assert(property, { numRuns: 12, seed: 9420 });
  }, 120_000);
});

describe("a larger group", () => {
  it("of forty, built in one commit, warms up, loses a third and goes on", async () => {
    const all = await Actor.createAll(40);
    await groupOf(all);
    agree(all);
    const [a, b] = all as [Actor, Actor];
    for (const actor of all.slice(0, 40).filter((_, i) => i % 7 === 3)) await commitBy(actor, all);
    const gone = all.filter((_, i) => i % 3 === 2);
    const proposals = gone.map(
      (actor): mls.Proposal => ({ kind: "remove", removed: actor.state.ownLeafIndex }),
    );
    await commitBy(b, all, { proposals });
    const rest = all.filter((actor) => actor.isMember);
    expect(rest.length).toBe(27);
    agree(rest);
    await verifyTree(a.state.tree);
    const [last] = rest.slice(-1) as [Actor];
    await commitBy(last, rest);
    await talk(rest.slice(0, 3));
    const joiner = await Actor.create("late");
    await commitBy(a, rest, { proposals: [joiner.add] }, [joiner]);
    expect(joiner.state.ownLeafIndex).toBe(2);
    expect(toHex(mls.epochAuthenticator(joiner.state))).toBe(toHex(mls.epochAuthenticator(last.state)));
  }, 120_000);
});

describe("damaged bytes", () => {
  it("are refused with a typed error, whatever they are, and change nothing", async () => {
    const [a, b] = (await Actor.createAll(2)) as [Actor, Actor];
    await groupOf([a, b]);
    const c = await Actor.create("c");
    const created = await a.commit({ proposals: [c.add], wireFormat: "public", forcePath: true });
    const hidden = await a.commit({ proposals: [c.add], forcePath: true });
    const { welcome } = hidden;
    const messages = [created.commit, hidden.commit, await a.send("x"), welcome as mls.Bytes];
    const damage = fc.record({
      which: fc.nat(messages.length - 1),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
      to: fc.integer({ min: 1, max: 255 }),
      cut: fc.option(fc.double({ min: 0, max: 0.999, noNaN: true })),
    });
    const property = fc.asyncProperty(damage, async ({ which, at, to, cut }) => {
      const original = messages[which] as mls.Bytes;
      const bytes = original.slice(0, cut === null ? original.length : Math.floor(cut * original.length));
      const index = Math.floor(at * bytes.length);
      if (bytes.length > 0) bytes[index] = (bytes[index] as number) ^ to;
      const attempt =
        which === 3
          ? mls.joinGroup(bytes, c.bundle, { signer: c.signer, ...trusting })
          : mls.processMessage(b.state, bytes, trusting);
      await attempt.then(
        () => expect.unreachable("damaged bytes were accepted"),
        (error: unknown) => expect(mls.SubrosaError.is(error), String(error)).toBe(true),
      );
    });
    await fc.assert(property, { numRuns: 400, seed: 9420 });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const error = await mls.processMessage(b.state, bytes, trusting).catch((refusal: unknown) => refusal);
        expect(mls.SubrosaError.is(error)).toBe(true);
      }),
      { numRuns: 300, seed: 9420 },
    );
    await b.process(hidden.commit);
    a.state = mls.merge(hidden.staged);
    agree([a, b]);
  }, 120_000);
});
