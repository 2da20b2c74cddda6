import type { Bytes } from "../../base/bytes.js";
import { fromHex, toHex } from "../../base/encoding.js";
import { type ErrorCode, SubrosaError } from "../../base/errors.js";
import { dropSpool } from "../attachments/transfers.js";
import type { Context, Effect } from "../context.js";
import type { ConversationRecord } from "../conversation/record.js";
import type { Registry } from "../conversation/registry.js";
import { forgetMessage } from "../conversation/repair/journal.js";
import type { Intent } from "../conversation/sending/intent.js";
import { isMessage } from "../conversation/sending/outbox.js";
import { fail } from "../conversation/sending/own-entries.js";
import { type ConversationName, isSame, spoolOf } from "./history.js";
import type { StoredMessage } from "./pending-message.js";
import { forgetSent, lookUpSent, type SentMessage, sentMessages } from "./sent-messages.js";

/** How many messages one transaction deletes. */
const BATCH = 200;

/** Which messages of a conversation: by id, those before a position of the history, or all. */
export type Deletion = readonly string[] | { readonly before: number } | "all";

/** A message by its id and, where that is known, its sender: a member can take the id of another's message. */
export interface Wanted {
  readonly id: string;
  readonly from?: string;
  /** Where its attachment is, if that is known. */
  readonly blobId?: Bytes;
}

/** Deletes messages on this device: from its history, and wherever else a message stays for a while. */
export class Removal {
  readonly #context: () => Context;
  readonly #registry: () => Registry;

  constructor(context: () => Context, registry: () => Registry) {
    this.#context = context;
    this.#registry = registry;
  }

  async delete(conversation: ConversationName, which: Deletion): Promise<void> {
    if (which === "all") {
      await this.#deleteListed(conversation);
      await this.erase(conversation, await this.#unlisted(conversation));
    } else if ("before" in which) await this.#deleteListed(conversation, which.before);
    else
      await this.erase(
        conversation,
        [...new Set(which)].map((id) => ({ id })),
      );
  }

  /** Deletes what the history has kept for longer than `retention` milliseconds. What was not taken yet stays for the app. */
  async prune(retention: number): Promise<void> {
    const { history, clock } = this.#context();
    const before = (clock.now() - retention) * 1000;
    for (const name of history.conversations()) await this.#deleteListed(name, before, true);
  }

  async #deleteListed(name: ConversationName, before?: number, onlyListed = false): Promise<void> {
    const { history } = this.#context();
    for (;;) {
      const found = await history.oldest(name, BATCH, before);
      if (found.length === 0) return;
      await this.erase(name, found, { onlyListed });
    }
  }

  /** What there is of a conversation beside its history. */
  async #unlisted(name: ConversationName): Promise<Wanted[]> {
    const { delivery, store } = this.#context();
    const isHere = (sent: SentMessage) => this.#isIn(sent, name);
    return [
      ...delivery.waiting().filter((stored) => this.#isOf(stored, name)),
      ...(await sentMessages(store, isHere)).map((id) => ({ id })),
      ...this.#unsent(name).map(idOf),
    ];
  }

  /**
   * Deletes these. What waits to be sent is given up; what is on its way goes on, and is then not kept. `code` is why;
   * with `onlyListed` what the app has not taken stays.
   */
  async erase(
    name: ConversationName,
    wanted: readonly Wanted[],
    options: { readonly code?: ErrorCode; readonly onlyListed?: boolean } = {},
  ): Promise<void> {
    for (let at = 0; at < wanted.length; at += BATCH) {
      await this.#eraseBatch(name, wanted.slice(at, at + BATCH), options);
    }
    const { history, write } = this.#context();
    const changes = await history.tidy(name);
    if (changes.length > 0) await write(changes);
  }

