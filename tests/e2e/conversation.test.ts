import type { Browser } from "playwright";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { findPorts, makeFolder, Program } from "./demo.js";
import { launchBrowser, Person } from "./person.js";

const folder = makeFolder();
let browser: Browser;
let demo: Program;
let url: string;
const people: Person[] = [];

async function open(name: string): Promise<Person> {
  const person = await Person.open(browser, url, name);
  people.push(person);
  await person.online();
  return person;
}

beforeAll(async () => {
  const [port, relayPort] = await findPorts(2);
  const env = { PORT: String(port), RELAY_PORT: String(relayPort), SUBROSA_DEMO_DATA: folder.path };
  [browser, demo] = await Promise.all([launchBrowser(), Program.demo(env)]);
  url = `http://127.0.0.1:${port}/`;
});

afterEach(async () => {
  const faults = people.flatMap((person) => person.faults);
  await Promise.all(people.splice(0).map((person) => person.close()));
  expect(faults).toEqual([]);
});

afterAll(async () => {
  await browser?.close();
  await demo?.end();
  folder.remove();
});

describe("two pages and the bot", () => {
  it("greets a newcomer", async () => {
    const alice = await open("newcomer");
    await alice.page.getByRole("heading", { name: "Nothing is said yet" }).waitFor();
    await alice.picture("empty");
  });

  it("passes direct messages both ways, with ticks", async () => {
    const [alice, bob] = [await open("alice-1"), await open("bob-1")];
    await alice.start("Direct", bob.name);
    await alice.say("hello bob");
    await bob.openConversation(alice.name);
    await bob.has("hello bob");
    await alice.has("hello bob", "delivered");
    await bob.say("hello alice");
    await bob.say("how are you?\nI am fine");
    await alice.has("hello alice");
    await bob.has("how are you?\nI am fine", "delivered");
    expect(await alice.texts()).toEqual(["hello bob", "hello alice", "how are you?\nI am fine"]);
    await alice.picture("direct");
  });

  it("gets answers from the bot, to words and to bytes", async () => {
    const alice = await open("alice-2");
    await alice.page.locator("#write-echo").click();
    await alice.say("anybody there?");
    await alice.has("echo: anybody there?");
    await alice.sendFile("random.bin", Buffer.alloc(1234, 7));
    await alice.has("echo: 1234 bytes");
  });

  it("joins three in a group, by request and by invitation", async () => {
    const [alice, bob] = [await open("alice-3"), await open("bob-3")];
    await alice.start("New group", "garden");
    await bob.start("Join group", "garden");
    await bob.page.getByText("You asked to join garden.").waitFor();
    const request = alice.page.locator(".notice.request");
    await request.getByText("bob-3 asks to join this group.").waitFor();
    await alice.picture("request");
    await bob.picture("waiting");
    await request.getByRole("button", { name: "Approve" }).click();
    await bob.hasNote("You are in the group.");
    await alice.hasNote("bob-3 joined.");

    await alice.page.locator("#group").click();
    await alice.page.locator("#invite-name").fill("echo");
    await alice.page.locator("#invite-form button").click();
    await alice.page.locator("#members").getByText("echo", { exact: true }).waitFor();
    await alice.picture("members");
    await alice.page.keyboard.press("Escape");

    await alice.say("who waters the roses?");
    await bob.has("who waters the roses?");
    await bob.say("echo does");
    await alice.has("echo: echo does");
    await bob.has("echo: echo does");
    await alice.has("who waters the roses?", "delivered");
    await alice.picture("group");
  });

  it("declines a request, removes a member, leaves and deletes", async () => {
    const [alice, bob, carol] = [await open("alice-4"), await open("bob-4"), await open("carol-4")];
    await alice.start("New group", "attic");
    await carol.start("Join group", "attic");
    await alice.page.locator(".notice.request").getByRole("button", { name: "Decline" }).click();
    await carol.hasNote("The request to join was declined.");

    await alice.page.locator("#group").click();
    await alice.page.locator("#invite-name").fill(bob.name);
    await alice.page.locator("#invite-form button").click();
    await bob.openConversation("attic");
    await bob.page.locator(".notice.invitation").getByText("alice-4 invites you").waitFor();
    await bob.picture("invitation");
    await bob.page.getByRole("button", { name: "Accept" }).click();
    await bob.say("thank you");
    await alice.has("thank you");

    await alice.page.getByRole("button", { name: "Manage bob-4" }).click();
    await alice.page.getByRole("button", { name: "Remove bob-4" }).click();
    await bob.hasNote("alice-4 removed you from the group.");
    await alice.page.keyboard.press("Escape");
    await alice.page.locator("#options").click();
    await alice.page.locator("#delete").click();
    await alice.page.locator("#confirm-yes").click();
    await alice.hasNote("You deleted the group.");
  });

  it("keeps requests and invitations over reloads, on both sides", async () => {
    const [alice, bob, carol] = [await open("alice-9"), await open("bob-9"), await open("carol-9")];
    await alice.start("New group", "cellar");
    await bob.start("Join group", "cellar");
    await alice.page.locator(".notice.request").waitFor();
    await bob.page.reload();
    await bob.online();
    await bob.openConversation("cellar");
    await bob.page.getByText("You asked to join cellar.").waitFor();
    await alice.page.reload();
    await alice.openConversation("cellar");
    await alice.page.getByRole("button", { name: "Approve" }).click();
    await bob.hasNote("You are in the group.");

    await alice.page.locator("#group").click();
    await alice.page.locator("#invite-name").fill(carol.name);
    await alice.page.locator("#invite-form button").click();
    await carol.entry("cellar").waitFor();
    await carol.page.reload();
    await carol.openConversation("cellar");
    await carol.page.getByRole("button", { name: "Accept" }).click();
    await carol.say("it is dark here");
    await bob.has("it is dark here");

    await bob.page.locator("#options").click();
    await bob.page.locator("#leave").click();
    await bob.page.locator("#confirm-yes").click();
    await bob.hasNote("You left the group.");
    await carol.hasNote("bob-9 is no longer in the group.");
  });

  it("lets anybody into an open group, and only the invited into a closed one", async () => {
    const [alice, bob] = [await open("alice-10"), await open("bob-10")];
    const create = async (name: string, mode: string) => {
      await alice.page.locator("#new").click();
      await alice.page.getByRole("radio", { name: "New group" }).check();
      await alice.page.locator("#new-name").fill(name);
      await alice.page.locator("#mode").selectOption(mode);
      await alice.page.locator("#new-submit").click();
      await alice.page.locator("#title").filter({ hasText: name }).waitFor();
    };
    await create("meadow", "open");
    await bob.start("Join group", "meadow");
    await bob.say("so easy");
    await alice.has("so easy");
    await create("vault", "closed");
    await bob.start("Join group", "vault");
    await bob.hasNote("The request to join was declined.");
  });

  it("shows markup as text", async () => {
    const name = "<b>eve</b>";
    const [alice, eve] = [await open("alice-11"), await open(name)];
    await eve.start("Direct", alice.name);
    await eve.say("<img src=x onerror=alert(1)>");
    await alice.openConversation(name);
    await alice.has("<img src=x onerror=alert(1)>");
    expect(await alice.page.locator("main b, main img[src=x], .entry b").count()).toBe(0);
  });

  it("says why a message was given up", async () => {
    const alice = await open("alice-12");
    await alice.start("Direct", "nobody-at-all");
    await alice.say("anyone?");
    await alice.has("anyone?", "failed");
    await alice.page.getByText("Nobody of that name has been here. (unknown-user)").waitFor();
    await alice.page.reload();
    await alice.openConversation("nobody-at-all");
    await alice.has("anyone?", "failed");
  });

  it("goes on after a reload in the middle, with history and without loss", async () => {
    const [alice, bob] = [await open("alice-6"), await open("bob-6")];
    await alice.start("Direct", bob.name);
    await alice.say("one");
    await bob.openConversation(alice.name);
    await bob.say("two");
    await alice.has("two");
    await bob.say("three");
    await alice.say("four");
    await alice.has("four");
    await alice.page.reload();
    await bob.say("five");
    await alice.online();
    await alice.openConversation(bob.name);
    await alice.has("five");
    await alice.has("four", "delivered");
    await bob.has("four");
    const all = ["five", "four", "one", "three", "two"];
    expect((await alice.texts()).sort()).toEqual(all);
    expect((await bob.texts()).sort()).toEqual(all);
  });

  it("compares safety numbers, and remembers who was verified", async () => {
    const [alice, bob] = [await open("alice-7"), await open("bob-7")];
    await alice.start("Direct", bob.name);
    await alice.say("is it you?");
    await bob.openConversation(alice.name);
    await bob.has("is it you?");
    await alice.page.locator("#safety").click();
    await bob.page.locator("#safety").click();
    const digits = (person: Person) => person.page.locator("#digits li").allTextContents();
    await alice.page.locator("#safety-dialog").waitFor();
    await bob.page.locator("#safety-dialog").waitFor();
    expect(await digits(alice)).toEqual(await digits(bob));
    expect((await digits(alice)).join("")).toMatch(/^\d{60}$/);
    await alice.picture("safety-number");
    await alice.page.locator("#verify").click();
    await alice.page.getByText("You marked this as verified.").waitFor();
    await alice.page.reload();
    await alice.openConversation(bob.name);
    await alice.page.locator("#title").getByRole("img", { name: "verified" }).waitFor();
  });

  it("lets one user be in several tabs at once, whichever of them was first", async () => {
    const alice = await open("alice-8");
    await alice.start("Direct", "echo");
    await alice.say("from the first");
    await alice.has("echo: from the first");
    const second = await alice.context.newPage();
    await second.goto(`${url}?name=${alice.name}`);
    await second.locator(".entry").filter({ hasText: "echo" }).click();
    const say = async (text: string) => {
      await second.locator("#text").fill(text);
      await second.locator("#text").press("Enter");
      await second.locator(".message").getByText(`echo: ${text}`, { exact: true }).waitFor();
    };
    await say("from the second");
    await alice.has("from the second", "delivered");
    await alice.has("echo: from the second");
    await alice.page.close();
    await say("still here");
  });

  it("tells the second claimant of a name", async () => {
    const first = await open("dave");
    const second = await Person.open(browser, url, "dave");
    people.push(second);
    await second.page.getByRole("heading", { name: "The name dave is taken" }).waitFor();
    await second.page.getByText("user-id-taken").waitFor();
    await first.online();
  });
});
