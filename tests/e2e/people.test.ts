import { randomBytes } from "node:crypto";
import type { Browser } from "playwright";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Relay } from "../../src/relay.js";
import { findPorts, makeFolder, Program } from "./demo.js";
import { launchBrowser, Person } from "./person.js";

/** What three people do with each other, on pages that stay open from the first test to the last. */
const folder = makeFolder();
let browser: Browser;
let relay: Relay;
let demo: Program;
let alice: Person;
let bob: Person;
let carol: Person;

async function open(url: string, name: string): Promise<Person> {
  const person = await Person.open(browser, url, name);
  await person.online();
  return person;
}

beforeAll(async () => {
  const [port] = await findPorts(1);
  relay = new Relay({ port: 0 });
  const env = {
    PORT: String(port),
    RELAY_URL: (await relay.listen()).url,
    SUBROSA_DEMO_DATA: folder.path,
  };
  [browser, demo] = await Promise.all([launchBrowser(), Program.demo(env)]);
  const url = `http://127.0.0.1:${port}/`;
  [alice, bob, carol] = await Promise.all([open(url, "alice"), open(url, "bob"), open(url, "carol")]);
  await alice.start("Direct", bob.name);
  await alice.say("hello");
  await bob.entry(alice.name).waitFor();
});

afterEach(() => {
  expect([alice, bob, carol].flatMap((person) => person?.faults ?? [])).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await demo?.end();
  await relay?.close();
  folder.remove();
});

