import { copyBytes } from "../base/bytes.js";
import { assertArgument } from "../base/errors.js";
import { assertName } from "../wire/identifiers.js";

/** Throws `invalid-argument` for what is no AbortSignal. */
export function assertSignal(signal: unknown): void {
  assertArgument(
    signal === undefined || typeof (signal as AbortSignal | null)?.addEventListener === "function",
    "signal: an AbortSignal",
  );
}

/** Throws `invalid-argument` for what names no conversation: a user id, or `{ group }`. */
export function assertConversation(conversation: unknown): void {
  const name =
    typeof conversation === "string" ? conversation : (conversation as { group?: unknown } | null)?.group;
  assertName(name as string, "conversation");
}

/**
 * What is sent is what the app passed, whatever it does to its bytes later. Throws `invalid-argument` for what is no
 * content.
 */
export function ownCopy(content: string | Uint8Array): string | Uint8Array {
  assertArgument(
    typeof content === "string" || content instanceof Uint8Array,
    "content: a string, a Uint8Array, a Blob or a stream of bytes",
  );
  // What has no UTF-8 would arrive as something else.
  assertArgument(
    typeof content !== "string" || !/\p{Surrogate}/u.test(content),
    "content: no lone surrogates",
  );
  // Not `slice`, which a Buffer answers with a view of the same memory.
  return content instanceof Uint8Array ? copyBytes(content) : content;
}
