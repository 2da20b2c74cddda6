import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Passes each connection on to the next server that takes it, as what stands before several relays does. */
export class Balancer {
  readonly port: number;
  targets: readonly number[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #turn = 0;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    server.on("connection", (socket) => this.#pass(socket, this.targets.length));
  }

  static async start(): Promise<Balancer> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Balancer(server);
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  #pass(socket: Socket, attempts: number): void {
    this.#keep(socket);
    if (attempts === 0) {
      socket.destroy();
      return;
    }
    const target = connect(this.targets[this.#turn++ % this.targets.length] as number, "127.0.0.1");
    this.#keep(target);
    let open = false;
    target.once("connect", () => {
      open = true;
      socket.pipe(target).pipe(socket);
    });
    target.once("close", () => {
      if (open) socket.destroy();
      else this.#pass(socket, attempts - 1);
    });
    socket.once("close", () => target.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }

  /** Ends all connections and takes no more until there are targets again. */
  cut(): void {
    this.targets = [];
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
