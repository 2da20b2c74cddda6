import { describe, expect, it } from "vitest";
import { memoryStore, type Store } from "../../src/index.js";
import { connected, makeGroup, startRelay } from "./harness.js";

/** A store that remembers which keys were written, as whoever reads the disk sees them. */
class WatchedStore implements Store {
  readonly keys = new Set<string>();
  readonly #inner = memoryStore();

  async open(...args: Parameters<Store["open"]>): ReturnType<Store["open"]> {
    const session = await this.#inner.open(...args);
    return new Proxy(session, {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as unknown;
        if (typeof value !== "function") return value;
        return (...given: unknown[]) => {
          if (name === "write") for (const change of given[0] as object[]) this.#note(change);
          return (value as (...all: unknown[]) => unknown).apply(target, given);
        };
      },
    });
  }

  #note(change: object): void {
    if ("put" in change) this.keys.add(String(change.put));
  }

  /** How the seen-set names the senders of what was received. */
  get senders(): string[] {
    const seen = [...this.keys].filter((key) => key.startsWith("seen/"));
    return [...new Set(seen.map((key) => key.split("/")[2] as string))];
  }
}

describe("the seen-set", () => {
  it("names senders otherwise in each store, and in one store always alike", async () => {
    const relay = await startRelay();
    const [mine, theirs] = [new WatchedStore(), new WatchedStore()];
    const ack = { group: false };
    const bob = await connected(relay, "bob", { ack });
    const alice = await connected(relay, "alice", { store: mine, ack });
    const carol = await connected(relay, "carol", { store: theirs, ack });
    await makeGroup("team", [bob, alice, carol]);
    await bob.client.sendGroupMessage("team", "one");
    await Promise.all([alice.message("one"), carol.message("one")]);
    expect(mine.senders).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)]);
    expect(theirs.senders).toHaveLength(1);
    expect(theirs.senders).not.toEqual(mine.senders);

    await alice.client.close();
    const again = await connected(relay, "alice", { store: mine, ack });
    await bob.client.sendGroupMessage("team", "two");
    await again.message("two");
    expect(mine.senders).toHaveLength(1);
    await carol.client.sendGroupMessage("team", "three");
    await again.message("three");
    expect(mine.senders).toHaveLength(2);
  });
});
