import { listen } from "./events.js";
import { Groups } from "./groups.js";
import { Memory } from "./memory.js";
import { Conversation, keyOf } from "./model.js";
import { Receipts } from "./receipts.js";
import { Uploads } from "./uploads.js";

const PAGE_SIZE = 50;
/** How long the page just says that it connects, in milliseconds. */
const HOPE = 2000;

/**
 * One user of this page: the client, and what is known of the conversations. `changed` is called whenever something
 * is to be shown anew, `blocked` when this tab cannot go on.
 */
export class Session {
  /** @type {Map<string, Conversation>} */
  conversations = new Map();
  /** @type {Conversation | undefined} */
  current;
  /** `offline`: never reached the relay so far, or lost it. */
  connection = "connecting";
  receipts = new Receipts(this);
  groups = new Groups(this);
  uploads = new Uploads(this);
  /** Who is there, by user id: `{ online, at }`. */
  presence = new Map();

  constructor({ relay, userId, changed, blocked }) {
    this.me = userId;
    this.changed = changed;
    this.blocked = blocked;
    this.memory = new Memory(relay, userId);
    this.client = new window.Subrosa.Client({
      url: relay,
      userId,
      history: true,
      ack: { direct: true, group: true },
      presence: true,
    });
    listen(this);
  }

  async start() {
    try {
      await this.#load();
      // The page shows what it has meanwhile; only then it says that it cannot reach the relay.
      setTimeout(() => this.#giveUpHope(), HOPE);
      await this.client.connect();
      for (const [name] of this.memory.all("joining")) void this.groups.awaitJoin(this.group(name));
    } catch (error) {
      if (error.code !== "closed" && error.code !== "aborted") this.blocked(error);
    }
  }

  #giveUpHope() {
    if (this.connection !== "connecting") return;
    this.connection = "offline";
    this.changed();
  }

  close() {
    return this.client.close();
  }

  /** Whether somebody is there; nobody is known to be while the relay cannot be reached. */
  presenceOf(name) {
    const heard = this.presence.get(name);
    return heard && { ...heard, online: heard.online && this.connection === "connected" };
  }

  /** How many messages wait to reach the relay. */
  get waiting() {
    let count = 0;
    for (const { items } of this.conversations.values()) {
      for (const item of items) if (item.state === "pending") count++;
    }
    return count;
  }

  get unread() {
    return [...this.conversations.values()].reduce((sum, { unread }) => sum + unread, 0);
  }

  /** The conversations, those that need an answer and the newest first. */
  get sorted() {
    return [...this.conversations.values()].sort(
      (one, other) => Number(other.needsAnswer) - Number(one.needsAnswer) || other.touchedAt - one.touchedAt,
    );
  }

  direct(userId) {
    return this.#conversation("direct", userId);
  }

  group(name) {
    return this.#conversation("group", name);
  }

  /** The group's conversation, or without a group the one with the user. */
  of(group, userId) {
    return group === undefined ? this.direct(userId) : this.group(group);
  }

  /** A conversation as the client lists it. */
  named({ user, group }) {
    return this.of(group, user);
  }

  #conversation(kind, name) {
    const key = keyOf(kind, name);
    let conversation = this.conversations.get(key);
    if (conversation === undefined) {
      conversation = new Conversation(kind, name);
      this.conversations.set(key, conversation);
    }
    return conversation;
  }

  /** Shows what the store holds, as soon as it is open. */
  async #load() {
    const names = await this.client.conversations();
    await Promise.all(
      names.map(async (name) => {
        const conversation = this.named(name);
        await this.loadPage(conversation);
        if (conversation.kind === "group") await this.groups.refresh(conversation);
        else await this.#loadVerified(conversation);
      }),
    );
    // The client tells of a change once; the warning stays until it is answered.
    for (const [name, identity] of this.memory.all("identities")) this.direct(name).identity = identity;
    for (const [name, time] of this.memory.all("timers")) this.direct(name).disappearAfter = time;
    for (const [name] of this.memory.all("joining")) {
      const conversation = this.group(name);
      if (conversation.members === undefined) conversation.status = "joining";
      else this.memory.set("joining", name, undefined);
    }
    this.changed();
  }

  /** Loads a page of a conversation's history: what stands before a position, else the newest. */
  async loadPage(conversation, before) {
    const page = await this.client.history(conversation.id, {
      limit: PAGE_SIZE,
      ...(before !== undefined && { before }),
    });
    conversation.addHistory(page);
    conversation.hasEarlier = page.length === PAGE_SIZE;
  }

  async #loadVerified(conversation) {
    try {
      conversation.verified = (await this.client.safetyNumber(conversation.name)).verified;
    } catch {
      // Somebody who has not been here yet, or cannot be asked for now, is not verified.
    }
  }

  async loadEarlier(conversation) {
    await this.loadPage(conversation, conversation.firstPosition);
    this.changed();
  }

  /** Makes a conversation the one that is shown; none with undefined. */
  show(conversation) {
    this.current = conversation;
    if (conversation !== undefined) this.markRead(conversation);
    this.changed();
  }

  /** What is in a conversation was read; its senders are told. */
  markRead(conversation) {
    conversation.unread = 0;
    const fresh = conversation.items.filter(
      (item) => item.type === "message" && item.from !== this.me && !item.isMarked,
    );
    for (const item of fresh) item.isMarked = true;
    if (conversation.status !== "active") return;
    const group = conversation.kind === "group" ? { group: conversation.name } : {};
    const read = fresh.map(({ id, from, sentAt }) => ({ id, from, sentAt, ...group }));
    // One that cannot be marked, such as of somebody who began anew, must not keep back the others.
    for (const message of read) this.client.markRead(message).catch(() => {});
  }

  /** Deletes messages on this device, by their ids, or `"all"`; the client tells when they are gone. */
  async deleteMessages(conversation, which) {
    await this.client.deleteMessages(conversation.id, which);
  }

  async setDisappearing(conversation, milliseconds) {
    await this.client.setDisappearing(conversation.id, milliseconds);
  }

  /** A group is called something else now. */
  rename(conversation, name) {
    this.conversations.delete(conversation.key);
    conversation.name = name;
    this.conversations.set(conversation.key, conversation);
  }

  async send(conversation, content) {
    const { client, me } = this;
    const sentAt = Date.now();
    const id = await (conversation.kind === "direct"
      ? client.sendDirectMessage(conversation.name, content)
      : client.sendGroupMessage(conversation.name, content));
    conversation.addMessage({ id, from: me, content, sentAt, state: "pending" });
    this.receipts.shows(conversation.find(id, me));
    this.changed();
  }

  async acceptIdentity(conversation) {
    await this.client.acceptIdentity(conversation.name, conversation.identity.offered);
    conversation.identity = undefined;
    this.memory.set("identities", conversation.name, undefined);
    conversation.addNote(`You accepted the new identity of ${conversation.name}.`);
    this.changed();
  }

  async markVerified(conversation) {
    await this.client.markVerified(conversation.name);
    conversation.verified = true;
    this.changed();
  }
}
