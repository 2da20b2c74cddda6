import type { Bytes } from "../../base/bytes.js";
import { SubrosaError } from "../../base/errors.js";
import { decode, type Reader } from "../../codec/reader.js";
import { encode, type Writer } from "../../codec/writer.js";
import type { Change, StoreSession } from "../../stores/store.js";
import { INCARNATION_TAG_LENGTH } from "../../wire/identity.js";
import { layout } from "../layout.js";

/** What a session tells the relay of the age of this device's state (PROTOCOL.md, A session). */
export interface IncarnationClaim {
  readonly incarnation: number;
  readonly incarnationTag: Bytes;
}

interface IncarnationRecord {
  readonly number: number;
  /** The relay has seen a later state than this one. */
  readonly outdated: boolean;
}

function encodeRecord(writer: Writer, record: IncarnationRecord): void {
  writer
    .u8(1)
    .uint53(record.number)
    .u8(record.outdated ? 1 : 0);
}

function decodeRecord(reader: Reader): IncarnationRecord {
  if (reader.u8() !== 1) reader.fail("unknown version of incarnation");
  return { number: reader.uint53(), outdated: reader.u8() === 1 };
}

/** Whether the relay has seen a later state of this device than the one in the store. */
export async function isOutdated(store: StoreSession): Promise<boolean> {
  const stored = await store.get(layout.incarnation);
  return stored !== undefined && decode(decodeRecord, stored).outdated;
}

/**
 * Counts the openings of this state that have met the relay, not those without a session: else a copy would catch up
 * with the original by being opened often enough. A copy that was refused stays refused, for the same reason.
 */
export class Incarnation {
  readonly #write: (changes: readonly Change[]) => Promise<void>;
  readonly #randomId: (length: number) => Bytes;
  #record: IncarnationRecord;
  #claim: Promise<IncarnationClaim> | undefined;

  private constructor(
    write: (changes: readonly Change[]) => Promise<void>,
    randomId: (length: number) => Bytes,
    record: IncarnationRecord,
  ) {
    this.#write = write;
    this.#randomId = randomId;
    this.#record = record;
  }

  static async load(
    store: StoreSession,
    write: (changes: readonly Change[]) => Promise<void>,
    randomId: (length: number) => Bytes,
  ): Promise<Incarnation> {
    const stored = await store.get(layout.incarnation);
    const record = stored === undefined ? { number: 0, outdated: false } : decode(decodeRecord, stored);
    return new Incarnation(write, randomId, record);
  }

  /** The claim of this opening, the same for all its sessions; durable first. Throws `store-outdated`. */
  claim(): Promise<IncarnationClaim> {
    if (this.#record.outdated) {
      return Promise.reject(
        new SubrosaError("store-outdated", "the relay has seen a later state of this device than this one"),
      );
    }
    this.#claim ??= this.#next().catch((error: unknown) => {
      this.#claim = undefined;
      throw error;
    });
    return this.#claim;
  }

  async #next(): Promise<IncarnationClaim> {
    await this.#store({ number: this.#record.number + 1, outdated: false });
    return { incarnation: this.#record.number, incarnationTag: this.#randomId(INCARNATION_TAG_LENGTH) };
  }

  /** The relay has refused the claim. */
  async refused(): Promise<void> {
    this.#record = { ...this.#record, outdated: true };
    await this.#store(this.#record);
  }

  async #store(record: IncarnationRecord): Promise<void> {
    await this.#write([{ put: layout.incarnation, value: encode(encodeRecord, record) }]);
    this.#record = record;
  }
}
