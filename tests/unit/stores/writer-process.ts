// A process of its own that the tests start, and kill. Arguments: mode, folder, name.
import { writeSync } from "node:fs";
import { SubrosaError } from "../../../src/base/errors.js";
import { openStore } from "../../../src/node.js";

const [mode, folder, name] = process.argv.slice(2) as [string, string, string];

try {
  const session = await (await openStore(folder)).open(name);
  writeSync(1, "open\n");
  if (mode === "hold") {
    setInterval(() => {}, 1_000);
  } else {
    // Each write changes three records that belong together; several are in flight.
    let next = 0;
    const writer = async () => {
      for (;;) {
        const i = next++;
        const value = Uint8Array.from({ length: 300 }, () => i);
        const marker = new TextEncoder().encode(String(i));
        await session.write([
          { put: `one/${i}`, value },
          { put: `two/${i}`, value },
          { put: "last", value: marker },
        ]);
        writeSync(1, `done ${i}\n`);
      }
    };
    await Promise.all([writer(), writer(), writer()]);
  }
} catch (error) {
  writeSync(1, `failed ${SubrosaError.is(error) ? error.code : error}\n`);
}
