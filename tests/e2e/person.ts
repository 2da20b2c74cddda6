import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from "playwright";
import { findProgram } from "../harness/system-packages.mjs";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
const QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];

export function launchBrowser(): Promise<Browser> {
  const executablePath = findProgram("chromium");
  if (executablePath === undefined) throw new Error("these tests need the program chromium");
  return chromium.launch({ executablePath, args: [...FLAGS, ...QUIET] });
}

const exactly = (text: string) => new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`);

type State = "pending" | "sent" | "delivered" | "read" | "failed";

/** Somebody who uses the demo page in a browser profile of their own. */
export class Person {
  readonly name: string;
  readonly context: BrowserContext;
  readonly page: Page;
  /** What went wrong in the page itself, such as violations of its content security policy. */
  readonly faults: string[] = [];

  private constructor(name: string, context: BrowserContext, page: Page) {
    this.name = name;
    this.context = context;
    this.page = page;
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => this.faults.push(error.stack ?? error.message));
    page.on("console", (message) => {
      // The browser itself reports each attempt to reach a relay that is not there.
      if (message.type() === "error" && !/WebSocket connection to|net::ERR_/.test(message.text())) {
        this.faults.push(message.text());
      }
    });
  }

  static async open(browser: Browser, url: string, name: string): Promise<Person> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    const person = new Person(name, context, await context.newPage());
    await person.visit(url);
    return person;
  }

  /** Opens the page, by name; without waiting for the relay. */
  async visit(url: string): Promise<void> {
    await this.page.goto(`${url}?name=${encodeURIComponent(this.name)}`);
    await this.page.locator("#app, #blocked").filter({ visible: true }).first().waitFor();
  }

  async online(): Promise<void> {
    await this.page.locator("#state.connected").waitFor({ state: "attached" });
  }

  async offline(): Promise<void> {
    await this.page.locator("#connection").waitFor();
  }

  /** An entry of the list of conversations. */
  entry(name: string): Locator {
    return this.page.locator(".entry").filter({ has: this.page.getByText(name, { exact: true }) });
  }

  async openConversation(name: string): Promise<void> {
    await this.entry(name).click();
    await this.page.locator("#title").filter({ hasText: name }).waitFor();
  }

  async start(what: "Direct" | "New group" | "Join group", name: string): Promise<void> {
    await this.page.locator("#new").click();
    await this.page.getByRole("radio", { name: what, exact: true }).check();
    await this.page.locator("#new-name").fill(name);
    await this.page.locator("#new-submit").click();
    await this.page.locator("#new-dialog").waitFor({ state: "hidden" });
    await this.page.locator("#title").filter({ hasText: name }).waitFor();
  }

  async say(text: string): Promise<void> {
    await this.page.locator("#text").fill(text);
    await this.page.locator("#text").press("Enter");
  }

  async sendFile(name: string, buffer: Buffer, mimeType = "application/octet-stream"): Promise<void> {
    await this.page.locator("#file").setInputFiles({ name, mimeType, buffer });
  }

  /** Drops a file of zeros on a part of the page. */
  async drop(selector: string, name: string, size: number): Promise<void> {
    await this.page.locator(selector).evaluate(
      (target, [name, size]) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([new Uint8Array(size)], name));
        target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
      },
      [name, size] as const,
    );
  }

  /** Notes from now on how far the transfer on the page is; what is returned tells of it. */
  async watchProgress(): Promise<() => Promise<number[]>> {
    const watched = await this.page.evaluateHandle(() => {
      const values: number[] = [];
      const note = () => {
        const bar = document.querySelector<HTMLProgressElement>("progress:not([hidden])");
        if (bar !== null) values.push(bar.value);
      };
      new MutationObserver(note).observe(document.body, { subtree: true, attributes: true, childList: true });
      return values;
    });
    return () => watched.jsonValue();
  }

  async invite(name: string): Promise<void> {
    await this.page.locator("#group").click();
    await this.page.locator("#invite-name").fill(name);
    await this.page.locator("#invite-form button").click();
    await this.page.locator("#members").getByText(name, { exact: true }).waitFor();
    await this.page.keyboard.press("Escape");
  }

  /** Takes an invitation. */
  async accept(group: string): Promise<void> {
    await this.openConversation(group);
    await this.page.getByRole("button", { name: "Accept" }).click();
    await this.page.locator(".notice.invitation").waitFor({ state: "detached" });
  }

  /** Does something with a member of the open group, as an admin; the dialog stays open. */
  async manage(name: string, action: string): Promise<void> {
    await this.page.locator("#group").click();
    await this.page.getByRole("button", { name: `Manage ${name}` }).click();
    await this.page.getByRole("button", { name: action }).click();
  }

  /** Messages of the open conversation with exactly this text. */
  message(text: string): Locator {
    return this.page
      .locator(".message")
      .filter({ has: this.page.locator(".words", { hasText: exactly(text) }) });
  }

  /** Waits until an own message has come so far, or further. */
  async has(text: string, state?: State): Promise<void> {
    const found = this.message(text);
    const states =
      state === "delivered" ? "[data-state=delivered], [data-state=read]" : `[data-state=${state}]`;
    await (state === undefined ? found : found.and(this.page.locator(states))).first().waitFor();
  }

  async stateOf(text: string): Promise<string | null> {
    return this.message(text).getAttribute("data-state");
  }

  /** Waits for a line of the open conversation that is not a message. */
  async hasNote(text: string | RegExp): Promise<void> {
    await this.page.locator(".note").filter({ hasText: text }).first().waitFor();
  }

  /** The texts of all messages of the open conversation, as they stand. */
  texts(): Promise<string[]> {
    return this.page.locator(".message .words").allTextContents();
  }

  /** Takes the picture in both widths, into the folder that SCREENSHOTS names; without it, none. */
  async picture(name: string): Promise<void> {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    mkdirSync(folder, { recursive: true });
    for (const [width, height] of [
      [390, 844],
      [1280, 800],
    ] as const) {
      await this.page.setViewportSize({ width, height });
      await this.page.screenshot({ path: join(folder, `${name}-${width}.png`), animations: "disabled" });
    }
  }

  async close(): Promise<void> {
    await this.context.close();
  }
}
