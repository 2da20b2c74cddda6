import { Client, type Message } from "../../../src/index.js";
import { Relay } from "../../../src/relay.js";
import { median, progress, quantile, short, table, whole } from "../table.js";

/** Messages from client to client through a relay, all in this one process: what an app's own code waits for. */
export async function clientMessages(quick: boolean): Promise<void> {
  progress("messages between clients …");
  const relay = new Relay();
  const { url } = await relay.listen();
  const alice = new Client({ url, userId: "alice" });
  const bob = new Client({ url, userId: "bob" });
  await Promise.all([alice.connect(), bob.connect()]);
  let arrived: (message: Message) => void = () => {};
  bob.on("message", (message) => arrived(message));
  alice.on("message", () => {});
  const delivered = (count: number) =>
    new Promise<void>((resolve) => {
      let left = count;
      arrived = () => {
        if (--left === 0) resolve();
      };
    });
  const text = "x".repeat(256);
  const first = delivered(1);
  await alice.sendDirectMessage("bob", text);
  await first;

  const alone: number[] = [];
  for (let n = 0; n < (quick ? 30 : 150); n++) {
    const done = delivered(1);
    const started = performance.now();
    await alice.sendDirectMessage("bob", text);
    await done;
    alone.push(performance.now() - started);
  }
  const rates: number[] = [];
  const burst = quick ? 100 : 300;
  for (let round = 0; round < (quick ? 2 : 5); round++) {
    const done = delivered(burst);
    const started = performance.now();
    await Promise.all(Array.from({ length: burst }, () => alice.sendDirectMessage("bob", text)));
    await done;
    rates.push((burst / (performance.now() - started)) * 1000);
  }
  progress("");
  console.log(
    "\nFrom client to client through a relay, all in one process, 256-byte messages, stores in memory\n",
  );
  console.log(
    table(
      ["", ""],
      [
        ["one at a time, from the call to the other's event", `p50 ${short(quantile(alone, 0.5))} ms`],
        ["", `p99 ${short(quantile(alone, 0.99))} ms`],
        [`${burst} at once`, `${whole(median(rates))} messages/s`],
      ],
    ),
  );
  await Promise.all([alice.close(), bob.close()]);
  await relay.close();
}
