import { SubrosaError } from "../../base/errors.js";
import type { StoreSession } from "../../stores/store.js";
import type { Effect } from "../context.js";

/** Told how writing goes. */
export interface WritingHandler {
  /** There is no room: nothing was written, and what needed it has to be done again. `isNew`: there was until now. */
  full(error: SubrosaError, isNew: boolean): void;
  /** There is room again. */
  room(): void;
  /** Memory and store have parted, or another owner has the store. */
  fatal(error: SubrosaError): void;
}

/**
 * Writes changes, then carries out what follows from them in memory. A write that found no room has changed neither, so
 * that the client can go on from where it stands; after any other failure it cannot.
 */
export function writing(
  store: StoreSession,
  handler: WritingHandler,
): (changes: readonly Effect[]) => Promise<void> {
  let isFull = false;
  return async (changes) => {
    try {
      await store.write(changes);
      for (const { applied } of changes) applied?.();
    } catch (error) {
      if (SubrosaError.is(error) && error.code === "storage-full") {
        const isNew = !isFull;
        isFull = true;
        handler.full(error, isNew);
      } else if (SubrosaError.is(error) && error.code !== "closed") handler.fatal(error);
      throw error;
    }
    if (!isFull) return;
    isFull = false;
    handler.room();
  };
}
