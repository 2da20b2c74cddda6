import type { ClientEvents } from "../../src/client/events.js";
import { layout } from "../../src/client/layout.js";
import type { Device } from "./device.js";
import type { History, Sent } from "./history.js";
import { isLossy } from "./oracle-common.js";
import type { World } from "./world.js";

/** How long after its time a message may still be there, in milliseconds. */
const TOLERANCE = 1_000;

/** Messages that need not have arrived, since somebody had them deleted or their time was over. */
export class Gone {
  readonly #world: World;
  readonly #history: History;
  readonly #sends = new Map<string, Sent>();

  constructor(world: World, history: History) {
    this.#world = world;
    this.#history = history;
    for (const sent of history.sends) {
      const id = sent.id ?? world.truth.messages.get(sent.text);
      if (id !== undefined) this.#sends.set(id, sent);
    }
  }

  /** Whether the time of a message is over at its sender, or at somebody who received it. */
  hasExpired(id: string, user?: string): boolean {
    return expiryOf(this.#world, id, user) <= this.#world.clock.now;
  }

  /** Whether a user's app may have had the message deleted. */
  mayHaveDeleted(user: string, id: string): boolean {
    const sent = this.#sends.get(id);
    return this.#history.deletions.some(({ user: by, ids, peer, call }) => {
      if (by !== user) return false;
      if (ids !== undefined) return ids.has(id);
      if (sent === undefined || sent.at > call.endedAt) return false;
      return peer === undefined ? sent.group !== undefined : [sent.from, sent.to].includes(peer);
    });
  }

  /** Whether a receiver's app need not have got it. */
  mayMiss(user: string, id: string): boolean {
    return this.hasExpired(id, user) || this.mayHaveDeleted(user, id);
  }

  /** Whether a relay that lost it can have it lost for good: its sender does not keep it any more. */
  mayStayLost(user: string, id: string): boolean {
    return isLossy(this.#world) && (this.hasExpired(id) || this.mayHaveDeleted(user, id));
  }

  /** Whether it may have been given up for this reason before it was sent. */
  mayFail(user: string, id: string, code: string | undefined): boolean {
    if (code === "aborted") return this.mayHaveDeleted(user, id);
    return code === "timeout" && this.hasExpired(id);
  }
}

/** When a message disappears at its sender, or at somebody who may have received it. */
function expiryOf({ truth }: World, id: string, user?: string): number {
  const { sentAt, keptFor } = truth.facts.get(id) ?? { sentAt: 0, keptFor: Number.POSITIVE_INFINITY };
  const since =
    user === undefined ? sentAt : (truth.received.get(`${user} ${id}`) ?? Number.POSITIVE_INFINITY);
  return since + keptFor;
}

/** What an app was told is gone does not come any more, and nothing stays longer than its time. */
export function deletionProblems(world: World): string[] {
  return [...world.devices.values()].flatMap((device) => [
    ...resurrections(device),
    ...(device.setBack ? [] : remains(device)),
    ...overdue(world, device),
  ]);
}

const textOf = ({ taken }: Device, id: string) => taken.find((one) => one.id === id)?.content ?? id;

function deletedIds(device: Device): Map<string, number> {
  const deleted = new Map<string, number>();
  for (const { name, event, order } of device.events) {
    if (name !== "messagesDeleted") continue;
    for (const id of (event as ClientEvents["messagesDeleted"]).ids) deleted.set(id, order);
  }
  return deleted;
}

function resurrections(device: Device): string[] {
  if (device.setBack) return [];
  const deleted = deletedIds(device);
  return device.taken
    .filter(({ id, order }) => order > (deleted.get(id) ?? Number.POSITIVE_INFINITY))
    .map(({ content }) => `${device.user} got ${content} after it was deleted there`);
}

function remains(device: Device): string[] {
  return [...deletedIds(device).keys()]
    .filter((id) => device.place.under(layout.historyIds(id)).length > 0)
    .map((id) => `${device.user} has ${textOf(device, id)} in its history, although it was deleted`);
}

function overdue(world: World, device: Device): string[] {
  const { user, place } = device;
  const isOver = (at: number) => at + TOLERANCE < world.clock.now;
  const isOwn = (id: string) => !world.truth.received.has(`${user} ${id}`);
  const listed = [...world.truth.facts.keys()]
    .filter((id) => isOver(expiryOf(world, id, isOwn(id) ? undefined : user)))
    .filter((id) => place.under(layout.historyIds(id)).length > 0)
    .map((id) => `${user} has ${textOf(device, id)} in its history, although its time is over`);
  const noted = place.under(layout.expiries).filter(([key]) => isOver(layout.timeOfExpiry(key)));
  return noted.length > 0 ? [...listed, `${user} has ${noted.length} expiries that are overdue`] : listed;
}
