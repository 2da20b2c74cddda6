const HELD = Symbol.for("subrosa.held-files");

/**
 * Paths of the databases that this thread has open for itself alone, by whichever copy of this package; others are found
 * by their sign of life. To ask for that takes a second database on the file, which would wait for the lock of LMDB in
 * the one thread that gives it back.
 */
export function heldFiles(): Set<string> {
  const shared = globalThis as { [HELD]?: Set<string> };
  shared[HELD] ??= new Set();
  return shared[HELD];
}
