import { describe, expect, it } from "vitest";
import * as mls from "../../../src/mls.js";
import { Actor, agree, commitBy, groupOf, talk } from "./actors.js";

describe("a group", () => {
  it("of two talks both ways", async () => {
    const actors = await Actor.createAll(2);
    await groupOf(actors);
    agree(actors);
    await talk(actors);
    expect(mls.members((actors[1] as Actor).state).length).toBe(2);
  });

  for (const ratchetTree of [true, false]) {
    it(`grows, updates and shrinks (tree in the welcome: ${ratchetTree})`, async () => {
      const all = await Actor.createAll(5);
      const [a, b, c, d, e] = all as [Actor, Actor, Actor, Actor, Actor];
      await a.createGroup();
      const welcome = { ratchetTree };
      await commitBy(a, [a], { proposals: [b.add], welcome }, [b]);
      await commitBy(b, [a, b], { proposals: [c.add, d.add], welcome, forcePath: true }, [c, d]);
      await talk([a, b, c, d]);
      await commitBy(d, [a, b, c, d]);
      agree([a, b, c, d]);
      const removal = await commitBy(c, [a, b, c, d], {
        proposals: [{ kind: "remove", removed: b.state.ownLeafIndex }],
      });
      expect(removal.staged.removed.map(({ leafIndex }) => leafIndex)).toEqual([1]);
      expect(b.isMember).toBe(false);
      await talk([a, c, d]);
      await commitBy(a, [a, c, d], { proposals: [e.add], welcome }, [e]);
      expect(e.state.ownLeafIndex).toBe(1);
      await talk([a, c, d, e]);
      agree([a, c, d, e]);
    });
  }
});
