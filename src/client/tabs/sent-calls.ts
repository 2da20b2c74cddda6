import type { StoreSession } from "../../stores/store.js";
import type { Effect } from "../context.js";

/** One record for each message that a tab has asked for and may ask for again; value empty. */
const PREFIX = "call/";
const keyOf = (tab: string, messageId: string) => `${PREFIX}${tab}/${messageId}`;

/**
 * Which sends of other tabs are done: noted in the transaction that puts the message into the outbox, since the
 * intent may have ended when the tab asks again. Forgotten when the tab has its answer, or is gone.
 */
export class SentCalls {
  readonly #store: StoreSession;
  /** Records that can go with the next write. */
  #obsolete: string[] = [];

  constructor(store: StoreSession) {
    this.#store = store;
  }

  /** Whether the message was put into the outbox for this tab. */
  async has(tab: string, messageId: string): Promise<boolean> {
    return (await this.#store.get(keyOf(tab, messageId))) !== undefined;
  }

  /** What notes it. */
  changes(tab: string, messageId: string): Effect[] {
    const obsolete = this.#obsolete.splice(0).map((key) => ({ delete: key }));
    return [{ put: keyOf(tab, messageId), value: new Uint8Array(0) }, ...obsolete];
  }

  /** The tab has the answer. */
  got(tab: string, messageId: string): void {
    this.#obsolete.push(keyOf(tab, messageId));
  }

  /** Tabs of which there are records. */
  async tabs(): Promise<string[]> {
    const records = await this.#store.list(PREFIX);
    return [...new Set(records.map(([key]) => key.slice(PREFIX.length).split("/")[0] as string))];
  }

  /** The tab will not ask again. */
  async forget(tab: string): Promise<void> {
    await this.#store.write([{ deletePrefix: `${PREFIX}${tab}/` }]);
  }
}
