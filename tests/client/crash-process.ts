// A client in a process of its own, which the tests kill. Arguments: folder, url, text, kill ("before 3", "after 3", "").
import { writeSync } from "node:fs";
import { SubrosaError } from "../../src/base/errors.js";
import { Client } from "../../src/index.js";
import { openStore } from "../../src/node.js";
import type { Store } from "../../src/stores/store.js";

const [folder, url, text, kill] = process.argv.slice(2) as [string, string, string, string];
const [moment, at] = kill.split(" ");
const print = (line: string) => void writeSync(1, `${line}\n`);
const die = () => void process.kill(process.pid, "SIGKILL");

/** The same store, at whose n-th write this process is killed. */
function deadly(store: Store): Store {
  let writes = 0;
  return {
    async open(name, options) {
      const session = await store.open(name, options);
      const write = session.write.bind(session);
      session.write = async (changes) => {
        const count = ++writes;
        if (moment === "before" && count === Number(at)) die();
        await write(changes);
        if (moment === "after" && count === Number(at)) die();
      };
      return session;
    },
  };
}

try {
  const client = new Client({ url, userId: "alice", history: true, store: deadly(await openStore(folder)) });
  client.on("error", (error) => print(`error ${error.code}`));
  client.on("message", ({ content, redelivered }) => print(`got ${redelivered} ${content}`));
  const said = async () =>
    (await client.history("bob")).map(({ content, state }) => `${state ?? "got"} ${content}`);
  await client.connect();
  print("connected");
  if (text !== "" && !(await said()).some((line) => line.endsWith(` ${text}`))) {
    await client.sendDirectMessage("bob", text);
    print(`accepted ${text}`);
  }
  let wake = () => {};
  client.on("message", () => wake());
  client.on("receipt", () => wake());
  for (const wanted of text === "" ? [] : [`delivered ${text}`, `got re: ${text}`]) {
    for (;;) {
      // What comes while the history is read counts too.
      const news = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if ((await said()).includes(wanted)) break;
      await news;
    }
  }
  for (const line of await said()) print(`history ${line}`);
  print(`done ${await client.close()}`);
} catch (error) {
  print(`failed ${SubrosaError.is(error) ? error.code : error}`);
}
