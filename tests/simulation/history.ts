import type { ErrorCode } from "../../src/base/errors.js";
import type { InvitationEvent, JoinRequestEvent } from "../../src/client/events.js";
import type { Call, Life } from "./device.js";
import type { World } from "./world.js";

/** A message that an app sent. */
export interface Sent {
  readonly from: string;
  readonly to?: string;
  readonly group?: string;
  readonly text: string;
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
  "close client",
  "start client",
] as const;

/** Answers that a call may get when everything is as it should be. */
export const LEGITIMATE: Readonly<Record<string, readonly ErrorCode[]>> = {
  connect: [],
  send: ["not-a-member"],
  create: ["name-taken", "timeout", "connection-failed"],
  join: ["unknown-group", "join-rejected", "already-a-member", "timeout", "not-a-member"],
  invite: [
    "not-an-admin",
    "not-a-member",
    "already-a-member",
    "unknown-user",
    "no-key-package",
    "timeout",

    "connection-failed",
  ],
  remove: ["not-an-admin", "not-a-member", "timeout"],
  leave: ["not-a-member", "timeout"],
  delete: ["not-an-admin", "not-a-member", "timeout"],
  accept: ["not-a-member"],
  reject: ["not-a-member"],
  approve: ["not-an-admin", "not-a-member", "already-a-member", "timeout", "unknown-user"],
  refuse: ["not-an-admin", "not-a-member", "unknown-group", "connection-failed"],
};

/** What the apps of one run do: the seed decides it step by step. */
export class History {
  readonly sends: Sent[] = [];
  readonly done = new Map<string, number>();
  readonly #world: World;
  readonly #users: readonly string[];
  readonly #groups: readonly string[];
  readonly #manner: Manner;
  readonly #agreeable: number;
  #texts = 0;
  /** From now on every request and invitation gets a yes at once. */
  healing = false;

  constructor(world: World, users: readonly string[], groups: readonly string[], manner: Manner) {
    this.#world = world;
    this.#users = users;
    this.#groups = groups;
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
      else this.#world.call(life, "refuse", () => request.reject());
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
    const sent: Sent = { from: life.device.user, ...target, text, call, id: undefined };
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
    const group = random.pick(this.#groups);
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
    switch (operation) {
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
