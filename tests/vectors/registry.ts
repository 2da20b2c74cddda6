/// <reference types="vite/client" />

/** The file kinds of the official test vectors (mlswg/mls-implementations, test-vectors.md). */
export const VECTOR_KINDS = [
  "crypto-basics",
  "deserialization",
  "key-schedule",
  "message-protection",
  "messages",
  "passive-client-handling-commit",
  "passive-client-random",
  "passive-client-welcome",
  "psk_secret",
  "secret-tree",
  "transcript-hashes",
  "tree-math",
  "tree-operations",
  "tree-validation",
  "treekem",
  "welcome",
] as const;

export type VectorKind = (typeof VECTOR_KINDS)[number];
/** Runs one entry of a vector file; throws where the engine disagrees with it. */
export type VectorCheck = (entry: unknown) => Promise<void> | void;

/** Of structure and hashes only: they name other suites and are run all the same. */
const SUITE_FREE: readonly VectorKind[] = ["tree-operations", "messages", "tree-math", "deserialization"];
const SUITE = 2;

const modules = import.meta.glob<{ check: VectorCheck }>("./checks/*.ts");

export function isVectorKind(name: string): name is VectorKind {
  return (VECTOR_KINDS as readonly string[]).includes(name);
}

/** The check of a kind, from `checks/KIND.ts`. */
export async function loadCheck(kind: VectorKind): Promise<VectorCheck> {
  const load = modules[`./checks/${kind}.ts`];
  if (load === undefined) throw new Error(`tests/vectors/checks/${kind}.ts is missing`);
  return (await load()).check;
}

/** False for entries of a cipher suite that this package does not have. */
export function isOurs(kind: VectorKind, entry: unknown): boolean {
  if (SUITE_FREE.includes(kind)) return true;
  return (entry as { cipher_suite?: number }).cipher_suite === SUITE;
}
