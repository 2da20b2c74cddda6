import type { Clock } from "../../src/base/clock.js";
import { memoryStore } from "../../src/index.js";
import { EntryKind } from "../../src/wire/protocol.js";
import { sendCommit, unreadablePath } from "../rejects/builder.js";
import { type Actor, connected, makeGroup, startRelay, type TestRelay } from "./harness.js";
import { RawMember } from "./raw-member.js";
import { TamperedConnector } from "./tamper.js";

/** The machine's clock, which can be put forward: timers that are due by it then go off. */
class ForwardClock implements Clock {
  #ahead = 0;
  readonly #timers = new Set<{ at: number; handle: ReturnType<typeof setTimeout>; callback: () => void }>();

  now(): number {
    return Date.now() + this.#ahead;
  }

  after(ms: number, callback: () => void): () => void {
    const timer = { at: this.now() + ms, handle: undefined as never, callback };
    this.#timers.add(timer);
    this.#arm(timer);
    return () => {
      clearTimeout(timer.handle);
      this.#timers.delete(timer);
    };
  }

  #arm(timer: { at: number; handle: ReturnType<typeof setTimeout>; callback: () => void }): void {
    clearTimeout(timer.handle);
    timer.handle = setTimeout(
      () => {
        this.#timers.delete(timer);
        timer.callback();
      },
      Math.min(Math.max(0, timer.at - this.now()), 2 ** 31 - 1),
    );
  }

  /** In small steps, so that what is answered in time still is. */
  async forward(ms: number, step = 5_000): Promise<void> {
    for (let rest = ms; rest > 0; rest -= step) {
      this.#ahead += Math.min(rest, step);
      for (const timer of this.#timers) this.#arm(timer);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Alice, who is the admin, bob and carol in a group with mallory, who speaks the protocol by hand. */
export async function world(carolsStore = memoryStore(), onRelay?: TestRelay) {
  const clock = new ForwardClock();
  const relay = onRelay ?? (await startRelay());
  const seams = { clock, random: () => 0.1 };
  const stores = { alice: memoryStore(), bob: memoryStore(), carol: carolsStore };
  /** Through which alice reaches the relay. */
  const connector = new TamperedConnector();
  const connect = (userId: keyof typeof stores) =>
    connected(relay, userId, {
      seams: userId === "alice" ? { ...seams, connector } : seams,
      store: stores[userId],
    });
  const connectAgain = () => Promise.all([connect("alice"), connect("bob"), connect("carol")]);
  const actors = await connectAgain();
  const [alice, bob, carol] = actors;
  const mallory = await RawMember.connect(relay, "mallory");
  await makeGroup("team", actors);
  await alice.client.invite("team", "mallory");
  await mallory.join();
  return { clock, relay, connector, actors, alice, bob, carol, mallory, connect, connectAgain };
}

/** A commit with garbage in its path for everybody, or those whom `strands` chooses by level and place. */
export async function garble(
  mallory: RawMember,
  strands: (level: number) => boolean = () => true,
): Promise<void> {
  await mallory.follow();
  const actor = { state: mallory.group, signer: mallory.user.device } as never;
  const payload = await sendCommit(actor, [], {
    updatePath: unreadablePath(strands),
  });
  await mallory.append({
    kind: EntryKind.commit,
    payload,
    bundle: { access: [], welcome: new Uint8Array(0) },
  });
}

export const stranded = (actor: Actor) => actor.event("error", ({ code }) => code === "decryption-failed");
