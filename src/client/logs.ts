import { equalBytes } from "../base/bytes.js";
import { toHex } from "../base/encoding.js";
import type { LogEntry } from "../wire/entries.js";
import type { EndReason } from "../wire/frames.js";
import type { LogId } from "../wire/identifiers.js";
import { LogKind } from "../wire/protocol.js";
import type { Context } from "./context.js";
import type { Conversation } from "./conversation/conversation.js";
import { JoinRequests } from "./conversation/membership/join-requests.js";
import type { Inbox } from "./conversation/receiving/inbox.js";
import { isMember, type Registry } from "./conversation/registry.js";
import { ifConnected } from "./reporting.js";

/** The logs that a client follows: who takes in what comes of which. */
export class Logs {
  readonly #context: Context;
  readonly #registry: Registry;
  readonly #inbox: Inbox;
  readonly #boxes = new Map<string, JoinRequests>();

  constructor(context: Context, registry: Registry, inbox: Inbox) {
    this.#context = context;
    this.#registry = registry;
    this.#inbox = inbox;
  }

  /** A session has begun: resolves when all are followed. */
  async subscribe(): Promise<void> {
    // What cannot be done about one of them is no reason not to follow the others.
    const ignore = ifConnected(this.#context.report);
    await Promise.all([
      this.#inbox.subscribe().catch(ignore),
      ...this.#registry.all().map((conversation) => conversation.subscribe().catch(ignore)),
      ...this.#registry.all().map((conversation) => this.followBox(conversation)),
    ]);
  }

  disconnected(): void {
    for (const conversation of this.#registry.all()) conversation.disconnected();
    for (const box of this.#boxes.values()) box.disconnected();
  }

  /** Settles when the entries are done with. */
  entries(log: LogId, entries: readonly LogEntry[]): Promise<void> | undefined {
    switch (log.kind) {
      case LogKind.inbox:
        // What was on its way to a device whose place this one has taken is nothing to it.
        return equalBytes(log.id, this.#inbox.log.id) ? this.#inbox.receive(entries) : undefined;
      case LogKind.group:
        return this.#registry.get(log.id)?.receive(entries);
      case LogKind.requestBox:
        return this.#boxes.get(toHex(log.id))?.receive(entries);
    }
  }

  ended(log: LogId, reason: EndReason): Promise<void> | undefined {
    if (log.kind !== LogKind.group) return undefined;
    return this.#registry.get(log.id)?.ended(reason).catch(this.#context.report);
  }

  /** More came of a log than could be processed at once: the rest is read now. */
  resume(log: LogId): void {
    const { background } = this.#context;
    const conversation = this.#registry.get(log.id);
    if (log.kind === LogKind.inbox) background(this.#inbox.subscribe());
    else if (log.kind === LogKind.group && conversation) background(conversation.subscribe());
    else if (log.kind === LogKind.requestBox) {
      this.#boxes.get(toHex(log.id))?.disconnected();
      background(this.followBox(conversation));
    }
  }

  /** Follows a group's request box, as far as this user may answer requests. */
  async followBox(conversation: Conversation | undefined): Promise<void> {
    if (conversation === undefined || !this.#context.relay.isReady) return;
    const { record } = conversation.state;
    if (record.subject.kind !== "group" || !isMember(record)) return;
    let box = this.#boxes.get(conversation.key);
    if (box?.conversation !== conversation || box.entered !== conversation.entered)
      box = new JoinRequests(this.#context, conversation);
    this.#boxes.set(conversation.key, box);
    await box.subscribe().catch(ifConnected(this.#context.report));
  }
}
