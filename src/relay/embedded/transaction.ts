import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import type { RefusalCode } from "../../wire/refusals.js";
import type { Appended } from "../storage.js";
import { after } from "./keys.js";
import { type KvView, Overlay } from "./kv.js";
import type { RecordType } from "./records.js";

/** Reading records. */
export class Records {
  readonly view: KvView;

  constructor(view: KvView) {
    this.view = view;
  }

  get<T>(type: RecordType<T>, key: string): T | undefined {
    const bytes = this.view.get(key);
    return bytes === undefined ? undefined : type.decode(bytes);
  }

  has(key: string): boolean {
    return this.view.get(key) !== undefined;
  }

  /** The records whose keys begin with `prefix`, in order of the keys. */
  all<T>(type: RecordType<T>, prefix: string): Iterable<readonly [string, T]> {
    return this.range(type, prefix, after(prefix));
  }

  /** The records with `start` ≤ key < `end`, in order of the keys. */
  *range<T>(type: RecordType<T>, start: string, end: string): Iterable<readonly [string, T]> {
    for (const [key, bytes] of this.view.range(start, end)) yield [key, type.decode(bytes)];
  }
}

/** One command's reads and writes. Nothing of it is kept if the command throws. */
export class Transaction extends Records {
  readonly overlay: Overlay;
  /** What readers are told once it is durable. */
  readonly appended: Appended[] = [];

  constructor(base: () => KvView) {
    const overlay = new Overlay(base);
    super(overlay);
    this.overlay = overlay;
  }

  put<T>(type: RecordType<T>, key: string, value: T): void {
    this.overlay.put(key, type.encode(value));
  }

  putBytes(key: string, value: Bytes): void {
    this.overlay.put(key, value);
  }

  delete(key: string): void {
    this.overlay.delete(key);
  }
}

/** Ends a command with a refusal. */
export function refuse(code: RefusalCode, reason: string): never {
  throw new SubrosaError(code, reason);
}
