import { type ErrorCode, SubrosaError } from "../../src/base/errors.js";
import type { Client } from "../../src/client/client.js";
import type { InvitationEvent, JoinRequestEvent } from "../../src/client/events.js";
import { ADMINISTRATION, administer, isAdministration } from "./administration.js";
import type { Call, Life } from "./device.js";
import { type Deletion, deleteMessages, KEEPING, markRead, TIMES } from "./keeping.js";
import type { World } from "./world.js";

/** A message that an app sent. */
export interface Sent {
  readonly from: string;
  readonly to?: string;
  readonly group?: string;
  readonly text: string;
  /** At which of the world's steps. */
  readonly at: number;
  readonly call: Call;
  /** Known once the promise has resolved: from then on it must not be lost. */
  id: string | undefined;
}

/** How often a history does what. */
export type Manner = Readonly<Record<(typeof OPERATIONS)[number], number>>;

export const OPERATIONS = [
  "direct message",
  "group message",
  "burst of messages",
  "create group",
  "join group",
  "invite",
  "remove",
  "leave",
  "delete group",
  ...ADMINISTRATION,
  ...KEEPING,
  "close client",
  "start client",
] as const;

/** Answers that a call may get when everything is as it should be. */
export const LEGITIMATE: Readonly<Record<string, readonly ErrorCode[]>> = {
  connect: [],
  send: ["not-a-member"],
  create: ["name-taken", "timeout", "connection-failed"],
  // Granted under a name that is another group's by now.
  join: [
    "unknown-group",
    "join-rejected",
    "banned",
    "already-a-member",
    "timeout",
    "not-a-member",
    "name-taken",
  ],
  invite: [
    "not-an-admin",
    "not-a-member",
    "already-a-member",
    "unknown-user",
    "no-key-package",
    "banned",
    "timeout",
    "connection-failed",
  ],
  remove: ["not-an-admin", "not-a-member", "timeout"],
  leave: ["not-a-member", "timeout"],
  delete: ["not-an-admin", "not-a-member", "timeout"],
  accept: ["not-a-member"],
  reject: ["not-a-member"],
  approve: ["not-an-admin", "not-a-member", "already-a-member", "banned", "timeout", "unknown-user"],
  promote: ["not-an-admin", "not-a-member", "timeout"],
  demote: ["not-an-admin", "not-a-member", "last-admin", "timeout"],
  ban: ["not-an-admin", "not-a-member", "timeout"],
  unban: ["not-an-admin", "not-a-member", "timeout"],
  rename: ["not-an-admin", "not-a-member", "name-taken", "timeout"],
  "join mode": ["not-an-admin", "not-a-member", "timeout"],
  // The other may never have been there.
  "limit time": ["not-an-admin", "not-a-member", "timeout", "unknown-user"],
  // Who left, or calls the group by a name it has no more.
  "mark read": ["not-a-member"],
  "delete messages": [],
  refuse: ["not-an-admin", "not-a-member", "unknown-group"],
};

/** Says no, once more with the next session if there is none just now. */
async function refuse(client: Client, request: JoinRequestEvent): Promise<void> {
  try {
    await request.reject();
  } catch (error) {
    if (!SubrosaError.is(error) || error.code !== "connection-failed") throw error;
    await new Promise<void>((resolve) => client.on("connect", () => resolve()));
    await refuse(client, request);
  }
}

/** What the apps of one run do: the seed decides it step by step. */
export class History {
  readonly sends: Sent[] = [];
  readonly deletions: Deletion[] = [];
  readonly done = new Map<string, number>();
  readonly #world: World;
  readonly #users: readonly string[];
  readonly #groups: readonly string[];
  /** Names that a group can get. */
  readonly #names: readonly string[];
  readonly #manner: Manner;
  readonly #agreeable: number;
  #texts = 0;
  /** From now on every request and invitation gets a yes at once. */
  healing = false;

  constructor(
    world: World,
    users: readonly string[],
    groups: readonly string[],
    names: readonly string[],
    manner: Manner,
  ) {
    this.#world = world;
    this.#users = users;
    this.#groups = groups;
    this.#names = names;
    this.#manner = manner;
    this.#agreeable = 0.6 + world.random.next() * 0.4;
    world.app = (client, life) => {
      client.on("joinRequest", (request) => this.#asked(life, request));
      client.on("invitation", (invitation) => this.#invited(life, invitation));
    };
  }

  #asked(life: Life, request: JoinRequestEvent): void {
    if (!life.alive || !life.attached) return;
    const yes = this.healing || this.#world.random.chance(this.#agreeable);
    const answer = () => {
      if (!life.alive) return;
      if (yes) this.#world.call(life, "approve", () => request.approve());
      else this.#world.call(life, "refuse", (client) => refuse(client, request));
    };
    this.#later(life, answer);
  }

  #invited(life: Life, invitation: InvitationEvent): void {
    if (!life.alive || !life.attached) return;
    const yes = this.#world.random.chance(this.#agreeable);
    const answer = () => {
      if (!life.alive) return;
      if (yes) this.#world.call(life, "accept", () => invitation.accept());
      else this.#world.call(life, "reject", () => invitation.reject());
    };
    this.#later(life, answer);
  }

