import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { defineBrowserProvider } from "@vitest/browser";
import type { BrowserProvider, BrowserProviderOption } from "vitest/node";

const MINI_BROWSER = `/usr/lib/${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu/webkit2gtk-4.1/MiniBrowser`;
const START_ATTEMPTS = 100;

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** One MiniBrowser behind one WebKitWebDriver, spoken to in plain WebDriver. */
class MiniBrowser {
  readonly #driver: ChildProcess;
  readonly #url: string;
  #session: string | undefined;

  private constructor(driver: ChildProcess, url: string) {
    this.#driver = driver;
    this.#url = url;
  }

  static async start(): Promise<MiniBrowser> {
    const port = await freePort();
    const driver = spawn("WebKitWebDriver", [`--port=${port}`], { stdio: "inherit" });
    const browser = new MiniBrowser(driver, `http://127.0.0.1:${port}`);
    try {
      await browser.#ready();
      const options = { binary: MINI_BROWSER, args: ["--automation"] };
      const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": options } };
      const session = (await browser.#request("POST", "/session", { capabilities })) as { sessionId: string };
      browser.#session = session.sessionId;
      return browser;
    } catch (error) {
      driver.kill();
      throw error;
    }
  }

  open(url: string): Promise<unknown> {
    return this.#request("POST", `/session/${this.#session}/url`, { url });
  }

  async close(): Promise<void> {
    await this.#request("DELETE", `/session/${this.#session}`).catch(() => {});
    this.#driver.kill();
  }

  async #ready(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#request("GET", "/status");
        return;
      } catch (error) {
        if (attempt === START_ATTEMPTS || this.#driver.exitCode !== null) throw error;
        await sleep(100);
      }
    }
  }

  async #request(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.#url + path, {
      method,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const { value } = (await response.json()) as { value: unknown };
    if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(value)}`);
    return value;
  }
}

class WebKitGtkProvider implements BrowserProvider {
  // Vitest picks the way it talks to a page by this name; the one for WebDriver needs nothing of the provider.
  readonly name = "webdriverio";
  readonly supportsParallelism = false;
  readonly initScripts: string[] = [];
  #browser: Promise<MiniBrowser> | undefined;

  getCommandsContext(): Record<string, unknown> {
    return {};
  }

  async openPage(_sessionId: string, url: string): Promise<void> {
    this.#browser ??= MiniBrowser.start();
    await (await this.#browser).open(url);
  }

  async close(): Promise<void> {
    const browser = await this.#browser?.catch(() => undefined);
    this.#browser = undefined;
    await browser?.close();
  }
}

/** A vitest browser provider for WebKitGTK: no package has one. It needs a display (`xvfb-run`). */
export function webkitgtk(): BrowserProviderOption {
  return defineBrowserProvider({
    name: "webkitgtk",
    options: {},
    providerFactory: () => new WebKitGtkProvider(),
  });
}
