import type { Server as HttpServer, IncomingMessage } from "node:http";
import type { Server as HttpsServer } from "node:https";
import { type WebSocket, WebSocketServer } from "ws";
import { asBytes, type Bytes } from "../base/bytes.js";
import { type Clock, systemClock } from "../base/clock.js";
import { assertArgument, SubrosaError } from "../base/errors.js";
import { CloseCode, SUBPROTOCOL } from "../wire/protocol.js";
import { addressOf } from "./abuse/address.js";
import { Counts } from "./abuse/buckets.js";
import { guardHandshakes } from "./abuse/handshakes.js";
import type { Administration, GroupReference, ListPage, RelayGroup, RelayUser } from "./administration.js";
import { RelayCore } from "./core.js";
import { openLmdbStorage, openMemoryStorage } from "./embedded/open.js";
import { Heartbeat } from "./heartbeat.js";
import { listenHttp, stopServer, urlParts } from "./http-server.js";
import { completeLimits, type RelayLimits } from "./limits.js";
import { endpoints } from "./operation/endpoints.js";
import { Log } from "./operation/log.js";
import { checkOptions, type RelayOptions, relayNames } from "./options.js";
import type { Session } from "./session.js";
import type { Page, RelayStorage } from "./storage.js";
import { ServerSocket } from "./web-socket.js";

/** How long the storage may take to say that it serves, in milliseconds. */
const CHECK_TIMEOUT = 2000;
/** Over how long sessions are ended by {@link Relay.drain} unless it is told otherwise, in milliseconds. */
const DRAIN_TIME = 5000;

