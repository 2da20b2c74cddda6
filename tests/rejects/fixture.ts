import type { Rule } from "../../src/mls/rules.js";
import type * as mls from "../../src/mls.js";
import { Actor, commitBy, groupOf } from "../unit/mls-group/actors.js";

/** Prepares a broken message and returns what must be refused: the rule that it breaks, and nothing before, is seen there. */
export type Case = () => Promise<() => Promise<unknown>>;

/** The tests of a group of rules; a rule that can be broken in several ways has several. */
export type Cases = Partial<Record<Rule, Case | readonly Case[]>>;

export interface Trio {
  a: Actor;
  b: Actor;
  c: Actor;
  /** Not a member. */
  d: Actor;
}

/** Three members, with every node of the tree filled, and somebody outside. */
export async function trio(options: Partial<mls.CreateGroupOptions> = {}): Promise<Trio> {
  const actors = await Promise.all(["a", "b", "c", "d"].map((name) => Actor.create(name)));
  const [a, b, c, d] = actors as [Actor, Actor, Actor, Actor];
  await groupOf([a, b, c], options);
  await commitBy(b, [a, b, c]);
  await commitBy(c, [a, b, c]);
  return { a, b, c, d };
}
