import { afterEach, beforeEach, expect, it } from "vitest";
import { memoryStore, type Store, SubrosaError } from "../../src/index.js";
import { connected, eventually, makeActor, startRelay, type TestRelay } from "./harness.js";

/** A store of which one write fails, as when the disk is full. */
class FailingStore implements Store {
  readonly #inner = memoryStore();
  /** How many writes succeed before one fails; then all succeed again. */
  left = Number.POSITIVE_INFINITY;

  async open(...given: Parameters<Store["open"]>) {
    const session = await this.#inner.open(...given);
    return new Proxy(session, {
      get: (target, name) => {
        if (name === "write" && this.left-- === 0) {
          return () => Promise.reject(new SubrosaError("store-failed", "the disk is full"));
        }
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }
}

const unhandled: unknown[] = [];
const note = (error: unknown) => void unhandled.push(error);
beforeEach(() => void process.on("unhandledRejection", note));
afterEach(() => void process.off("unhandledRejection", note));

/** A conversation that goes as far as the store allows. */
async function talk(relay: TestRelay, store: Store): Promise<void> {
  const bob = makeActor(relay, "bob", { store });
  const alice = await connected(relay, "alice");
  const isOver = (word: string, texts: readonly unknown[]) =>
    bob.client.state === "closed" || texts.includes(word);
  try {
    await bob.client.connect();
    await alice.client.sendDirectMessage("bob", "to bob");
    await eventually(() => isOver("to bob", bob.texts));
    await bob.client.sendDirectMessage("alice", "to alice");
    await eventually(() => isOver("to alice", alice.texts));
  } catch (error) {
    if (!SubrosaError.is(error)) throw error;
  }
  await Promise.all([alice.client.close(), bob.client.close()]);
}

it("a write that fails ends the client with a clear error, and nothing is lost or broken afterwards", async () => {
  unhandled.length = 0;
  let points = 0;
  for (let at = 0; at < 60; at++) {
    const relay = await startRelay();
    const store = new FailingStore();
    store.left = at;
    await talk(relay, store);
    const hasFailed = store.left < 0;
    store.left = Number.POSITIVE_INFINITY;
    if (hasFailed) points++;
    // Whatever failed, the state is whole: the client comes back and both speak to each other.
    const bob = await connected(relay, "bob", { store });
    const carol = await connected(relay, "carol");
    await carol.client.sendDirectMessage("bob", "are you there?");
    await bob.message("are you there?");
    await bob.client.sendDirectMessage("carol", "yes");
    await carol.message("yes");
    if (!hasFailed) break;
  }
  expect(unhandled).toEqual([]);
  expect(points).toBeGreaterThan(10);
});
