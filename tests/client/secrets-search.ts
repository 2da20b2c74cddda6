import { concat } from "../../src/base/bytes.js";
import { toUtf8 } from "../../src/base/encoding.js";

/** Something that must not be found, under a name that may be printed. */
export interface Needle {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** The forms in which bytes are looked for; base64 depends on where in the encoded bytes they stand. */
export function formsOf(bytes: Uint8Array): Map<string, Uint8Array> {
  const hex = Buffer.from(bytes).toString("hex");
  const forms = new Map([
    ["raw", bytes],
    ["hex", toUtf8(hex)],
    ["HEX", toUtf8(hex.toUpperCase())],
  ]);
  for (const encoding of ["base64", "base64url"] as const) {
    for (const offset of [0, 1, 2]) {
      const shifted = Buffer.from(concat(new Uint8Array(offset), bytes)).toString(encoding);
      // Only the characters that the bytes alone decide.
      const from = Math.ceil((offset * 8) / 6);
      const to = Math.floor(((offset + bytes.length) * 8) / 6);
      forms.set(`${encoding} at ${offset}`, toUtf8(shifted.slice(from, to)));
    }
  }
  return forms;
}

/** Everything that somebody got to see. */
export class Haystack {
  readonly #bytes: Buffer;

  constructor(parts: Iterable<Uint8Array>) {
    this.#bytes = Buffer.concat([...parts].flatMap((part) => [part, new Uint8Array(1)]));
  }

  get size(): number {
    return this.#bytes.length;
  }

  /** What is in it, as `name (form)`. */
  find(needles: Iterable<Needle>): string[] {
    const found: string[] = [];
    for (const { name, bytes } of needles) {
      if (bytes.length < 12) throw new Error(`${name} is too short to be looked for`);
      for (const [form, encoded] of formsOf(bytes)) {
        if (this.#bytes.includes(Buffer.from(encoded))) found.push(`${name} (${form})`);
      }
    }
    return found;
  }
}
