import { describe, expect, it } from "vitest";
import type { Bytes } from "../../src/base/bytes.js";
import { SubrosaError } from "../../src/base/errors.js";
import { randomBytes } from "../../src/crypto/random.js";
import { type JoinMode, memoryStore } from "../../src/index.js";
import { EmbeddedStorage } from "../../src/relay/embedded/embedded-storage.js";
import { MemoryKv } from "../../src/relay/embedded/memory-kv.js";
import type { Connection, Connector } from "../../src/transport/transport.js";
import { webSocketConnector } from "../../src/transport/websocket.js";
import type { LogEntry } from "../../src/wire/entries.js";
import { decodeRelayFrame, encodeRelayFrame } from "../../src/wire/frames.js";
import { LogKind } from "../../src/wire/protocol.js";
import { connected, settledMembers, startRelay } from "./harness.js";

/** What stands between a client and an honest relay and says old join requests again, before each new one. */
class ReplayingConnector implements Connector {
  readonly recorded: LogEntry[] = [];
  again: (old: LogEntry, seq: number) => LogEntry[] = () => [];

  async connect(url: string, options?: Parameters<Connector["connect"]>[1]): Promise<Connection> {
    const inner = await webSocketConnector().connect(url, options);
    const change = (bytes: Bytes) => this.#change(bytes);
    return {
      send: (frame) => inner.send(frame),
      close: (code, reason) => inner.close(code, reason),
      get bufferedAmount() {
        return inner.bufferedAmount;
      },
      get onframe() {
        return inner.onframe;
      },
      set onframe(handler) {
        inner.onframe = handler && ((bytes) => handler(change(bytes)));
      },
      get onclose() {
        return inner.onclose;
      },
      set onclose(handler) {
        inner.onclose = handler;
      },
    };
  }

  #change(bytes: Bytes): Bytes {
    const frame = decodeRelayFrame(bytes);
    if (frame.type !== "entries" || frame.log.kind !== LogKind.requestBox) return bytes;
    const entries: LogEntry[] = [];
    for (const entry of frame.entries) {
      for (const old of this.recorded) entries.push(...this.again(old, entry.seq + entries.length));
      entries.push({ ...entry, seq: entry.seq + entries.length });
      this.recorded.push(entry);
    }
    return encodeRelayFrame({ ...frame, entries });
  }
}

describe("join requests", () => {
  it.each<JoinMode>(["approval", "open"])(
    "that were answered are not asked again, whatever the relay replays (%s)",
    async (join) => {
      const relay = await startRelay();
      const hostile = new ReplayingConnector();
      const seams = { connector: hostile, random: () => 0.1 };
      const store = memoryStore();
      const first = await connected(relay, "alice", { store, seams });
      await first.client.createGroup("team", { join });
      first.client.on("joinRequest", (request) => request.approve());
      const bob = await connected(relay, "bob");
      await bob.client.joinGroup("team");
      await settledMembers("team", [first, bob]);
      await first.client.remove("team", "bob");
      await bob.event("groupLeave");
      await first.client.close();

      // In a new process only the store knows what was answered.
      hostile.again = (old, seq) => {
        if (old.form !== "full") return [];
        const renamed = { ...old.content, entryId: randomBytes(16) };
        return [
          { ...old, seq },
          { ...old, seq: seq + 1, content: renamed },
        ];
      };
      const alice = await connected(relay, "alice", { store, seams });
      alice.client.on("joinRequest", (request) => request.approve());
      const carol = await connected(relay, "carol");
      await carol.client.joinGroup("team");
      await settledMembers("team", [alice, carol]);
      expect(hostile.recorded).toHaveLength(2);
      expect(alice.all("joinRequest").map(({ userId }) => userId)).toEqual(join === "open" ? [] : ["carol"]);
      expect(alice.errors).toEqual([]);
    },
  );

  it("that were refused are refused again when the relay has lost them and they come once more", async () => {
    const kv = new MemoryKv();
    const relay = await startRelay({ storage: new EmbeddedStorage(kv) });
    let isReachable = true;
    const connector: Connector = {
      connect: async (...args) => {
        if (!isReachable) throw new SubrosaError("connection-failed", "unplugged");
        return webSocketConnector().connect(...args);
      },
    };
    const alice = await connected(relay, "alice");
    const bob = await connected(relay, "bob", { seams: { connector } });
    await alice.client.createGroup("team");
    const before = new MemoryKv();
    await before.write(new Map(kv.range("", "\u{ffff}")));
    const joined = bob.client.joinGroup("team");
    const request = await alice.event("joinRequest");
    isReachable = false;
    await relay.restart({ storage: new EmbeddedStorage(before) });
    await alice.until(() => alice.all("connect").length === 2);
    await request.reject();
    isReachable = true;
    await expect(joined).rejects.toMatchObject({ code: "join-rejected" });
    expect(alice.all("joinRequest")).toHaveLength(1);
  });
});
