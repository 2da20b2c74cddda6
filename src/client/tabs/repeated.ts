import type { Clock } from "../../base/clock.js";
import { SubrosaError } from "../../base/errors.js";
import { usersOf } from "../conversation/membership/leaves.js";
import { fingerprintOf } from "../identity/safety-number.js";
import type { CallName, Calls } from "./core.js";
import type { LocalCore } from "./local-core.js";

/** How often is looked for what no event tells, and how long for what may not come, in milliseconds. */
const LOOK_EVERY = 250;
const LOOK_FOR = 10_000;

/** Carries out a call that an earlier owner may have carried out: what was done then counts as done. */
export async function callAgain<Name extends CallName>(
  core: LocalCore,
  name: Name,
  args: Parameters<Calls[Name]>,
): Promise<unknown> {
  const { registry } = core.running;
  const { clock } = core.running.context;
  const group = String(args[0]);
  const statusOf = () => registry.named(group)?.state.record.status;
  const call = () => core.call(name, ...args);
  switch (name) {
    case "createGroup":
      await pause(clock, () => statusOf() !== "creating");
      return statusOf() === "active" ? undefined : call();
    case "joinGroup":
      return statusOf() === "active" ? undefined : unless("already-a-member", call);
    case "invite":
      return unless("already-a-member", call);
    case "remove": {
      const isGone = () => {
        const state = registry.named(group)?.state.group;
        return state !== undefined && !usersOf(state).includes(String(args[1]));
      };
      // What the earlier owner began may also end while this is under way.
      return isGone() ? undefined : unless("not-a-member", call, isGone);
    }
    case "leaveGroup":
    case "deleteGroup":
      return unless("not-a-member", call);
    case "administer": {
      const change = args[1] as Parameters<Calls["administer"]>[1];
      const { type } = change;
      // Who has demoted itself cannot ask for that again, nor name a group by what it was called before.
      if (type === "demote" && change.userId === core.running.context.identity.userId)
        return unless("not-an-admin", call);
      const isRenamed = () => type === "rename" && registry.named(change.name) !== undefined;
      return unless("not-a-member", call, isRenamed);
    }
    case "acceptIdentity": {
      const userId = String(args[0]);
      const pinned = core.running.context.contacts.get(userId)?.pinnedKey;
      const isPinned =
        pinned !== undefined && (await fingerprintOf(userId, pinned)) === String(args[1]).toLowerCase();
      return isPinned ? core.running.identityAccepted(userId) : call();
    }
    case "writeData":
    case "publish":
      // At most once: it may have been done.
      throw new SubrosaError("connection-failed", "the tab with the connection is gone");
    default:
      return call();
  }
}

/** An answer to what an owner before this one has shown: waits until this one shows it too. */
export async function answer(
  core: LocalCore,
  handle: string,
  accept: boolean,
  fingerprint: string | undefined,
): Promise<void> {
  const { clock } = core.running.context;
  if (!core.handles.has(handle)) {
    await core.running.connected();
    const end = clock.now() + LOOK_FOR;
    await pause(clock, () => core.handles.has(handle) || clock.now() >= end);
  }
  await core.call("answer", handle, accept, fingerprint);
}

async function unless(
  code: SubrosaError["code"],
  call: () => Promise<unknown>,
  isDone = () => true,
): Promise<unknown> {
  try {
    return await call();
  } catch (error) {
    if (SubrosaError.is(error) && error.code === code && isDone()) return undefined;
    throw error;
  }
}

async function pause(clock: Clock, isOver: () => boolean): Promise<void> {
  while (!isOver()) await new Promise<void>((resolve) => clock.after(LOOK_EVERY, resolve));
}
