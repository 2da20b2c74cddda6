import { describe, expect, it } from "vitest";
import { SubrosaError } from "../../src/base/errors.js";
import { RULES, type Rule } from "../../src/mls/rules.js";
import * as mls from "../../src/mls.js";
import { addOf, keyPackageOf, reforge, sendCommit, sendProposal, updateOf } from "./builder.js";
import { COMMITS, LISTS, PROPOSALS } from "./commits.js";
import { type Case, type Cases, trio } from "./fixture.js";
import { JOINING, SUCCESSION } from "./joining.js";
import { LEAVES, MESSAGES } from "./messages.js";

const TABLE = new Map<Rule, Case[]>();
for (const cases of [MESSAGES, LEAVES, PROPOSALS, LISTS, COMMITS, JOINING, SUCCESSION] as Cases[]) {
  for (const [rule, tests] of Object.entries(cases) as [Rule, Case | Case[]][]) {
    TABLE.set(rule, [...(TABLE.get(rule) ?? []), ...[tests].flat()]);
  }
}

describe("each rule is broken by a message that is refused for exactly it", () => {
  for (const rule of RULES) {
    const cases = TABLE.get(rule) ?? [];
    cases.forEach((test, i) => {
      it(cases.length > 1 ? `${rule} (${i + 1})` : rule, async () => {
        const act = await test();
        let refusal: unknown;
        try {
          await act();
        } catch (error) {
          refusal = error;
        }
        expect(SubrosaError.is(refusal), String(refusal)).toBe(true);
        expect((refusal as SubrosaError).rule).toBe(rule);
      });
    });
  }

  it("and no rule is without a test", () => {
    expect(RULES.filter((rule) => !TABLE.has(rule))).toEqual([]);
    expect([...TABLE.keys()].filter((rule) => !RULES.includes(rule))).toEqual([]);
    console.log(`${TABLE.size} rules checked`);
  });
});

describe("what the builder makes is accepted as long as nothing is broken", () => {
  it("proposals", async () => {
    const { a, b, d } = await trio();
    await b.process(await sendProposal(a, await addOf(d)));
    await b.process(await sendProposal(a, await updateOf(a)));
    expect(b.state.pendingProposals.length).toBe(2);
  });

  it("key packages", async () => {
    const { d } = await trio();
    await mls.validateKeyPackage(await keyPackageOf(d), [], { authenticate: async () => {} });
  });

  it("commits with and without a path", async () => {
    for (const path of ["force", false] as const) {
      const { a, b, d } = await trio();
      const processed = await b.process(await sendCommit(a, [d.add], { path }));
      expect(processed.kind).toBe("commit");
    }
  });

  it("welcomes", async () => {
    const { a, d } = await trio();
    const { welcome } = await a.commit({ proposals: [d.add], forcePath: true });
    await d.join(await reforge(welcome as mls.Bytes, d, a.signer, { tree: (tree) => tree }));
    expect(d.isMember).toBe(true);
  });
});
