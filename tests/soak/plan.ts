/** What one process of a soak does; sent to it as its first message. */
export interface Plan {
  readonly url: string;
  /** Where the stores of its users go. */
  readonly folder: string;
  /** All users, in a ring: each writes to the group, and directly to the next. */
  readonly users: readonly string[];
  /** Those of this process. */
  readonly own: readonly string[];
  readonly messagesPerUser: number;
  /** Every how many messages one goes to the group. */
  readonly groupEvery: number;
  /** How many messages of a user may be under way: direct ones until the other has them, else until the relay has. */
  readonly window: number;
}

/** What a process says while it runs. After `ready` and `complete` it waits for a word to go on. */
export type Report =
  | { readonly type: "ready" }
  /** Everything has come that was to come here, and what was sent has arrived. */
  | { readonly type: "complete" }
  | { readonly type: "progress"; readonly sent: number; readonly received: number; readonly missing: string }
  | { readonly type: "done"; readonly result: Result };

/** What a process has seen when everything has come. */
export interface Result {
  readonly received: number;
  /** Messages that came twice, or not in their turn, in words; at most ten. */
  readonly violations: readonly string[];
  /** Error codes and how often they were reported. */
  readonly errors: Readonly<Record<string, number>>;
  readonly disconnects: number;
  /** After garbage collection. */
  readonly heap: readonly Sample[];
}

/** Memory at a part of all messages received, in bytes; `code` is the part of the heap that the compiler has made. */
export interface Sample {
  readonly at: number;
  readonly heapUsed: number;
  readonly code: number;
  readonly external: number;
}

export const GROUP = "soak";

/** Whom a user writes to directly. */
export function nextOf(users: readonly string[], user: string): string {
  return users[(users.indexOf(user) + 1) % users.length] as string;
}

/** How many messages of a user go to the group. */
export function groupMessages({ messagesPerUser, groupEvery }: Plan): number {
  return Math.ceil(messagesPerUser / groupEvery);
}

/** How many messages each user receives: from every other one in the group, and from the one before it. */
export function expectedPerUser(plan: Plan): number {
  const grouped = groupMessages(plan);
  return grouped * (plan.users.length - 1) + plan.messagesPerUser - grouped;
}
