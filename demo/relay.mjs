/** The demo's relay, in a process of its own. Told by DATA and RELAY_PORT; ends with the process that started it. */
import { Relay } from "../dist/relay.js";
import { listenOnFreePort } from "./ports.mjs";

async function listen(port) {
  const relay = new Relay({
    port,
    data: process.env.DATA,
    onError: (error) => console.error("relay:", error),
  });
  const { url } = await relay.listen();
  return { relay, url };
}

try {
  const { relay, url } = await listenOnFreePort(process.env.RELAY_PORT, 8787, listen);
  process.once("disconnect", async () => {
    await relay.close();
    process.exit();
  });
  process.send({ url });
} catch (error) {
  process.send({ error: `The relay cannot start: ${error.message}` }, () => process.exit(1));
}
