import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { systemClock } from "../../../src/base/clock.js";
import { Link, type LinkEnd } from "../../../src/transport/link.js";
import type { Connection } from "../../../src/transport/transport.js";
import { type WebSocketConstructor, webSocketConnector } from "../../../src/transport/websocket.js";
import { SUBPROTOCOL } from "../../../src/wire/protocol.js";
import { ManualClock } from "./manual-clock.js";

const cleanUps: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type ServerOptions = ConstructorParameters<typeof WebSocketServer>[0];

/** A real server on a free port. */
async function listen(options: ServerOptions = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", ...options });
  await new Promise((resolve) => server.once("listening", resolve));
  cleanUps.push(() => {
    for (const client of server.clients) client.terminate();
    return new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  const accepted: Promise<WebSocket> = new Promise((resolve) => server.once("connection", resolve));
  return { server, port, url: `ws://127.0.0.1:${port}`, accepted };
}

function nextFrame(connection: Connection): Promise<number[]> {
  return new Promise((resolve) => {
    connection.onframe = (frame) => resolve([...frame]);
  });
}

function end(connection: Connection): Promise<{ code: number; reason: string }> {
  return new Promise((resolve) => {
    connection.onclose = resolve;
  });
}

describe("webSocketConnector", () => {
  it("carries binary frames both ways under our subprotocol, uncompressed", async () => {
    const { url, accepted } = await listen({ perMessageDeflate: true });
    const connection = await webSocketConnector().connect(url);
    const socket = await accepted;
    expect([socket.protocol, socket.extensions]).toEqual([SUBPROTOCOL, ""]);
    const arrived = new Promise((resolve) => socket.once("message", (data: Buffer) => resolve([...data])));
    const frame = Uint8Array.of(0, 1, 2, 255).subarray(1);
    connection.send(frame);
    frame.fill(9);
    expect(await arrived).toEqual([1, 2, 255]);
    socket.send(Uint8Array.of(4, 5));
    expect(await nextFrame(connection)).toEqual([4, 5]);
    expect(connection.bufferedAmount).toBe(0);
    connection.close();
  });

  it("loses no frame sent before the handler was set", async () => {
    const { server, url } = await listen();
    let left = () => {};
    const gone = new Promise<void>((resolve) => {
      left = resolve;
    });
    server.on("connection", (socket) => {
      socket.once("close", left);
      socket.send(Uint8Array.of(1));
      socket.send(Uint8Array.of(2));
      socket.close(4000, "that was all");
    });
    const connection = await webSocketConnector().connect(url);
    await gone;
    const frames: number[] = [];
    connection.onframe = (frame) => frames.push(...frame);
    expect(await end(connection)).toEqual({ code: 4000, reason: "that was all" });
    expect(frames).toEqual([1, 2]);
  });

  it("answers a text frame with 1003", async () => {
    const { url, accepted } = await listen();
    const connection = await webSocketConnector().connect(url);
    const socket = await accepted;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.send("hello");
    expect(await end(connection)).toMatchObject({ code: 1003 });
    expect(await closed).toBe(1003);
  });

  it("does not take in a frame beyond the limit", async () => {
    const { url, accepted } = await listen();
    const connection = await webSocketConnector({ maxFrameBytes: 100 }).connect(url);
    let frames = 0;
    connection.onframe = () => frames++;
    const socket = await accepted;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.send(new Uint8Array(100));
    socket.send(new Uint8Array(101));
    expect(await closed).toBe(1009);
    await end(connection);
    expect(frames).toBe(1);
  });

  it("closes with the code and as much of the reason as fits", async () => {
    const { url, accepted } = await listen();
    const connection = await webSocketConnector().connect(url);
    const socket = await accepted;
    const closed = new Promise((resolve) => socket.once("close", (code, why) => resolve([code, `${why}`])));
    const frames: unknown[] = [];
    connection.onframe = (frame) => frames.push(frame);
    const reason = "é".repeat(100);
    connection.close(4321, reason);
    connection.close(4000, "again");
    socket.send(Uint8Array.of(1));
    expect(await closed).toEqual([4321, "é".repeat(61)]);
    expect(await end(connection)).toEqual({ code: 4321, reason });
    expect(frames).toEqual([]);
    expect(() => connection.send(Uint8Array.of(1))).toThrow(expect.objectContaining({ code: "closed" }));
  });

  it("falls back to a close without a code where the platform forbids the code", async () => {
    const closes: unknown[][] = [];
    class BrowserLike {
      binaryType = "";
      readyState = 0;
      bufferedAmount = 0;
      protocol = SUBPROTOCOL;
      listeners = new Map<string, (event: unknown) => void>();
      constructor() {
        queueMicrotask(() => {
          this.readyState = 1;
          this.listeners.get("open")?.({});
        });
      }
      addEventListener(type: string, listener: (event: any) => void) {
        this.listeners.set(type, listener);
      }
      send() {}
      close(...args: unknown[]) {
        if (args.length > 0 && args[0] !== 1000 && (args[0] as number) < 3000) throw new Error("forbidden");
        closes.push(args);
      }
    }
    const WebSocket = BrowserLike as unknown as WebSocketConstructor;
    const connection = await webSocketConnector({ WebSocket }).connect("ws://unused");
    connection.close(1003);
    expect(closes).toEqual([[]]);
  });

  it("says connection-failed for a closed port and for a server that is none of ours", async () => {
    const { url, server } = await listen();
    await new Promise((resolve) => server.close(resolve));
    await expect(webSocketConnector().connect(url)).rejects.toMatchObject({
      code: "connection-failed",
      cause: { code: "ECONNREFUSED" },
    });
    const other = await listen({ handleProtocols: () => "other" });
    await expect(webSocketConnector().connect(other.url)).rejects.toMatchObject({
      code: "connection-failed",
    });
    const refusing = await listen({ verifyClient: () => false });
    await expect(webSocketConnector().connect(refusing.url)).rejects.toMatchObject({
      code: "connection-failed",
    });
  });

  it("says invalid-argument for what is no address", async () => {
    await expect(webSocketConnector().connect("not an address")).rejects.toMatchObject({
      code: "invalid-argument",
    });
  });

  /** A server that takes TCP connections and says nothing. */
  async function listenSilently(): Promise<{ url: string; accepted: Promise<Socket>; server: Server }> {
    const server = createServer();
    const accepted: Promise<Socket> = new Promise((resolve) => server.once("connection", resolve));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanUps.push(async () => {
      (await accepted).destroy();
      await new Promise((resolve) => server.close(resolve));
    });
    return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, accepted, server };
  }

  it("gives up after its timeout", async () => {
    const { url, accepted } = await listenSilently();
    const clock = new ManualClock();
    const connecting = webSocketConnector({ clock, connectTimeout: 7_000 }).connect(url);
    const outcome = expect(connecting).rejects.toMatchObject({ code: "timeout" });
    const socket = await accepted;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.resume();
    expect(clock.pending).toEqual([7_000]);
    await clock.advance(7_000);
    await outcome;
    await closed;
  });

  it("is aborted before and while it connects", async () => {
    const { url, accepted } = await listenSilently();
    const controller = new AbortController();
    const connecting = webSocketConnector().connect(url, { signal: controller.signal });
    const socket = await accepted;
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.resume();
    controller.abort();
    await expect(connecting).rejects.toMatchObject({ code: "aborted" });
    await closed;
    await expect(webSocketConnector().connect(url, { signal: controller.signal })).rejects.toMatchObject({
      code: "aborted",
    });
  });
});

describe("Link over WebSocket", () => {
  it("reconnects to a restarted server and delivers what waited", async () => {
    const first = await listen();
    const ends: LinkEnd[] = [];
    let opened = () => {};
    const link = new Link({
      url: first.url,
      connector: webSocketConnector(),
      clock: systemClock,
      baseDelay: 10,
      maxDelay: 20,
      handler: {
        opened: () => {
          link.ready();
          opened();
        },
        frame: () => {},
        ended: (end) => ends.push(end),
        ping: () => Uint8Array.of(0),
      },
    });
    cleanUps.push(() => link.close());
    const up = new Promise<void>((resolve) => {
      opened = resolve;
    });
    link.open();
    await up;
    for (const client of first.server.clients) client.terminate();
    await new Promise((resolve) => first.server.close(resolve));
    await expect.poll(() => link.state).not.toBe("open");
    link.send(Uint8Array.of(7));
    const second = await listen({ port: first.port });
    const socket = await second.accepted;
    expect(
      await new Promise((resolve) => socket.once("message", (data: Buffer) => resolve([...data]))),
    ).toEqual([7]);
    expect(ends[0]).toMatchObject({ code: 1006, willReconnect: true, wasReady: true });
  });
});
