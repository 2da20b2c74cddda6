/**
 * The demo's echo bot: answers direct messages, and group messages that name it. Its identity, keys and outbox last
 * in the folder DATA; the relay is at RELAY_URL. Ends with the process that started it.
 */
import { Client } from "../dist/index.js";
import { openStore } from "../dist/node.js";

const NAME = "echo";
const say = (text) => console.log(`  echo: ${text}`);

/** @type {Client | undefined} */
let client;
let closing = false;
// Before anything is awaited: whoever started this may go at any time.
process.once("disconnect", async () => {
  closing = true;
  await client?.close();
  process.exit();
});

client = new Client({
  url: process.env.RELAY_URL,
  userId: NAME,
  store: await openStore(process.env.DATA),
  ack: { direct: true, group: true },
});

let offline = false;
client.on("connect", () => {
  if (offline) say("online again");
  offline = false;
});
client.on("disconnect", ({ code, reason, willReconnect }) => {
  if (offline || closing) return;
  offline = true;
  say(`offline (${reason || code})${willReconnect ? ", trying again" : ""}`);
});
client.on("error", (error) => say(`${error.code}: ${error.message}`));
client.on("groupJoin", ({ group }) => say(`is in the group ${group}`));
client.on("groupDeleted", ({ group }) => say(`the group ${group} is deleted`));
client.on("groupLeave", ({ group, reason }) =>
  say(reason === "lost" ? `the relay has lost the group ${group}` : `is no longer in the group ${group}`),
);
client.on("receipt", ({ ids, state, code }) => {
  if (state === "failed") say(`${ids.length} of its messages were given up (${code})`);
});
client.on("invitation", async ({ group, from, accept }) => {
  say(`${from} invites it to the group ${group}, it accepts`);
  await accept();
});
client.on("identityChanged", async ({ userId, offered }) => {
  // It repeats to everyone what they wrote, so a false identity gains nothing. Do not copy this.
  say(`${userId} has another identity than before, it accepts`);
  await client.acceptIdentity(userId, offered);
});

function answerTo({ content, group }) {
  if (group === undefined)
    return `echo: ${typeof content === "string" ? content : `${content.size ?? content.length} bytes`}`;
  // In groups only when it is spoken to.
  return typeof content === "string" && /(^|\W)echo(\W|$)/i.test(content) ? `echo: ${content}` : undefined;
}

async function answerAll() {
  for await (const message of client.messages()) {
    await client.markRead(message);
    const answer = answerTo(message);
    if (answer === undefined || message.from === NAME) continue;
    try {
      if (message.group === undefined) await client.sendDirectMessage(message.from, answer);
      else await client.sendGroupMessage(message.group, answer);
    } catch (error) {
      say(`cannot answer ${message.from}: ${error.code}: ${error.message}`);
    }
  }
}

try {
  await client.connect();
  say("online");
  // The callback: whoever started this may be gone already.
  process.send({ ready: true }, () => {});
  await answerAll();
} catch (error) {
  process.send?.({ error: `The echo bot cannot start: ${error.code}: ${error.message}` }, () =>
    process.exit(1),
  );
}
