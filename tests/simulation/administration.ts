import { JOIN_MODES } from "../../src/client/conversation/membership/policy.js";
import type { Life } from "./device.js";
import { TIMES } from "./keeping.js";
import type { World } from "./world.js";

/** What admins do with a group. */
export const ADMINISTRATION = [
  "promote",
  "demote",
  "ban",
  "unban",
  "rename group",
  "change join mode",
  "limit time of group",
] as const;

type Administration = (typeof ADMINISTRATION)[number];

export const isAdministration = (operation: string): operation is Administration =>
  ADMINISTRATION.includes(operation as Administration);

/** Lets a user change a group: what it may not, it tries all the same. */
export function administer(
  world: World,
  life: Life,
  what: {
    readonly operation: Administration;
    readonly group: string;
    /** Mostly a member. */
    readonly one: string;
    readonly anybody: string;
    /** Names that groups have or can get. */
    readonly names: readonly string[];
  },
): void {
  const { random } = world;
  const { operation, group, one, anybody } = what;
  const { user } = life.device;
  switch (operation) {
    case "promote":
      world.call(life, "promote", (client) => client.promote(group, one));
      return;
    case "demote":
      world.call(life, "demote", (client) => client.demote(group, one));
      return;
    case "ban": {
      const banned = random.chance(0.7) ? one : anybody;
      if (banned !== user) world.call(life, "ban", (client) => client.ban(group, banned));
      return;
    }
    case "unban": {
      const chosen = random.next();
      world.call(life, "unban", async (client) => {
        const banned = await client.banned(group);
        await client.unban(group, banned[Math.floor(chosen * banned.length)] ?? anybody);
      });
      return;
    }
    case "rename group": {
      const name = random.pick(what.names);
      world.call(life, "rename", (client) => client.renameGroup(group, name));
      return;
    }
    case "change join mode": {
      const join = random.pick(JOIN_MODES);
      world.call(life, "join mode", (client) => client.setJoinMode(group, join));
      return;
    }
    case "limit time of group": {
      const time = random.pick(TIMES);
      world.call(life, "limit time", (client) => client.setDisappearing({ group }, time));
      return;
    }
  }
}
