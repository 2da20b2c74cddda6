import { fromHex, toHex } from "../../base/encoding.js";
import type { ErrorCode } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { StoreSession } from "../../stores/store.js";
import { decodeName, encodeName } from "../../wire/identifiers.js";
import type { Context, Effect } from "../context.js";
import { MESSAGE_ID_LENGTH } from "../conversation/content.js";
import {
  decodeEquivocation,
  type Equivocation,
  encodeEquivocation,
  type NotedClaim,
} from "../conversation/gossip/equivocations.js";
import { codeOf } from "../conversation/record.js";
import type { ClientEvents } from "../events.js";
import { layout } from "../layout.js";

/** A message that was given up; or, with `missed`, so many that went by while this device could not read. */
interface Loss {
  readonly code: ErrorCode;
  readonly missed: number;
}

/** What the app is to be told; an alarm is of one member's claim. */
interface Failure {
  readonly id: string;
  readonly group: string | undefined;
  readonly what: Loss | Equivocation;
}

type Found = Pick<ClientEvents["undecryptable"], "missed" | "payload">;

function encodeFailure(writer: Writer, { id, group, what }: Failure): void {
  const isAlarm = "claims" in what;
  writer
    .u8(isAlarm ? 4 : 3)
    .fixed(fromHex(id))
    .optional(group, encodeName);
  if (isAlarm) encodeEquivocation(writer, what);
  else {
    encodeName(writer, what.code);
    writer.uint53(what.missed);
  }
}

function decodeFailure(reader: Reader): Failure {
  const version = reader.u8();
  if (version !== 3 && version !== 4) reader.fail("unknown version of failure");
  const id = toHex(reader.fixed(MESSAGE_ID_LENGTH));
  const group = reader.optional(decodeName);
  if (version === 4) return { id, group, what: decodeEquivocation(reader) };
  return { id, group, what: { code: codeOf(decodeName(reader)), missed: reader.uint53() } };
}

/**
 * Messages that were given up or missed, and alarms, until the app has been told: that is stored with whatever lost or
 * raised them, and told by the next process, once it is connected, if this one ends before it could.
 */
export class Failures {
  readonly #context: () => Context;
  /** What an earlier process left. */
  #left: readonly Failure[] = [];
  /** Told of, but still in the store. */
  #told: Effect[] = [];

  constructor(context: () => Context) {
    this.#context = context;
  }

  static async load(store: StoreSession, context: () => Context): Promise<Failures> {
    const failures = new Failures(context);
    failures.#left = (await store.list(layout.failures)).map(([, value]) => decode(decodeFailure, value));
    return failures;
  }

  /** A message is given up: what has to be written for it, and what tells the app once that is durable. */
  add(id: Uint8Array, code: ErrorCode, group?: string): { changes: Effect[]; tell: () => void } {
    return this.#note({ id: toHex(id), group, what: { code, missed: 0 } });
  }

  /** Messages of others went by, `missed` at most: the same for them. What there is of one can be told with it. */
  missed(code: ErrorCode, missed: number, group?: string) {
    return this.#note({ id: this.#newId(), group, what: { code, missed } });
  }

  /** A member has claimed something else of a group's epoch, or of a device list: the same for that. */
  alarm(of: Omit<Equivocation, "claims">, claim: NotedClaim, group?: string) {
    return this.#note({ id: this.#newId(), group, what: { ...of, claims: [claim] } });
  }

  #newId(): string {
    return toHex(this.#context().randomId(MESSAGE_ID_LENGTH));
  }

  #note(failure: Failure): { changes: Effect[]; tell: (found?: Found) => void } {
    const change = { put: layout.failure(failure.id), value: encode(encodeFailure, failure) };
    return { changes: [change], tell: (found) => this.#tell(failure, found) };
  }

  /** Tells what an earlier process gave up and could not tell any more. */
  tellLeft(): void {
    const left = this.#left;
    this.#left = [];
    for (const failure of left) this.#tell(failure);
  }

  #tell({ id, group, what }: Failure, found?: Found): void {
    const { background } = this.#context();
    if ("claims" in what) this.#alarm(what, group);
    else this.#lost(id, what, group, found);
    this.#told.push({ delete: layout.failure(id) });
    if (this.#told.length === 1) background(this.#forget());
  }

  #lost(id: string, { code, missed }: Loss, group?: string, found: Found = { missed }): void {
    const { identity, emit } = this.#context();
    const from = group === undefined ? {} : { group };
    if (missed > 0) emit("undecryptable", { ...from, reason: code, ...found });
    else emit("receipt", { ids: [id], by: identity.userId, ...from, state: "failed", code });
  }

  #alarm({ list, own, claims }: Equivocation, group?: string): void {
    const { emit } = this.#context();
    for (const { from, at, theirs } of claims) {
      const said = { from, own: toHex(own), theirs: toHex(theirs) };
      if (list !== undefined)
        emit("equivocation", { ...said, userId: list.userId, version: at, ownVersion: list.version });
      else if (group !== undefined) emit("equivocation", { ...said, group, epoch: at });
    }
  }

  async #forget(): Promise<void> {
    // Those of one step go together.
    await Promise.resolve();
    await this.#context().write(this.#told.splice(0));
  }
}
