import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { findProgram } from "../harness/system-packages.mjs";

const FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
const QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];

type Result = Record<string, unknown>;
interface Answer {
  readonly id?: number;
  readonly sessionId?: string;
  readonly method?: string;
  readonly params?: Result;
  readonly result?: Result;
  readonly error?: { readonly message: string };
}

/**
 * Tabs of one window of Chromium, spoken to by its own protocol: Playwright makes every page look visible, and only
 * hidden ones can be frozen.
 */
export class Chromium {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  readonly #calls = new Map<string, (text: string) => void>();
  #next = 1;

  private constructor(process: ChildProcess, profile: string, socket: WebSocket) {
    this.#process = process;
    this.#profile = profile;
    this.#socket = socket;
    socket.on("message", (data) => this.#receive(JSON.parse(String(data)) as Answer));
  }

  static async start(): Promise<Chromium> {
    const program = findProgram("chromium");
    if (program === undefined) throw new Error("these tests need the program chromium");
    const profile = mkdtempSync(join(tmpdir(), "subrosa-tabs-"));
    const flags = ["--remote-debugging-port=0", `--user-data-dir=${profile}`];
    const child = spawn(program, [...FLAGS, ...QUIET, ...flags, "about:blank"]);
    const address = await new Promise<string>((resolve, reject) => {
      let output = "";
      child.stderr.on("data", (data) => {
        output += String(data);
        const found = /ws:\/\/\S+/.exec(output);
        if (found) resolve(found[0]);
      });
      child.once("exit", () => reject(new Error(`chromium has ended: ${output}`)));
    });
    const socket = new WebSocket(address);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return new Chromium(child, profile, socket);
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    await this.send("Browser.close");
    await ended;
    this.#socket.close();
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
  }

  /** Opens a tab; `told` gets what the page passes to its function `tell`. */
  async open(url: string, told: (text: string) => void): Promise<ChromiumTab> {
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const tab = new ChromiumTab(this, String(targetId), String(sessionId));
    this.#calls.set(tab.session, told);
    await this.send("Runtime.enable", {}, tab.session);
    await this.send("Runtime.addBinding", { name: "tell" }, tab.session);
    await this.send("Page.enable", {}, tab.session);
    await this.send("Page.navigate", { url }, tab.session);
    await tab.run(
      `new Promise((ok) => document.readyState === "complete" ? ok() : addEventListener("load", ok))`,
    );
    return tab;
  }

  send(method: string, params: Result = {}, sessionId?: string): Promise<Result> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) => {
        if (error !== undefined) reject(new Error(`${method}: ${error.message}`));
        else resolve(result ?? {});
      });
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  #receive({ id, sessionId, method, params, ...answer }: Answer): void {
    if (id !== undefined) {
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    } else if (method === "Runtime.bindingCalled" && sessionId !== undefined) {
      this.#calls.get(sessionId)?.(String(params?.payload));
    }
  }
}

export class ChromiumTab {
  readonly session: string;
  readonly #chromium: Chromium;
  readonly #target: string;

  constructor(chromium: Chromium, target: string, session: string) {
    this.#chromium = chromium;
    this.#target = target;
    this.session = session;
  }

  /** The value of an expression, or of the promise it gives. */
  async run<T>(expression: string): Promise<T> {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.#chromium.send("Runtime.evaluate", options, this.session);
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return (result as { value: T }).value;
  }

  /** Brings the tab to the front: the others are hidden then. */
  async show(): Promise<void> {
    await this.#chromium.send("Target.activateTarget", { targetId: this.#target });
  }

  async freeze(): Promise<void> {
    await this.#chromium.send("Page.setWebLifecycleState", { state: "frozen" }, this.session);
  }

  async thaw(): Promise<void> {
    await this.#chromium.send("Page.setWebLifecycleState", { state: "active" }, this.session);
  }

  /** Ends the tab's process at once. */
  crash(): void {
    this.#chromium.send("Page.crash", {}, this.session).catch(() => {});
  }

  async close(): Promise<void> {
    await this.#chromium.send("Target.closeTarget", { targetId: this.#target });
  }
}
