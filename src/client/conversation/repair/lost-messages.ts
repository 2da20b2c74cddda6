import type { Bytes } from "../../../base/bytes.js";
import { toHex } from "../../../base/encoding.js";
import { type LogEntry, labelOf } from "../../../wire/entries.js";
import type { Cursor } from "../../../wire/identifiers.js";
import type { Context } from "../../context.js";
import { layout } from "../../layout.js";
import { failKept } from "../sending/own-entries.js";
import type { Step } from "../step.js";
import { type KeptMessage, keptMessages } from "./journal.js";

/**
 * This device's messages that a group's log had, and of which nobody knows whether it has them still. It is written down
 * as what the log shows is: a process may end before that was read to its end.
 */
export class LostMessages {
  readonly #context: Context;
  readonly #groupId: () => Bytes;
  /** Those in doubt, by the ids of their entries. */
  #byEntry: Map<string, KeptMessage> | undefined;

  constructor(context: Context, groupId: () => Bytes) {
    this.#context = context;
    this.#groupId = groupId;
  }

  /** All that the log has not shown so far. */
  async all(): Promise<KeptMessage[]> {
    const kept = await keptMessages(this.#context.store, this.#groupId());
    return kept.filter(({ seq }) => seq === undefined);
  }

  /** What stood behind this place may be lost. */
  async doubt(step: Step, from: number): Promise<void> {
    const { groupId } = step.record;
    this.#byEntry = undefined;
    for (const { seq, ...message } of await keptMessages(this.#context.store, groupId)) {
      if (seq !== undefined && seq > from) step.change(this.#context.journal.keepMessage(groupId, message));
    }
  }

  /** The log shows an entry: if it is one of these, it has it still. */
  async found(step: Step, entry: LogEntry, { seq }: Cursor): Promise<void> {
    this.#byEntry ??= new Map((await this.all()).map((one) => [toHex(one.entryId), one]));
    const message = this.#byEntry.get(toHex(labelOf(entry).entryId));
    if (message === undefined) return;
    const { groupId } = step.record;
    const id = toHex(message.content.id);
    step.found.add(id);
    // By the receipts that have come it may be forgotten.
    if ((await this.#context.store.get(layout.keptMessage(groupId, id))) === undefined) return;
    step.change(this.#context.journal.keepMessage(groupId, { ...message, seq }));
  }

  /** They have been sent again, or have failed. */
  settled(): void {
    this.#byEntry = undefined;
  }

  /** The group is over before its log was what it had been: what that had lost stays lost. */
  async ended(step: Step): Promise<void> {
    for (const message of await this.all()) {
      if (!step.found.has(toHex(message.content.id))) failKept(this.#context, step, message);
    }
  }
}
