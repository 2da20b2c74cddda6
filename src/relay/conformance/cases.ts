import { accessCases } from "./access.js";
import { blobCases } from "./blobs.js";
import { createCases } from "./create.js";
import { directoryCases } from "./directory.js";
import { groupLogCases } from "./group-logs.js";
import { operatorCases } from "./operator.js";
import { readingCases } from "./reading.js";
import { requestBoxCases } from "./request-boxes.js";
import { type Define, type OpenedStorage, World } from "./world.js";

/** One thing that every storage must do. */
export interface ConformanceCase {
  readonly name: string;
  /** Opens a storage, tries it and disposes of it; rejects with what is wrong. */
  run(): Promise<void>;
}

function define(it: Define, world: World): void {
  directoryCases(it, world);
  groupLogCases(it, world);
  accessCases(it, world);
  createCases(it, world);
  requestBoxCases(it, world);
  readingCases(it, world);
  operatorCases(it, world);
  blobCases(it, world);
}

export function conformanceCases(open: () => Promise<OpenedStorage>): ConformanceCase[] {
  const names: string[] = [];
  // Cases look at their world when they run.
  define((name) => names.push(name), new World({} as OpenedStorage));
  return names.map((name) => ({
    name,
    async run() {
      const opened = await open();
      try {
        const bodies = new Map<string, () => Promise<void>>();
        define((one, body) => bodies.set(one, body), new World(opened));
        await bodies.get(name)?.();
      } finally {
        await opened.dispose();
      }
    },
  }));
}
