import { createServer, type Server as HttpServer, type IncomingMessage } from "node:http";
import type { Server as HttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { asBytes, type Bytes } from "../base/bytes.js";
import { type Clock, systemClock } from "../base/clock.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { CloseCode, SUBPROTOCOL } from "../wire/protocol.js";
import type { AuthenticateHook } from "./authentication.js";
import { type FrameHook, RelayCore } from "./core.js";
import { openLmdbStorage, openMemoryStorage } from "./embedded/open.js";
import { Heartbeat } from "./heartbeat.js";
import { DEFAULT_LIMITS, type RelayLimits } from "./limits.js";
import type { RelayStorage } from "./storage.js";
import { ServerSocket } from "./web-socket.js";

export interface RelayOptions {
  /** The port; 0, the default, for any free one. Not with {@link server}. */
  port?: number;
  /** The address to listen on; 127.0.0.1 by default. Not with {@link server}. */
  host?: string;
  /** A server of your own that listens, to take WebSocket connections from, e.g. one with TLS. You stop it. */
  server?: HttpServer | HttpsServer;
  /** Folder of the embedded storage. With neither `data` nor `storage` the relay forgets when it closes. */
  data?: string;
  /** A storage of your own. You close it. */
  storage?: RelayStorage;
  /**
   * The host part of the URLs that clients use, e.g. `"relay.example.org"` or `"localhost:8787"`; several if there
   * are several. A client's signature is bound to it, so that no other relay can use it here. Default: where the
   * relay listens, and for loopback addresses all their usual spellings. Behind a proxy it must be given.
   */
  name?: string | readonly string[];
  /** Your app's own login. It admits a user by resolving to `true`. */
  authenticate?: AuthenticateHook;
  limits?: Partial<RelayLimits>;
  /** Sees every frame; returning `false` closes its connection with 4403. */
  onFrame?: FrameHook;
  /** Is told of failures inside the relay. */
  onError?: (error: unknown) => void;
  /** For tests. */
  clock?: Clock;
}

const LOOPBACK = ["127.0.0.1", "localhost", "[::1]"];

/** Whether an error says that another relay has opened this one's data folder since. */
export function isFenced(error: unknown): boolean {
  if (!SubrosaError.is(error)) return false;
  return (
    error.code === "store-in-use" ||
    ((error as Error).cause !== undefined && isFenced((error as Error).cause))
  );
}

/** The relay: passes on and keeps what clients encrypted, and can read none of it. */
export class Relay {
  readonly #options: RelayOptions;
  readonly #limits: RelayLimits;
  #listening: Promise<{ url: string }> | undefined;
  #closing: Promise<void> | undefined;
  #http: HttpServer | HttpsServer | undefined;
  #sockets: WebSocketServer | undefined;
  #core: RelayCore | undefined;
  #ownStorage: RelayStorage | undefined;
  #names: readonly string[] = [];
  #heartbeat: Heartbeat | undefined;

  /** Throws `invalid-argument` for options that contradict each other. */
  constructor(options: RelayOptions = {}) {
    const { server, port, host, data, storage } = options;
    assertArgument(
      server === undefined || (port === undefined && host === undefined),
      "server: not with port or host",
    );
    assertArgument(data === undefined || storage === undefined, "data: not with storage");
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
  }

  /**
   * Starts to take connections. Repeated calls share one promise. Throws `missing-dependency` for `data` without
   * the package `lmdb`, `closed` after {@link close}, `invalid-argument` for a `server` that does not listen, and
   * what Node throws for an address it cannot listen on.
   */
  listen(): Promise<{ url: string }> {
    this.#listening ??= this.#listen();
    return this.#listening;
  }

  async #listen(): Promise<{ url: string }> {
    if (this.#closing !== undefined) throw new SubrosaError("closed", "the relay was closed");
    assertArgument(this.#options.server?.listening ?? true, "server: must be listening");
    const { server, data, storage, clock = systemClock, authenticate, onFrame } = this.#options;
    const onError = (error: unknown) => {
      this.#options.onError?.(error);
      // Nothing can be written any more: clients had better find out.
      if (isFenced(error)) void this.close().catch(() => {});
    };
    const http = server ?? (await this.#listenHttp());
    this.#http = http;
    const address = http.address();
    const { host, port } =
      address !== null && typeof address === "object" ? urlParts(address) : { host: "127.0.0.1", port: 0 };
    this.#names = this.#namesFor(host, port);
    if (storage === undefined) {
      try {
        this.#ownStorage = data === undefined ? openMemoryStorage() : await openLmdbStorage(data);
      } catch (error) {
        if (server === undefined) await stopServer(http);
        throw error;
      }
    }
    const kept = storage ?? (this.#ownStorage as RelayStorage);
    this.#core = new RelayCore({
      storage: kept,
      limits: this.#limits,
      clock,
      authenticate,
      onFrame,
      onError,
    });
    const sockets = new WebSocketServer({
      server: http,
      perMessageDeflate: false,
      maxPayload: this.#limits.maxFrameBytes,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
      // Without the subprotocol the two would not understand each other.
      verifyClient: ({ req }: { req: IncomingMessage }, done: (ok: boolean, code?: number) => void) => {
        const offered = (req.headers["sec-websocket-protocol"] ?? "").split(",").map((part) => part.trim());
        done(offered.includes(SUBPROTOCOL), 400);
      },
    });
    this.#sockets = sockets;
    sockets.on("connection", (socket, request) => this.#accept(socket, request));
    sockets.on("error", onError);
    this.#heartbeat = new Heartbeat(clock, this.#limits.heartbeatInterval);
    const secure = "setSecureContext" in http;
    return { url: `${secure ? "wss" : "ws"}://${host}:${port}` };
  }

  async #listenHttp(): Promise<HttpServer> {
    const { port = 0, host = "127.0.0.1" } = this.#options;
    const http = createServer((_request, response) => {
      response.writeHead(426, { "content-type": "text/plain", upgrade: "websocket" });
      response.end("This is a Subrosa relay: connect by WebSocket.\n");
    });
    await new Promise<void>((resolve, reject) => {
      http.once("error", reject);
      http.listen(port, host, () => {
        http.off("error", reject);
        resolve();
      });
    });
    return http;
  }

  #namesFor(host: string, port: number): readonly string[] {
    const { name, host: given } = this.#options;
    if (name !== undefined) return (typeof name === "string" ? [name] : name).map((one) => one.toLowerCase());
    const hosts = LOOPBACK.includes(host) ? [host, ...LOOPBACK.filter((one) => one !== host)] : [host];
    if (given !== undefined && !hosts.includes(given)) hosts.unshift(given.toLowerCase());
    return hosts.map((one) => `${one}:${port}`);
  }

  #accept(socket: WebSocket, request: IncomingMessage): void {
    // The name among our own by which this client came: never one that it could make up.
    const asked = request.headers.host?.toLowerCase();
    const name = this.#names.find((one) => one === asked) ?? (this.#names[0] as string);
    const session = this.#core?.accept(new ServerSocket(socket, request.socket), name);
    // ws closes the connection itself, with the right code, after each of these errors.
    socket.on("error", () => {});
    this.#heartbeat?.add(socket);
    if (session === undefined) return;
    socket.on("message", (data, isBinary) => {
      if (!isBinary) session.close(CloseCode.unsupportedData, "binary messages only");
      else session.receive(plainBytes(data as Buffer));
    });
    socket.on("close", () => session.disconnected());
  }

  /** Closes all connections with 1001 and stops. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#listening?.catch(() => {});
    this.#heartbeat?.stop();
    const sockets = this.#sockets;
    const ended = sockets && new Promise<void>((resolve) => sockets.close(() => resolve()));
    await this.#core?.close(CloseCode.goingAway, "the relay stops");
    if (this.#options.server === undefined && this.#http !== undefined) await stopServer(this.#http);
    await ended;
    await this.#ownStorage?.close();
  }
}

/** Without what Node's Buffer adds; the same memory. */
function plainBytes(data: Buffer): Bytes {
  return asBytes(new Uint8Array(data.buffer, data.byteOffset, data.length));
}

function stopServer(server: HttpServer | HttpsServer): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

/** What a URL says for a listening address; a wildcard is reached by loopback. */
function urlParts({ address, port }: AddressInfo): { host: string; port: number } {
  const loopback = address === "0.0.0.0" || address === "::";
  return { host: loopback ? "127.0.0.1" : address.includes(":") ? `[${address}]` : address, port };
}
