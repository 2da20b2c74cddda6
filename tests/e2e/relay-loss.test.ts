import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Browser } from "playwright";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { findPorts, makeFolder, Program } from "./demo.js";
import { launchBrowser, Person } from "./person.js";

const folder = makeFolder();
const relayData = join(folder.path, "relay");
let browser: Browser;
let relay: Program;
let demo: Program;
let relayPort: number;
let url: string;
const people: Person[] = [];

async function open(name: string): Promise<Person> {
  const person = await Person.open(browser, url, name);
  people.push(person);
  await person.online();
  return person;
}

async function restartRelay(): Promise<void> {
  relay = await Program.relay(relayPort, relayData);
}

beforeAll(async () => {
  const ports = await findPorts(2);
  relayPort = ports[1] as number;
  url = `http://127.0.0.1:${ports[0]}/`;
  browser = await launchBrowser();
  await restartRelay();
  demo = await Program.demo({
    PORT: String(ports[0]),
    RELAY_URL: `ws://127.0.0.1:${relayPort}`,
    SUBROSA_DEMO_DATA: folder.path,
  });
});

afterEach(async () => {
  const faults = people.flatMap((person) => person.faults);
  await Promise.all(people.splice(0).map((person) => person.close()));
  expect(faults).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await demo?.end();
  await relay?.end();
  folder.remove();
});

describe("without the relay", () => {
  it("keeps what is written, and passes it on once when the relay is back", async () => {
    const [alice, bob] = [await open("alice-1"), await open("bob-1")];
    await alice.start("Direct", bob.name);
    await alice.say("before");
    await bob.openConversation(alice.name);
    await bob.has("before");
    await alice.page.locator("#subtitle", { hasText: /^Online/ }).waitFor();
    await alice.has("before", "delivered");

    await relay.end("SIGKILL");
    await alice.offline();
    await bob.offline();
    // Who can be reached is not known then, and not that they are there.
    await alice.page.locator("#subtitle", { hasText: /^Last here/ }).waitFor();
    expect(await alice.page.locator(".there").count()).toBe(0);
    await alice.say("meanwhile");
    await alice.say("and then");
    await alice.has("meanwhile", "pending");
    await alice.page.getByText("2 messages wait here").waitFor();
    await alice.picture("offline");

    // A page that was reloaded meanwhile still has everything.
    await alice.page.reload();
    await alice.openConversation(bob.name);
    await alice.has("and then", "pending");
    await alice.say("last");
    await alice.offline();

    await restartRelay();
    await alice.has("last", "delivered");
    expect(await bob.texts()).toEqual(["before", "meanwhile", "and then", "last"]);
    await bob.say("all here");
    await alice.has("all here");
    expect(await alice.texts()).toEqual(["before", "meanwhile", "and then", "last", "all here"]);
  });

  it("holds messages for somebody who is away, over a restart", async () => {
    const [alice, bob] = [await open("alice-2"), await open("bob-2")];
    await alice.start("Direct", bob.name);
    await bob.page.goto("about:blank");
    await alice.say("one");
    await alice.say("two");
    await alice.has("two", "sent");
    await relay.end("SIGKILL");
    await alice.offline();
    await restartRelay();
    await alice.online();
    await alice.say("three");
    await alice.has("three", "sent");
    await bob.visit(url);
    await bob.openConversation(alice.name);
    await bob.has("three");
    expect(await bob.texts()).toEqual(["one", "two", "three"]);
    await alice.has("one", "delivered");
  });

  it("says that the relay lost everything, and goes on", async () => {
    const [alice, bob] = [await open("alice-3"), await open("bob-3")];
    await alice.start("New group", "garden");
    await alice.page.locator("#group").click();
    await alice.page.locator("#invite-name").fill("echo");
    await alice.page.locator("#invite-form button").click();
    await alice.page.locator("#members").getByText("echo", { exact: true }).waitFor();
    await alice.page.keyboard.press("Escape");
    await alice.say("echo, are you here?");
    await alice.has("echo: echo, are you here?");
    await alice.start("Direct", bob.name);
    await alice.say("before");
    await bob.openConversation(alice.name);
    await bob.has("before");

    await relay.end();
    rmSync(relayData, { recursive: true });
    await restartRelay();

    await demo.says(/echo: .*the relay has lost its data/);
    await alice.page.locator(".toast").getByText("relay has lost its data").waitFor();
    // Who created the group brings it back, and everybody goes on in it.
    await alice.openConversation("garden");
    await alice.say("echo, are you still here?");
    await alice.has("echo: echo, are you still here?");
    await alice.picture("relay-lost");

    await alice.openConversation(bob.name);
    await alice.say("after");
    await bob.has("after");
    await bob.say("here again");
    await alice.has("here again");
    await alice.start("Direct", "echo");
    await alice.say("and you?");
    await alice.has("echo: and you?");
  });

  it("warns when somebody comes back as another", async () => {
    const [alice, bob] = [await open("alice-4"), await open("bob-4")];
    await alice.start("Direct", bob.name);
    await alice.say("is it you?");
    await alice.has("is it you?", "delivered");
    await bob.close();

    await relay.end();
    rmSync(relayData, { recursive: true });
    await restartRelay();
    await alice.online();
    const other = await open(bob.name);
    await other.start("Direct", alice.name);
    await other.say("I am bob");
    const warning = alice.page.locator(".notice.warning");
    await warning.getByText("The identity of bob-4 has changed.").waitFor();
    await alice.picture("identity-changed");
    expect(await alice.texts()).toEqual(["is it you?"]);
    await alice.page.reload();
    await alice.online();
    await alice.openConversation(bob.name);
    await warning.waitFor();
    await warning.getByRole("button", { name: "Accept the new identity" }).click();
    await alice.has("I am bob");
    await alice.say("welcome back");
    await other.has("welcome back");
  });
});