describe("three people", () => {
  it("see whether a message has come and was read", async () => {
    await alice.has("hello", "delivered");
    expect(await alice.stateOf("hello")).toBe("delivered");
    await bob.openConversation(alice.name);
    await alice.has("hello", "read");
    await alice.message("hello").locator(".meta").click();
    const facts = alice.page.locator("#message-facts");
    await facts.getByText("Read by").waitFor();
    expect(await facts.locator("dd").allTextContents()).toEqual(
      expect.arrayContaining(["you", bob.name, bob.name]),
    );
    await alice.picture("message");
    await alice.page.keyboard.press("Escape");
  });

  it("see that somebody is typing, and that nobody is any more", async () => {
    const typing = alice.page.locator("#typing");
    await bob.page.locator("#text").fill("well");
    await typing.getByText("bob is typing …").waitFor();
    await alice.picture("typing");
    await bob.page.locator("#text").fill("");
    await typing.getByText("bob is typing …").waitFor({ state: "hidden" });
    await bob.say("well then");
    await alice.has("well then");
  });

  it("send a file and follow its way, show pictures and save the rest", async () => {
    const bytes = randomBytes(3 * 1024 * 1024);
    const [sent, fetched] = [await alice.watchProgress(), await bob.watchProgress()];
    await alice.sendFile("petals.bin", bytes);
    const [download] = await Promise.all([
      bob.page.waitForEvent("download"),
      bob.page.getByRole("button", { name: "Download petals.bin" }).click(),
    ]);
    const stream = await download.createReadStream();
    expect(Buffer.concat(await stream.toArray()).equals(bytes)).toBe(true);
    expect(download.suggestedFilename()).toBe("petals.bin");
    for (const values of [await sent(), await fetched()]) {
      expect(values.filter((value) => value > 0 && value < 1)).not.toEqual([]);
      expect(values).toEqual([...values].sort((one, other) => one - other));
    }
    await bob.page.getByRole("button", { name: "Save petals.bin" }).waitFor();
    await bob.page.locator(".file-status", { hasText: "3.0 MiB" }).waitFor();

    await alice.sendFile("roses.png", await alice.page.screenshot(), "image/png");
    const picture = bob.page.getByRole("img", { name: "Picture from alice: roses.png" });
    await picture.waitFor();
    await expect.poll(() => picture.evaluate((image) => (image as HTMLImageElement).naturalWidth)).toBe(1280);
    await bob.picture("files");
  });

  it("drop a file on a conversation, and think better of it", async () => {
    const messages = alice.page.locator(".message");
    const before = await messages.count();
    await alice.drop("#conversation", "enormous.bin", 64 * 1024 * 1024);
    const cancel = alice.page.getByRole("button", { name: "Cancel enormous.bin" });
    await cancel.waitFor();
    await alice.picture("upload");
    await cancel.click();
    await alice.page.getByText("enormous.bin").first().waitFor({ state: "detached" });
    expect(await messages.count()).toBe(before);
  });

  it("delete a message on their own device", async () => {
    await alice.message("hello").locator(".meta").click();
    await alice.page.locator("#message-delete").click();
    await alice.message("hello").waitFor({ state: "detached" });
    await alice.page.reload();
    await alice.openConversation(bob.name);
    await alice.has("well then");
    expect(await alice.message("hello").count()).toBe(0);
    await bob.has("hello");
  });

  it("have messages disappear", async () => {
    await alice.page.locator("#options").click();
    await alice.page.locator("#timer").selectOption({ label: "1 minute" });
    await alice.hasNote("You had messages disappear after 1 minute.");
    await alice.picture("options");
    await alice.page.keyboard.press("Escape");
    await bob.hasNote("alice had messages disappear after 1 minute.");
    await bob.page.locator("#subtitle", { hasText: "essages disappear after 1 minute" }).waitFor();
  });

  it("share the work of an admin", async () => {
    await alice.start("New group", "garden");
    await alice.invite(bob.name);
    await alice.invite(carol.name);
    await bob.accept("garden");
    await alice.say("welcome");
    await bob.has("welcome");
    await alice.has("welcome", "read");
    const part = () => alice.message("welcome").locator(".part").textContent();
    await expect.poll(part, { timeout: 30_000 }).toBe("1/2");
    await alice.picture("counts");
    await carol.accept("garden");
    await carol.has("welcome");
    await expect.poll(part, { timeout: 30_000 }).toBe("");

    await alice.manage(bob.name, "Promote bob");
    await bob.hasNote("alice made you an admin.");
    await alice.page.getByRole("button", { name: "Demote bob" }).waitFor();
    await alice.picture("roles");
    await alice.page.keyboard.press("Escape");

    await bob.page.locator("#options").click();
    await bob.page.locator("#group-name").fill("orchard");
    await bob.page.locator("#rename-group").click();
    await bob.page.locator("#join-mode").selectOption("closed");
    await bob.picture("group-options");
    await bob.hasNote("You changed who may join.");
    await bob.page.keyboard.press("Escape");
    for (const person of [alice, bob, carol]) {
      await person.page.locator("#title", { hasText: "orchard" }).waitFor();
      await person.entry("orchard").waitFor();
      expect(await person.entry("garden").count()).toBe(0);
    }
    await alice.hasNote("bob renamed the group: it was garden.");
    await carol.say("a good name");
    await bob.has("a good name");

    await bob.manage(carol.name, "Ban carol");
    await carol.hasNote("bob removed you from the group.");
    await alice.hasNote("bob banned carol.");
    await bob.page.locator("#banned").getByText("carol").waitFor();
    await bob.picture("banned");
    await bob.page.getByRole("button", { name: "Lift the ban on carol" }).click();
    await bob.page.locator("#banned-part").waitFor({ state: "hidden" });
    await alice.hasNote("bob lifted the ban on carol.");
    await alice.picture("renamed");
  });

  it("hear what the relay's operator says, as nobody's message", async () => {
    const before = await alice.texts();
    await relay.notify("The relay rests on Sunday.");
    const notice = alice.page.locator(".operator-notice");
    await notice.getByText("The operator of this relay says").waitFor();
    await notice.getByText("The relay rests on Sunday.").waitFor();
    await alice.picture("operator");
    expect(await alice.texts()).toEqual(before);
    expect(await alice.page.locator("#conversations").getByText("Sunday").count()).toBe(0);
    await alice.page.reload();
    await notice.getByRole("button", { name: "Dismiss" }).click();
    await notice.waitFor({ state: "detached" });
    await alice.page.reload();
    await alice.online();
    expect(await notice.count()).toBe(0);
  });
});