/** Into how many WebSocket fragments, and pieces as they come from the network, a frame may be split. */
const MAX_FRAGMENTS = 1024;
const MAX_CHUNKS = 16 * 1024;

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
  readonly #clock: Clock;
  readonly #log: Log;
  #listening: Promise<{ url: string; metricsUrl?: string }> | undefined;
  #draining: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #http: HttpServer | HttpsServer | undefined;
  #metricsHttp: HttpServer | undefined;
  #sockets: WebSocketServer | undefined;
  #core: RelayCore | undefined;
  #storage: RelayStorage | undefined;
  #names: readonly string[] = [];
  #heartbeat: Heartbeat | undefined;
  /** WebSockets by address, among them those that were refused and take their time to go. */
  readonly #open = new Counts();
  #warnedOfProxy = false;

  /** Throws `invalid-argument` for options that contradict each other, and for limits that are none. */
  constructor(options: RelayOptions = {}) {
    checkOptions(options);
    this.#options = options;
    this.#limits = completeLimits(options.limits);
    this.#clock = options.clock ?? systemClock;
    this.#log = new Log(options.onLog, this.#clock, options.logAddresses ?? false);
  }

  /**
   * Starts to take connections. Repeated calls share one promise. Throws `missing-dependency` for `data` without
   * the package `lmdb`, `closed` after {@link close}, `invalid-argument` for a `server` that does not listen, and
   * what Node throws for an address it cannot listen on.
   */
  listen(): Promise<{ url: string; metricsUrl?: string }> {
    if (this.#closing !== undefined)
      return Promise.reject(new SubrosaError("closed", "the relay was closed"));
    this.#listening ??= this.#listen();
    return this.#listening;
  }

  async #listen(): Promise<{ url: string; metricsUrl?: string }> {
    const { server, storage, data, metricsPort, metricsHost = "127.0.0.1" } = this.#options;
    assertArgument(server?.listening ?? true, "server: must be listening");
    try {
      this.#http = server ?? (await this.#listenHttp());
      if (metricsPort !== undefined) {
        this.#metricsHttp = await listenHttp(metricsHost, metricsPort, endpoints(this, true));
      }
      this.#storage = storage ?? (data === undefined ? openMemoryStorage() : await openLmdbStorage(data));
    } catch (error) {
      await this.#stopServers();
      throw error;
    }
    const http = this.#http;
    const { host, port } = urlParts(http.address());
    this.#names = relayNames(this.#options, host, port);
    this.#start(http, this.#storage);
    const url = `${"setSecureContext" in http ? "wss" : "ws"}://${host}:${port}`;
    const metrics = this.#metricsHttp && urlParts(this.#metricsHttp.address());
    const metricsUrl = metrics && `http://${metrics.host}:${metrics.port}/metrics`;
    this.#log.write("info", "listening", { url, ...(metricsUrl !== undefined && { metricsUrl }) });
    return { url, ...(metricsUrl !== undefined && { metricsUrl }) };
  }

  #start(http: HttpServer | HttpsServer, storage: RelayStorage): void {
    const { authenticate, onFrame, onData, onSubscribe, accountKeys, directory } = this.#options;
    const onError = (error: unknown) => {
      this.#options.onError?.(error);
      // Nothing can be written any more: clients had better find out.
      if (isFenced(error)) void this.close().catch(() => {});
    };
    const [limits, clock, log] = [this.#limits, this.#clock, this.#log];
    const policies = {
      accountKeys: accountKeys === "reject" ? undefined : accountKeys,
      isOpen: directory === "open",
    };
    const hooks = { authenticate, onFrame, onData, onSubscribe, onError };
    const core = new RelayCore({ storage, limits, clock, log, ...hooks, ...policies });
    this.#core = core;
    if (this.#options.server === undefined) {
      const dropped = (reason: string) => core.metrics.unanswered.add(reason);
      const perAddress = (this.#options.trustProxy ?? 0) === 0;
      guardHandshakes(http as HttpServer, { clock, limits, perAddress, dropped });
    }
    const sockets = new WebSocketServer({
      server: http,
      perMessageDeflate: false,
      maxPayload: this.#limits.maxFrameBytes,
      // Whatever a frame is split into, it is held in so many pieces at most.
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_CHUNKS,
      handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
      verifyClient: ({ req }: { req: IncomingMessage }, done: (ok: boolean, code?: number) => void) => {
        const status = this.#refusedUpgrade(req);
        if (status === undefined) done(true);
        else done(false, status);
      },
    });
    this.#sockets = sockets;
    sockets.on("connection", (socket, request) => this.#accept(socket, request));
    sockets.on("error", onError);
    this.#heartbeat = new Heartbeat(clock, limits.heartbeatInterval);
  }

  #listenHttp(): Promise<HttpServer> {
    const { port = 0, host = "127.0.0.1" } = this.#options;
    return listenHttp(host, port, endpoints(this, false));
  }

  /** The HTTP status for a connection that is not to become a WebSocket. */
  #refusedUpgrade(request: IncomingMessage): number | undefined {
    const { headers } = request;
    // Without the subprotocol the two would not understand each other.
    const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((part) => part.trim());
    if (!offered.includes(SUBPROTOCOL)) return 400;
    const { origins } = this.#options;
    // Programs that are no browsers send none, or what they like.
    if (origins !== undefined && headers.origin !== undefined && !origins.includes(headers.origin))
      return 403;
    const limits = this.#limits;
    const open = this.#sockets?.clients.size ?? 0;
    const full = open >= limits.maxConnections + limits.maxUnauthenticated;
    if (this.#draining !== undefined || full) return 503;
    const openThere = this.#open.of(this.#addressOf(request));
    if (openThere < limits.maxConnectionsPerAddress + limits.maxUnauthenticatedPerAddress) return undefined;
    this.#core?.metrics.unanswered.add("limit");
    return 429;
  }

  #addressOf(request: IncomingMessage): string {
    const { trustProxy = 0 } = this.#options;
    if (trustProxy === 0 && request.headers["x-forwarded-for"] !== undefined && !this.#warnedOfProxy) {
      this.#warnedOfProxy = true;
      const detail =
        "a connection came with X-Forwarded-For, and trustProxy is 0: behind a proxy all clients count as one address";
      this.#log.write("warn", "proxy", { detail });
    }
    return addressOf(request, trustProxy);
  }

  #accept(socket: WebSocket, request: IncomingMessage): void {
    // The name among our own by which this client came: never one that it could make up.
    const asked = request.headers.host?.toLowerCase();
    const relayName = this.#names.find((one) => one === asked) ?? (this.#names[0] as string);
    const address = this.#addressOf(request);
    this.#open.add(address);
    socket.on("close", () => this.#open.remove(address));
    const session = this.#core?.accept(new ServerSocket(socket, request.socket), relayName, address);
    // ws closes the connection itself, with the right code, after each of these errors.
    socket.on("error", () => {});
    this.#heartbeat?.add(socket);
    if (session === undefined) return;
    this.#boundFirstFrame(session, request);
    socket.on("message", (data, isBinary) => {
      if (!isBinary) session.close(CloseCode.unsupportedData, "binary messages only");
      else session.receive(plainBytes(data as Buffer));
    });
    socket.on("close", () => session.disconnected());
  }

  /** A frame that has not come whole is held by ws: before the session is ready that must not be much. */
  #boundFirstFrame(session: Session, { socket }: IncomingMessage): void {
    let left = this.#limits.maxAuthenticateBytes + FRAMING_BYTES;
    const count = (chunk: Uint8Array) => {
      left -= chunk.length;
      if (!session.ready && left >= 0) return;
      socket.off("data", count);
      if (!session.ready) session.floods();
    };
    socket.on("data", count);
  }

  /** Whether the relay takes connections and its storage serves: what `/readyz` answers. */
  async ready(): Promise<boolean> {
    if (this.#core === undefined || this.#draining !== undefined || this.#closing !== undefined) return false;
    const late = new Promise<boolean>((resolve) => this.#clock.after(CHECK_TIMEOUT, () => resolve(false)));
    const check = this.#storage?.check?.().then(
      () => true,
      () => false,
    );
    return check === undefined ? true : Promise.race([check, late]);
  }

  /** What `/metrics` answers: Prometheus' text format. Throws `closed` while the relay does not listen. */
  async metrics(): Promise<string> {
    if (this.#core === undefined) throw new SubrosaError("closed", "the relay does not listen");
    return this.#core.renderMetrics();
  }

  get #administration(): Administration {
    if (this.#core === undefined) throw new SubrosaError("closed", "the relay does not listen");
    return this.#core.administration;
  }

  /** The users, a part at a time, in any order. This and what follows throws `closed` while the relay does not listen. */
  async users(page?: ListPage): Promise<Page<RelayUser>> {
    return this.#administration.users(page);
  }

  /**
   * Removes a user: its id is free again, its devices are refused for ever. Sessions end with 4413; those who share a
   * conversation with it (all, where the directory is open) are told, and have to remove it from their groups
   * themselves. False if there is none.
   */
  async removeUser(userId: string): Promise<boolean> {
    return this.#administration.removeUser(userId);
  }

  /** The groups and direct conversations, a part at a time, in any order. */
  async groups(page?: ListPage): Promise<Page<RelayGroup>> {
    return this.#administration.groups(page);
  }

  /**
   * Closes a group: nobody can write to it any more, its members are told that the operator did it, and its name is
   * free again. False if it was closed before. Throws `unknown-group`, and `forbidden` for a direct conversation.
   */
  async closeGroup(group: GroupReference): Promise<boolean> {
    return this.#administration.closeGroup(group);
  }

  /**
   * Shows a notice, one line of at most 4,096 bytes, to everybody who is connected; with `userId` to each device of
   * that user, when it comes. Clients show it as the operator's, and as no member's. Throws `invalid-argument`,
   * `unknown-user`, and `quota-exceeded` where the user's inboxes are full.
   */
  async notify(text: string, options?: { readonly userId?: string }): Promise<void> {
    return this.#administration.notify(text, options);
  }

  /**
   * Stops without hurry: takes no new connections, is not {@link ready} any more, ends the sessions with 1001 one
   * after the other within `over` milliseconds (5,000 by default), each when what it has asked is answered, and
   * closes. Clients connect again, elsewhere if there is another relay, and lose nothing. {@link close} cuts it short.
   */
  drain(over: number = DRAIN_TIME): Promise<void> {
    this.#draining ??= this.#drain(over);
    return this.#draining;
  }

  async #drain(over: number): Promise<void> {
    await this.#listening?.catch(() => {});
    this.#log.write("info", "draining", { sessions: this.#core?.connections ?? 0 });
    await this.#core?.drain(over, CloseCode.goingAway, "the relay stops");
    await this.close();
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
    await this.#stopServers();
    await ended;
    if (this.#options.storage === undefined) await this.#storage?.close();
    this.#log.write("info", "closed");
  }

  /** Stops the servers that are the relay's own. */
  async #stopServers(): Promise<void> {
    if (this.#options.server === undefined && this.#http !== undefined) await stopServer(this.#http);
    if (this.#metricsHttp !== undefined) await stopServer(this.#metricsHttp);
  }
}

/** What WebSocket framing and an early ping may add to the first frame. */
const FRAMING_BYTES = 4096;

/** Without what Node's Buffer adds; the same memory. */
function plainBytes(data: Buffer): Bytes {
  return asBytes(new Uint8Array(data.buffer, data.byteOffset, data.length));
}
