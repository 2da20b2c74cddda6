import type { ConversationName } from "../../src/client/delivery/history.js";
import type { Call, Life } from "./device.js";
import type { World } from "./world.js";

/** What apps do about messages that there are. */
export const KEEPING = ["mark read", "delete messages", "limit time of direct"] as const;

/** Times after which messages disappear, in milliseconds: during a run, perhaps during it, after it, never. */
export const TIMES = [5_000, 60_000, 24 * 3600 * 1000, 0] as const;

/** Messages that an app had deleted on its device: some, or whatever there was of its groups or of the talk with a user. */
export interface Deletion {
  readonly user: string;
  readonly peer: string | undefined;
  readonly call: Call;
  /** Undefined: those with these ids are not all. */
  readonly ids: ReadonlySet<string> | undefined;
}

/** An app says that some of the last messages it got have been read. */
export function markRead(world: World, life: Life): void {
  const { random, truth } = world;
  const { user, taken } = life.device;
  const messages = taken.slice(-12).filter(() => random.chance(0.4));
  if (messages.length === 0) return;
  for (const { id } of messages) truth.read.add(`${user} ${id}`);
  world.call(life, "mark read", (client) => client.markRead(messages));
}

/** An app deletes messages: such as its history names, up to one of them, or all. */
export function deleteMessages(world: World, life: Life, conversation: ConversationName): Deletion {
  const { random } = world;
  const { user, taken } = life.device;
  const what = random.weighted({ ids: 6, before: 2, all: 1 });
  const chosen = random.next();
  const ids = new Set<string>();
  const call = world.call(life, "delete messages", async (client) => {
    if (what === "all") return client.deleteMessages(conversation, what);
    const listed = await client.history(conversation, { limit: 12 });
    if (what === "before") {
      const position = listed[Math.floor(chosen * listed.length)]?.position ?? 0;
      return client.deleteMessages(conversation, { before: position });
    }
    // Where there is no history, the app knows what it got.
    const known = (listed.length > 0 ? listed : taken).map(({ id }) => id);
    const from = Math.floor(chosen * known.length);
    for (const id of known.slice(from, from + 3)) ids.add(id);
    await client.deleteMessages(conversation, [...ids]);
  });
  const peer = typeof conversation === "string" ? conversation : undefined;
  return { user, peer, call, ids: what === "ids" ? ids : undefined };
}
