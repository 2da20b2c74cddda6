/** The demo's relay, in a process of its own. Told by DATA and RELAY_PORT; ends with the process that started it. */
import { Relay } from "../dist/relay.js";
import { listenOnFreePort } from "./ports.mjs";

const { DATA, RELAY_PORT } = process.env;
const DEFAULT_PORT = 8787;

async function listen(port) {
  // Clients know a relay by its address: one on another port is another, with data of its own.
  const isUsual = port === DEFAULT_PORT;
  const next = new Relay({
    port,
    data: isUsual ? DATA : `${DATA}-${port}`,
    onError: (error) => console.error("relay:", error),
  });
  const { url } = await next.listen();
  relay = next;
  return { url };
}

/** @type {Relay | undefined} */
let relay;
// Before anything is awaited: whoever started this may go at any time.
process.once("disconnect", async () => {
  await relay?.close();
  process.exit();
});

try {
  const { url } = await listenOnFreePort(RELAY_PORT, DEFAULT_PORT, listen);
  // The callback: whoever started this may be gone already.
  process.send({ url }, () => {});
} catch (error) {
  process.send({ error: `The relay cannot start: ${error.message}` }, () => process.exit(1));
}
