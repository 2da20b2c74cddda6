import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as primitives from "./frozen-primitives.js";
import * as scenarios from "./frozen-scenarios.js";
import * as trees from "./frozen-trees.js";

/**
 * Makes tests/vectors/frozen/mls anew, by ts-mls alone: nothing of src takes part. Run by hand from the project folder:
 *
 *   npx esbuild tests/interop/make-frozen-vectors.ts --bundle --platform=node --format=esm --packages=external \
 *     --outfile=node_modules/.cache/make-frozen-vectors.mjs && node node_modules/.cache/make-frozen-vectors.mjs
 */
const FOLDER = join("tests", "vectors", "frozen", "mls");

const FILES: Readonly<Record<string, () => unknown>> = {
  "crypto-basics": primitives.cryptoBasics,
  deserialization: primitives.deserialization,
  "key-schedule": primitives.keySchedule,
  "message-protection": primitives.messageProtection,
  messages: scenarios.messages,
  "passive-client-handling-commit": scenarios.passiveClientHandlingCommit,
  "passive-client-random": scenarios.passiveClientRandom,
  "passive-client-welcome": scenarios.passiveClientWelcome,
  psk_secret: primitives.pskSecret,
  "secret-tree": primitives.secretTree,
  "transcript-hashes": primitives.transcriptHashes,
  "tree-math": primitives.treeMath,
  "tree-operations": trees.treeOperations,
  "tree-validation": trees.treeValidation,
  treekem: trees.treeKem,
  welcome: scenarios.welcome,
};

mkdirSync(FOLDER, { recursive: true });
let total = 0;
for (const [name, make] of Object.entries(FILES)) {
  const entries = (await make()) as unknown[];
  const text = `[\n${entries.map((entry) => JSON.stringify(entry)).join(",\n")}\n]\n`;
  writeFileSync(join(FOLDER, `${name}.json`), text);
  total += text.length;
  console.log(`${name}.json: ${entries.length} entries, ${text.length} bytes`);
}
console.log(`${total} bytes`);
