import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { atEnd } from "../client/harness.js";

/** Stands between clients and a relay, and can let the packets of connections vanish without closing them. */
export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<{ readonly sockets: readonly Socket[]; frozen: boolean }>();
  /** Connections taken so far. */
  accepted = 0;
  target = 0;

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (near) => {
      this.accepted++;
      const far = connect(this.target, "127.0.0.1");
      const pair = { sockets: [near, far], frozen: false };
      this.#pairs.add(pair);
      for (const [from, to] of [[near, far] as const, [far, near] as const]) {
        from.on("data", (data) => {
          if (!pair.frozen) to.write(data);
        });
        from.on("error", () => {});
        from.on("close", () => {
          if (!pair.frozen) to.destroy();
        });
      }
    });
  }

  /** Listens on a free port; set `target` before anyone connects, and stop it before what it leads to. */
  static async start(): Promise<TcpProxy> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new TcpProxy(server);
  }

  /** The host and port that clients name. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on nothing passes on the connections there are, in either direction; new ones are whole. */
  freeze(): void {
    for (const pair of this.#pairs) pair.frozen = true;
  }

  async stop(): Promise<void> {
    for (const { sockets } of this.#pairs) for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A server that takes TCP connections and never says a word. */
export async function silentServer(): Promise<{ url: string; accepted: () => number }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.resume();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, accepted: () => sockets.length };
}
