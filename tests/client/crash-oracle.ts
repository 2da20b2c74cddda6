import { toHex } from "../../src/base/encoding.js";
import type { DirectPolicy, GroupPolicy } from "../../src/client/conversation/membership/policy.js";
import { type ConversationState, loadState, policyIn } from "../../src/client/conversation/state.js";
import type { Message } from "../../src/client/events.js";
import { layout } from "../../src/client/layout.js";
import { epochAuthenticator } from "../../src/mls/group/index.js";
import type { StoreSession } from "../../src/stores/store.js";
import type { Scene } from "./crash-scenes.js";
import type { Device, Place, Sent, World } from "./crash-world.js";

/** A conversation that stands when a script is over, and its members. */
export interface Standing {
  readonly group?: string;
  readonly members: readonly string[];
  readonly policy?: Partial<GroupPolicy> | Partial<DirectPolicy>;
}

/** What a scene allows, beside nothing; see there. */
type Allowance = Pick<Scene, "failing" | "gone" | "troubles">;

/** Everything that is not as it must be once a world has settled. Empty: nothing was lost, repeated or left behind. */
export async function problemsOf(
  world: World,
  standing: readonly Standing[],
  { failing = [], gone = {}, troubles = {} }: Allowance = {},
): Promise<string[]> {
  const problems = [...world.failures];
  for (const device of world.devices.values()) {
    problems.push(
      ...leftovers(device),
      ...badEvents(device, failing.includes(device.userId), troubles[device.userId] ?? []),
      ...badDeliveries(device),
    );
    problems.push(...(await lostOrRepeated(world, device, gone[device.userId] ?? [])));
  }
  for (const conversation of standing) problems.push(...(await disagreements(world, conversation)));
  return problems;
}

function leftovers(device: Device): string[] {
  return [layout.intents, layout.pointers, layout.joins, layout.pending, layout.failures].flatMap((prefix) =>
    device.place.under(prefix).map(([key]) => `${device.userId} is left with ${key}`),
  );
}

function badEvents(device: Device, failing: boolean, troubles: readonly string[]): string[] {
  return device.events.flatMap(({ name, event }) => {
    if (!failing && name === "receipt" && (event as { state: string }).state === "failed")
      return [`${device.userId}: failed receipt ${JSON.stringify(event)}`];
    const { code, reason } = event as { code?: string; reason?: string };
    return ["error", "undecryptable", "identityChanged", "equivocation"].includes(name) &&
      !troubles.includes(`${name} ${code ?? reason}`)
      ? [`${device.userId}: ${name} ${event} ${JSON.stringify(event)}`]
      : [];
  });
}

/** A message comes again only in a later life, marked, and only if it was pending when the earlier one ended. */
function badDeliveries(device: Device): string[] {
  const problems: string[] = [];
  const lives = new Map<string, number>();
  for (const { id, content, redelivered, life } of device.taken) {
    const before = lives.get(id);
    lives.set(id, life);
    if (before === life) problems.push(`${device.userId} got ${content} twice in one life`);
    if (before !== undefined && !redelivered)
      problems.push(`${device.userId} got ${content} again, unmarked`);
    if (redelivered && !device.pendingAtDeath.has(id)) {
      problems.push(`${device.userId} got ${content} again although it had been taken`);
    }
  }
  return problems;
}

type View = Pick<Message, "id" | "from" | "content"> & { readonly group?: string };

async function lostOrRepeated(world: World, device: Device, gone: readonly string[]): Promise<string[]> {
  const problems: string[] = [];
  const conversations = new Map<string, Sent[]>();
  for (const sent of world.sends) {
    if (!sent.to.includes(device.userId)) continue;
    const key = `${sent.from} ${sent.group ?? ""}`;
    conversations.set(key, [...(conversations.get(key) ?? []), sent]);
  }
  const taken = device.taken.filter(({ id }, at) => device.taken.findIndex((one) => one.id === id) === at);
  const known = new Set(world.sends.filter(({ to }) => to.includes(device.userId)).map(({ text }) => text));
  for (const { content } of taken) {
    if (!known.has(content as string)) problems.push(`${device.userId} got ${content}, which is not for it`);
  }
  for (const sends of conversations.values()) {
    const { from, group } = sends[0] as Sent;
    const views = new Map<string, readonly View[]>([
      ["app", taken],
      ["history", (await device.life?.client.history(group === undefined ? from : { group })) ?? []],
    ]);
    for (const [view, messages] of views) {
      // The history also has what was said before the script began.
      const got = messages.filter(
        (one) => one.from === from && one.group === group && known.has(one.content as string),
      );
      const texts = got.map(({ content }) => content as string);
      const maybe = new Set(sends.filter(({ id }) => id === undefined).map(({ text }) => text));
      // What was on the way to the store when the sender died may have been sent or not; the rest must be there.
      const expected = sends
        .map(({ text }) => text)
        .filter((text) => !maybe.has(text) || texts.includes(text))
        .filter((text) => view === "app" || !gone.includes(text));
      if (texts.join() !== expected.join()) {
        problems.push(`${device.userId}'s ${view} has [${texts}] of ${from}, not [${expected}]`);
      }
      for (const { id, text } of sends) {
        const found = got.find(({ content }) => content === text);
        if (id !== undefined && found !== undefined && found.id !== id)
          problems.push(`${text} has another id`);
      }
    }
  }
  return problems;
}

/** The conversations that a device has stored. */
export function statesIn(place: Place): Promise<ConversationState[]> {
  const store = {
    get: async (key: string) => place.values.get(key),
    list: async (prefix: string) => place.under(prefix),
  } as StoreSession;
  return Promise.all(place.under(layout.conversations).map(([, value]) => loadState(store, value)));
}

/** Members are in the same epoch of the same group, at the same place of its log. */
async function disagreements(world: World, { group, members, policy = {} }: Standing): Promise<string[]> {
  const views = await Promise.all(
    members.map(async (userId) => {
      const states = await statesIn(world.device(userId).place);
      return states
        .filter(({ record: { subject, status } }) =>
          status !== "active"
            ? false
            : subject.kind === "group"
              ? subject.name === group
              : group === undefined && members.includes(subject.peer),
        )
        .map(({ record, place: at, group: state }) => ({
          group: toHex(record.groupId),
          at: at.cursor.seq,
          digest: toHex(at.cursor.digest),
          epoch: state && toHex(epochAuthenticator(state)),
          policy: state && policyIn(state),
        }));
    }),
  );
  const texts = views.map((view) => JSON.stringify(view.map(({ policy: _, ...place }) => place)));
  if (views.some((view) => view.length !== 1)) return [`not one conversation each: ${texts}`];
  if (new Set(texts).size > 1) return [`${group ?? "direct"}: ${members} do not agree: ${texts}`];
  const rules = { ...views[0]?.[0]?.policy } as Record<string, unknown>;
  return Object.entries(policy).flatMap(([rule, wanted]) => {
    const found = JSON.stringify(rules[rule]);
    return found === JSON.stringify(wanted) ? [] : [`${group ?? "direct"}: ${rule} is ${found}`];
  });
}
