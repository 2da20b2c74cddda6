import { type Bytes, copyBytes, EMPTY } from "../../base/bytes.js";
import type { Argument, RedisLink, ScriptCall } from "./link.js";
import { type Names, placeOf } from "./places.js";
import { COMMIT } from "./scripts.js";
import type { Snapshot } from "./snapshot.js";

export const toBuffer = (binary: string): Buffer => Buffer.from(binary, "latin1");
export const toBinary = (buffer: Buffer): string => buffer.toString("latin1");
const asBuffer = (bytes: Bytes): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

/** A message to the nodes that follow a slot. */
export interface News {
  readonly tag: string;
  readonly message: Buffer;
}

/** All changes of one slot that belong together. */
export interface Changes {
  readonly tag: string;
  readonly values: Iterable<readonly [string, Bytes | undefined]>;
  /** What is to be done in other slots because of them. */
  readonly outbox: readonly Buffer[];
  readonly news?: Buffer | undefined;
}

/** Records of the embedded storage in Redis' hashes. */
export class RecordsLink {
  readonly link: RedisLink;
  readonly names: Names;
  /** Whether an answer that changes nothing waits for replicas too: it may tell of what they do not have yet. */
  readonly #touch: boolean;

  constructor(link: RedisLink, names: Names, touch: boolean) {
    this.link = link;
    this.names = names;
    this.#touch = touch;
  }

  async get(key: string): Promise<Bytes | undefined> {
    const { tag, kind, field } = placeOf(key);
    const value = await this.link.command(tag, ["HGET", this.names.key(kind, tag), toBuffer(field)]);
    return value === null ? undefined : copyBytes(value as Buffer);
  }

  async has(key: string): Promise<boolean> {
    const { tag, kind, field } = placeOf(key);
    const reply = await this.link.command(tag, ["HEXISTS", this.names.key(kind, tag), toBuffer(field)]);
    return Number(reply) === 1;
  }

  /** The records whose keys begin with `prefix`, which names a whole hash, in order of the keys. */
  async range(prefix: string): Promise<(readonly [string, Bytes])[]> {
    const { tag, kind } = placeOf(prefix);
    const flat = (await this.link.command(tag, ["HGETALL", this.names.key(kind, tag)])) as Buffer[];
    const pairs: (readonly [string, Bytes])[] = [];
    for (let i = 0; i < flat.length; i += 2) {
      pairs.push([prefix + toBinary(flat[i] as Buffer), copyBytes(flat[i + 1] as Buffer)]);
    }
    return pairs.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  async delete(tag: string, kind: string): Promise<void> {
    await this.link.command(tag, ["DEL", this.names.key(kind, tag)]);
  }

  /**
   * Writes the changes if everything in their slot that was read from the snapshot is still as it was; else corrects
   * the snapshot and resolves to false.
   */
  async commit(snapshot: Snapshot, changes: Changes): Promise<boolean> {
    const call = new CommitCall(this.names, changes.tag);
    for (const key of snapshot.readValues) call.checkValue(key, snapshot.values.get(key));
    for (const prefix of snapshot.readRanges) call.checkRange(prefix, snapshot.ranges.get(prefix) ?? []);
    for (const [key, value] of changes.values) call.change(key, value);
    for (const item of changes.outbox) call.push(item);
    const reply = (await this.link.write(call.build(changes.news, this.#touch))) as (
      | number
      | Buffer
      | null
    )[];
    for (let i = 0; i < reply.length; i += 2) {
      call.correct(snapshot, Number(reply[i]), reply[i + 1] as Buffer | null);
    }
    return reply.length === 0;
  }
}

/** One check, and what it tells of the snapshot when it fails. */
interface Check {
  readonly key: string;
  readonly range: boolean;
}

class CommitCall {
  readonly #names: Names;
  readonly #tag: string;
  readonly #keys: string[] = [];
  readonly #checks: Check[] = [];
  readonly #checkArguments: Argument[] = [];
  readonly #changeArguments: Argument[] = [];
  #changes = 0;

  constructor(names: Names, tag: string) {
    this.#names = names;
    this.#tag = tag;
  }

  #index(kind: string): string {
    const key = this.#names.key(kind, this.#tag);
    const at = this.#keys.indexOf(key);
    return String(at >= 0 ? at + 1 : this.#keys.push(key));
  }

  #check(check: Check, kind: string, at: string, field: string, value: Argument): void {
    this.#checks.push(check);
    this.#checkArguments.push(kind, at, toBuffer(field), value);
  }

  checkValue(key: string, value: Bytes | undefined): void {
    const { tag, kind, field } = placeOf(key);
    if (tag !== this.#tag) return;
    const at = this.#index(kind);
    const check = { key, range: false };
    // Large, and never another under the same key while the log's head is the same.
    if (kind === "w" || kind.startsWith("e")) {
      this.#check(check, "exists", at, field, value === undefined ? "0" : "1");
    } else if (value === undefined) this.#check(check, "absent", at, field, "");
    else this.#check(check, "same", at, field, asBuffer(value));
  }

  checkRange(prefix: string, pairs: readonly (readonly [string, Bytes])[]): void {
    const { tag, kind } = placeOf(prefix);
    if (tag !== this.#tag) return;
    const at = this.#index(kind);
    const check = { key: prefix, range: true };
    this.#check(check, "length", at, "", String(pairs.length));
    for (const [key, value] of pairs) this.#check(check, "same", at, placeOf(key).field, asBuffer(value));
  }

  change(key: string, value: Bytes | undefined): void {
    const { kind, field } = placeOf(key);
    this.#changes++;
    const at = this.#index(kind);
    if (value === undefined) this.#changeArguments.push("delete", at, toBuffer(field), "");
    else this.#changeArguments.push("put", at, toBuffer(field), asBuffer(value));
  }

  push(item: Buffer): void {
    this.#changes++;
    this.#changeArguments.push("push", this.#index("out"), "", item);
  }

  build(news: Buffer | undefined, touch: boolean): ScriptCall {
    const touched = touch && this.#changes === 0 ? this.#index("touch") : "0";
    const channel = news === undefined ? "0" : this.#index("news");
    return {
      tag: this.#tag,
      script: COMMIT,
      keys: this.#keys,
      args: [
        ...[touched, channel, news ?? ""],
        ...[String(this.#checks.length), ...this.#checkArguments],
        ...[String(this.#changes), ...this.#changeArguments],
      ],
    };
  }

  correct(snapshot: Snapshot, position: number, value: Buffer | null): void {
    const { key, range } = this.#checks[position - 1] as Check;
    if (range) snapshot.ranges.delete(key);
    else if (key.startsWith("e")) snapshot.values.delete(key);
    else if (key.startsWith("w")) snapshot.values.set(key, snapshot.values.get(key) ? undefined : EMPTY);
    else snapshot.values.set(key, value === null ? undefined : copyBytes(value));
  }
}