  async #eraseBatch(
    name: ConversationName,
    wanted: readonly Wanted[],
    { code = "aborted", onlyListed = false }: { readonly code?: ErrorCode; readonly onlyListed?: boolean },
  ): Promise<void> {
    const { delivery, write, emit, identity } = this.#context();
    const self = identity.userId;
    const isWanted = (id: string, from: string) =>
      wanted.some((one) => one.id === id && (one.from ?? from) === from);
    const ids = new Set<string>();
    for (const intent of this.#unsent(name)) {
      const { id } = idOf(intent);
      if (!isWanted(id, self)) continue;
      await this.#giveUp(intent, code);
      ids.add(id);
    }
    const changes: Effect[] = wanted.flatMap(({ blobId }) => (blobId ? dropSpool({ blobId }) : []));
    for (const { id, found } of await Promise.all(wanted.map((one) => this.#changesFor(name, one)))) {
      if (found.length > 0) ids.add(id);
      changes.push(...found);
    }
    if (!onlyListed) {
      const untaken = delivery.waiting().filter((one) => this.#isOf(one, name) && isWanted(one.id, one.from));
      for (const { id, content } of untaken) {
        ids.add(id);
        changes.push(...spoolOf(content));
      }
      changes.push(...delivery.forget(new Set(untaken)));
    }
    if (changes.length > 0) await write(changes);
    const where = typeof name === "string" ? { user: name } : { group: name.group };
    if (ids.size > 0) emit("messagesDeleted", { ...where, ids: [...ids] });
  }

  async #changesFor(name: ConversationName, { id, from }: Wanted): Promise<{ id: string; found: Effect[] }> {
    const { history, store, identity } = this.#context();
    const found: Effect[] = [];
    for (const one of await history.find(id)) {
      if (isSame(one.conversation, name) && (from ?? one.from) === one.from) found.push(...one.removal);
    }
    if ((from ?? identity.userId) !== identity.userId) return { id, found };
    const { sent } = await lookUpSent(store, id);
    if (sent !== undefined && this.#isIn(sent, name)) {
      found.push(...forgetSent(id), ...(sent.groupId ? [forgetMessage(sent.groupId, id)] : []));
    }
    return { id, found };
  }

  /** What waits to be sent in a conversation. */
  #unsent(name: ConversationName): Intent[] {
    return this.#context()
      .outbox.forTarget((target) => {
        if ("userId" in target) return target.userId === name;
        return isAbout(this.#registry().get(target.groupId)?.state.record, name);
      })
      .filter(({ action }) => isMessage(action));
  }

  /** Gives a message up where it waits by then: it may be on its way into another conversation. */
  async #giveUp({ order }: Intent, code: ErrorCode): Promise<void> {
    const { outbox } = this.#context();
    const error = new SubrosaError(code, "the message was deleted before it was sent");
    for (;;) {
      const intent = outbox.at(order);
      if (intent === undefined || (await this.#giveUpAt(intent, error))) return;
    }
  }

  /** False if it waits elsewhere meanwhile. */
  async #giveUpAt(intent: Intent, error: SubrosaError): Promise<boolean> {
    const context = this.#context();
    const { outbox, failures, write } = context;
    const { target } = intent;
    if ("userId" in target) {
      return outbox.decide(async () => {
        if (!outbox.has(intent)) return false;
        const { changes, tell } = failures.add(fromHex(idOf(intent).id), error.code);
        await write([outbox.end(intent), ...changes]);
        outbox.settle(intent, error);
        tell();
        return true;
      });
    }
    const isDone = await this.#registry()
      .get(target.groupId)
      ?.step((step) => {
        if (!outbox.has(intent)) return false;
        // What the relay may have already is known again when the log shows it.
        if (intent.sealed !== undefined) step.change(outbox.strike(intent));
        else fail(context, step, intent, error);
        return true;
      });
    return isDone ?? true;
  }

  #isOf(stored: StoredMessage, name: ConversationName): boolean {
    const { from, group } = this.#registry().asListed(stored);
    return isSame(group === undefined ? from : { group }, name);
  }

  #isIn({ groupId, peer }: SentMessage, name: ConversationName): boolean {
    if (typeof name === "string") return peer === name;
    return groupId !== undefined && isAbout(this.#registry().get(groupId)?.state.record, name);
  }
}

function idOf({ action }: Intent): Wanted {
  return { id: action.type === "send" ? toHex(action.content.id) : "" };
}

function isAbout(record: ConversationRecord | undefined, name: ConversationName): boolean {
  if (record === undefined) return false;
  const { subject } = record;
  return isSame(subject.kind === "direct" ? subject.peer : { group: subject.name }, name);
}
