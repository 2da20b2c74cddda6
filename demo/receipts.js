import { toast } from "./dom.js";
import { explainCode } from "./explain.js";
import { advance } from "./model.js";

/** How long the page collects news of messages that another tab sent, in milliseconds. */
const COLLECT = 200;
/** Receipts of messages that the page does not show (yet). */
const MAX_EARLY = 1000;
/** How far back messages of another tab are looked for. */
const PAGE_SIZE = 50;

/** How far the messages of this user have come, also those that the page does not know yet. */
export class Receipts {
  #session;
  #early = new Map();
  #looking = false;

  constructor(session) {
    this.#session = session;
  }

  take({ ids, state, code, by }) {
    for (const id of ids) {
      const news = { state, code, by };
      const message = this.#find(id);
      if (message !== undefined) {
        advance(message, news);
      } else {
        this.#early.set(id, [...(this.#early.get(id) ?? []), news]);
        if (this.#early.size > MAX_EARLY) this.#early.delete(this.#early.keys().next().value);
        this.#lookForOwn();
      }
      if (state === "failed") this.#tellFailure(id, code);
    }
  }

  /** A message of this user is on the page now: what was said of it before is said of it here. */
  shows(message) {
    for (const news of this.#early.get(message.id) ?? []) advance(message, news);
    this.#early.delete(message.id);
  }

  /** There are receipts of messages that are not on this page: another tab of this user sends them, too. */
  #lookForOwn() {
    if (this.#looking) return;
    this.#looking = true;
    setTimeout(async () => {
      this.#looking = false;
      // The client says itself when it can do nothing more.
      await this.#showOwn().catch(() => {});
      this.#session.changed();
    }, COLLECT);
  }

  async #showOwn() {
    const session = this.#session;
    for (const name of await session.client.conversations()) {
      const conversation = session.named(name);
      const page = await session.client.history(conversation.id, { limit: PAGE_SIZE });
      for (const message of page) {
        if (this.#early.has(message.id) && conversation.addMessage(message)) {
          this.shows(conversation.find(message.id, session.me));
        }
      }
    }
  }

  /** Says that a message was given up, unless it is on the screen and says so itself. */
  #tellFailure(id, code) {
    const { conversations, current, me } = this.#session;
    const where = [...conversations.values()].find((conversation) => conversation.find(id, me));
    if (where !== undefined && where === current && !document.hidden) return;
    toast(`${where === undefined ? "" : `To ${where.name}: `}${explainCode(code)}`, { bad: true, code });
  }

  #find(id) {
    for (const conversation of this.#session.conversations.values()) {
      const found = conversation.find(id, this.#session.me);
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
