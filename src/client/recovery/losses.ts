import type { StoreLosses } from "../events.js";
import { layout } from "../layout.js";

const KINDS = [
  [layout.pending, "received"],
  [layout.intents, "unsent"],
  [layout.history, "history"],
] as const satisfies readonly (readonly [string, keyof StoreLosses])[];

/** What the damaged records were, by kind. Contacts and conversations are counted apart: they can be missing as well. */
export function countLosses(damaged: Iterable<string>, contacts: number, broken: number): StoreLosses {
  const lost = { contacts, received: 0, unsent: 0, history: 0, conversations: broken, other: 0 };
  for (const key of damaged) {
    // A copy that is gone is no loss as long as what it is a copy of is there.
    if (
      [layout.copies, layout.contacts, layout.conversations, layout.historyNames].some((kind) =>
        key.startsWith(kind),
      )
    )
      continue;
    const kind = KINDS.find(([prefix]) => key.startsWith(prefix))?.[1] ?? "other";
    lost[kind]++;
  }
  return lost;
}
