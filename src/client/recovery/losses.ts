import type { StoreLosses } from "../events.js";
import { layout } from "../layout.js";

const KINDS = [
  [layout.pending, "received"],
  [layout.intents, "unsent"],
  [layout.history, "history"],
  [layout.conversations, "conversations"],
] as const satisfies readonly (readonly [string, keyof StoreLosses])[];

/** What the damaged records were, by kind. Contacts are counted apart, since one that is missing tells of itself less. */
export function countLosses(damaged: Iterable<string>, contacts: number, broken: number): StoreLosses {
  const lost = { contacts, received: 0, unsent: 0, history: 0, conversations: broken, other: 0 };
  for (const key of damaged) {
    // A copy that is gone is no loss as long as what it is a copy of is there.
    if (key.startsWith(layout.copies) || key.startsWith(layout.contacts)) continue;
    const kind = KINDS.find(([prefix]) => key.startsWith(prefix))?.[1] ?? "other";
    lost[kind]++;
  }
  return lost;
}