  /** At once, or when the scheduler says so. */
  #later(life: Life, answer: () => void): void {
    if (!this.healing && this.#world.random.chance(0.5)) void this.#world.hold(life).then(answer);
    else answer();
  }

  get messages(): number {
    return this.sends.length;
  }

  send(life: Life, target: { to: string } | { group: string }): void {
    const text = `m${++this.#texts} of ${life.device.user}`;
    const call = this.#world.call(life, "send", async (client) => {
      const id =
        "to" in target
          ? await client.sendDirectMessage(target.to, text)
          : await client.sendGroupMessage(target.group, text);
      if (life.alive && life.attached) sent.id = id;
    });
    const at = this.#world.steps;
    const sent: Sent = { from: life.device.user, ...target, text, at, call, id: undefined };
    this.sends.push(sent);
  }

  /** Users whose apps run. */
  #running(): Life[] {
    return this.#users.flatMap((user) => {
      const { life } = this.#world.device(user);
      return life === undefined || life.closing ? [] : [life];
    });
  }

  /** Who, as far as the relay's logs tell, is in a group of this name. */
  #membersOf(group: string): string[] {
    const { truth } = this.#world;
    const log = truth.openLogNamed(group);
    if (log === undefined) return [];
    return log
      .memberships(truth.creatorOf(log))
      .flatMap(({ user, end }) => (end === undefined ? [user] : []));
  }

  /** One operation of some app. */
  operate(): void {
    const world = this.#world;
    const { random } = world;
    const running = this.#running();
    const operation = random.weighted(this.#manner);
    if (operation === "start client" || running.length === 0) {
      const down = this.#users.filter((user) => world.device(user).life === undefined);
      if (down.length > 0) world.start(random.pick(down));
      return;
    }
    const open = this.#names.filter((name) => world.truth.openLogNamed(name) !== undefined);
    const group = random.pick(open.length > 0 && random.chance(0.8) ? open : this.#groups);
    const members = this.#membersOf(group);
    const inside = running.filter((life) => members.includes(life.device.user));
    const outside = running.filter((life) => !members.includes(life.device.user));
    // Mostly somebody who can do it; now and then anybody.
    const among = (lives: readonly Life[]) =>
      random.pick(lives.length > 0 && random.chance(0.9) ? lives : running);
    const other = (life: Life, users: readonly string[] = this.#users) => {
      const others = users.filter((user) => user !== life.device.user);
      return random.pick(
        others.length > 0 ? others : this.#users.filter((user) => user !== life.device.user),
      );
    };
    this.done.set(operation, (this.done.get(operation) ?? 0) + 1);
    world.note(`do ${operation}`);
    if (isAdministration(operation)) {
      const log = world.truth.openLogNamed(group);
      const admins = log?.admins(world.truth.creatorOf(log)) ?? new Set();
      const able = inside.filter((life) => admins.has(life.device.user));
      const life = among(able.length > 0 ? able : inside);
      const one = random.chance(0.15) ? life.device.user : other(life, members);
      administer(world, life, {
        operation,
        group,
        one,
        anybody: random.pick(this.#users),
        names: this.#names,
      });
      return;
    }
    switch (operation) {
      case "limit time of direct": {
        const life = random.pick(running);
        const [to, time] = [other(life), random.pick(TIMES)];
        world.call(life, "limit time", (client) => client.setDisappearing(to, time));
        return;
      }
      case "mark read":
        markRead(world, random.pick(running));
        return;
      case "delete messages": {
        const life = random.pick(running);
        const conversation = random.chance(0.5) ? other(life) : { group };
        this.deletions.push(deleteMessages(world, life, conversation));
        return;
      }
      case "direct message": {
        const life = random.pick(running);
        this.send(life, { to: other(life) });
        return;
      }
      case "group message":
        this.send(among(inside), { group });
        return;
      case "burst of messages":
        for (let left = 2 + random.below(6); left > 0; left--) {
          const life = among(inside);
          this.send(life, random.chance(0.3) ? { to: other(life) } : { group });
        }
        return;
      case "create group": {
        const join = random.weighted({ approval: 3, open: 2, closed: 1 });
        world.call(random.pick(running), "create", (client) => client.createGroup(group, { join }));
        return;
      }
      case "join group":
        world.call(among(outside), "join", (client) => client.joinGroup(group));
        return;
      case "invite": {
        const life = among(inside);
        const guest = other(
          life,
          this.#users.filter((user) => !members.includes(user)),
        );
        world.call(life, "invite", (client) => client.invite(group, guest));
        return;
      }
      case "remove": {
        const life = among(inside);
        const member = other(life, members);
        world.call(life, "remove", (client) => client.remove(group, member));
        return;
      }
      case "leave":
        world.call(among(inside), "leave", (client) => client.leaveGroup(group));
        return;
      case "delete group":
        world.call(among(inside), "delete", (client) => client.deleteGroup(group));
        return;
      case "close client": {
        const life = random.pick(running);
        life.closing = true;
        // When it is done the process ends.
        void life.client.close().then(() => world.kill(life));
        return;
      }
    }
  }
}
