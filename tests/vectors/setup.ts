import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";

export interface VectorFile {
  /** Without `.json`. */
  name: string;
  text: string;
}

export interface VectorFolder {
  title: string;
  /** Undefined: not asked for. */
  files?: VectorFile[];
}

declare module "vitest" {
  interface ProvidedContext {
    vectorFolders: VectorFolder[];
  }
}

const FROZEN = fileURLToPath(new URL("./frozen/mls", import.meta.url));

function readFolder(path: string): VectorFile[] {
  const names = readdirSync(path).filter((name) => name.endsWith(".json"));
  return names
    .sort()
    .map((name) => ({ name: name.slice(0, -".json".length), text: readFileSync(join(path, name), "utf8") }));
}

/** Hands the vector files to the tests, which may run in a browser and cannot read them. */
export function setup(project: TestProject): void {
  const official: VectorFolder = { title: "official" };
  const path = process.env.MLS_VECTORS;
  if (path) official.files = readFolder(path);
  const frozen: VectorFolder = { title: "frozen", files: existsSync(FROZEN) ? readFolder(FROZEN) : [] };
  project.provide("vectorFolders", [official, frozen]);
}
