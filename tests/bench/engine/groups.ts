import { randomBytes } from "../../../src/crypto/random.js";
import { importSignaturePrivateKey, sign, verify } from "../../../src/crypto/signature.js";
import type { Actor } from "../../interop/actor.js";
import { SubrosaActor } from "../../interop/subrosa-actor.js";
import { TsMlsActor } from "../../interop/ts-mls-actor.js";
import { suite } from "../../interop/webcrypto-provider.js";
import { progress } from "../table.js";

export const OWN = "Subrosa";
export const PEER = "ts-mls 1.6";

/** ts-mls with signatures by Web Crypto and imported keys kept: faster than as shipped, in plain JavaScript. */
export function speedUpPeer(): void {
  const keys = new Map<string, ReturnType<typeof importSignaturePrivateKey>>();
  Object.assign(suite.signature, {
    sign: async (key: Uint8Array, data: Uint8Array) => {
      const name = Buffer.from(key).toString("base64");
      const imported = keys.get(name) ?? importSignaturePrivateKey(Uint8Array.from(key));
      keys.set(name, imported);
      return sign(await imported, data);
    },
    verify: (key: Uint8Array, data: Uint8Array, signature: Uint8Array) =>
      verify(Uint8Array.from(key), Uint8Array.from(signature), data),
  });
}

const MAKERS: Record<string, (name: string) => Promise<Actor>> = {
  [OWN]: (name) => SubrosaActor.create(name),
  [PEER]: (name) => TsMlsActor.create(name),
};

/** A group of one implementation: who changes it, who follows, and who comes and goes. */
export interface Group {
  readonly admin: Actor;
  readonly member: Actor;
  readonly newcomer: Actor;
}

/**
 * A group of `size` by one commit, the tree above its leaves blank: the first member and the last take part. With
 * `warm`, one member of each subtree beside the first member has committed, as in a group that is in use.
 */
export async function makeGroup(competitor: string, size: number, warm: boolean): Promise<Group> {
  const make = MAKERS[competitor] as (name: string) => Promise<Actor>;
  progress(`making a group of ${size} with ${competitor} …`);
  const admin = await make("admin");
  await admin.createGroup(randomBytes(16));
  const others = await Promise.all(Array.from({ length: size - 1 }, (_, n) => make(`member ${n + 1}`)));
  const packages = await Promise.all(others.map((other) => other.renewKeyPackage()));
  const added = await admin.commit({
    changes: packages.map((keyPackage) => ({ kind: "add", keyPackage })),
  });
  added.accept();
  const welcome = added.welcome as Uint8Array;
  const last = others.at(-1) as Actor;
  const active = [last];
  if (warm) for (let leaf = 1; leaf < size - 1; leaf *= 2) active.push(others[leaf - 1] as Actor);
  for (const actor of active) await actor.join(welcome);
  if (warm) {
    for (const committer of [...active, admin]) {
      const sent = await committer.commit();
      await Promise.all(
        [admin, ...active].filter((one) => one !== committer).map((one) => one.receive(sent.commit)),
      );
      sent.accept();
    }
  }
  return { admin, member: last, newcomer: await make("newcomer") };
}

/** Adds a member and removes it again; the milliseconds of each step. */
export async function addAndRemove({ admin, member, newcomer }: Group): Promise<Record<string, number>> {
  const times: Record<string, number> = {};
  const timed = async <T>(step: string, work: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    const result = await work();
    times[step] = performance.now() - started;
    return result;
  };
  const keyPackage = await newcomer.renewKeyPackage();
  const added = await timed("add: adder", () => admin.commit({ changes: [{ kind: "add", keyPackage }] }));
  await timed("add: a member takes it in", () => member.receive(added.commit));
  await timed("join from the welcome", () => newcomer.join(added.welcome as Uint8Array));
  added.accept();
  const leaf = newcomer.leaf;
  const removed = await timed("remove: remover", () => admin.commit({ changes: [{ kind: "remove", leaf }] }));
  await timed("remove: a member takes it in", () => member.receive(removed.commit));
  removed.accept();
  if (admin.authenticator() !== member.authenticator()) throw new Error("two members do not agree");
  return times;
}
