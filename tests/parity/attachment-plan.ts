import { createCipheriv, createHash } from "node:crypto";

export const GROUP = "team";

export interface AttachmentPlan {
  readonly role: "sender" | "receiver";
  readonly url: string;
  readonly userId: string;
  /** Of this client's store, and of what it saves. */
  readonly folder: string;
  readonly size: number;
}

/** What a process tells of itself. */
export type AttachmentReport =
  | { readonly type: "ready" }
  /** It is in the group. */
  | { readonly type: "joined" }
  | { readonly type: "progress"; readonly transferred: number }
  | { readonly type: "done"; readonly result: AttachmentResult };

export interface AttachmentResult {
  readonly hash: string;
  readonly isMonotonic: boolean;
  readonly seconds: number;
  /** Memory of the process alone (without what it maps of files), in bytes. */
  readonly baseline: number;
  readonly peak: number;
  /** Messages that came, and sessions that ended. */
  readonly messages: number;
  readonly disconnects: number;
  readonly errors: readonly string[];
}

/** So many bytes that look random and are the same each time, a piece at a time. */
export async function* madeUp(size: number, piece = 100_000): AsyncGenerator<Uint8Array> {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 1), Buffer.alloc(16));
  for (let left = size; left > 0; left -= piece) yield cipher.update(Buffer.alloc(Math.min(piece, left)));
}

export async function hashOf(bytes: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of bytes) hash.update(piece);
  return hash.digest("hex");
}
