import { type Bytes, concat, copyBytes, equalBytes } from "../../base/bytes.js";
import type { RedisLink } from "./link.js";
import { NODE_ID_LENGTH } from "./news.js";
import type { Names } from "./places.js";

export interface BroadcastOptions {
  readonly node: Bytes;
  readonly link: RedisLink;
  readonly names: Names;
  readonly report: (error: unknown) => void;
}

/** What relays that share Redis pass on to each other and keep nowhere. It may be lost, as when a connection breaks. */
export class Broadcasts {
  readonly #options: BroadcastOptions;
  readonly #heard = new Map<string, Set<(frame: Bytes) => void>>();

  constructor(options: BroadcastOptions) {
    this.#options = options;
  }

  /** Resolves when Redis has it, or when it is lost. */
  async send(topic: string, frame: Bytes): Promise<void> {
    const { link, node, report } = this.#options;
    const message = Buffer.from(concat(node, frame));
    await link.command(topic, ["SPUBLISH", this.#channel(topic), message]).catch(report);
  }

  hear(topic: string, listener: (frame: Bytes) => void): () => void {
    const { link, report } = this.#options;
    let listeners = this.#heard.get(topic);
    if (listeners === undefined) {
      listeners = new Set();
      this.#heard.set(topic, listeners);
      link.subscribe(this.#channel(topic), (message) => this.#take(topic, message)).catch(report);
    }
    listeners.add(listener);
    return () => {
      if (!listeners.delete(listener) || listeners.size > 0) return;
      this.#heard.delete(topic);
      void link.unsubscribe(this.#channel(topic)).catch(report);
    };
  }

  #channel(topic: string): string {
    return this.#options.names.key("signal", topic);
  }

  #take(topic: string, message: Buffer): void {
    const bytes = copyBytes(message);
    if (equalBytes(bytes.subarray(0, NODE_ID_LENGTH), this.#options.node)) return;
    for (const listener of this.#heard.get(topic) ?? []) listener(bytes.subarray(NODE_ID_LENGTH));
  }
}
