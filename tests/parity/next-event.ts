import type { Client, ClientEvents, EventName } from "../../src/index.js";

/** The next event that fits, from now on. */
export function next<Name extends EventName>(
  client: Client,
  name: Name,
  fits: (event: ClientEvents[Name]) => boolean = () => true,
): Promise<ClientEvents[Name]> {
  return new Promise((resolve) => {
    const off = client.on(name, (event) => {
      if (!fits(event)) return;
      off();
      resolve(event);
    });
  });
}
