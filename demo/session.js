import { announce, formatSize, toast } from "./dom.js";
import { explain, explainCode, explainRecovery, explainUnreadable, sentence } from "./explain.js";
import { advance, Conversation, keyOf, Memory } from "./model.js";

const PAGE_SIZE = 50;
/** How long the page waits for an answer to a join request before it says that the request waits. */
const JOIN_TIMEOUT = 3000;
/** How long the page just says that it connects, in milliseconds. */
const HOPE = 2000;
/** How long the page collects news of messages that another tab sent, in milliseconds. */
const COLLECT = 200;
/** Receipts of messages that the page does not show (yet). */
const MAX_EARLY = 1000;

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
  #changed;
  #blocked;
  #memory;
  #early = new Map();
  #looking = false;

  constructor({ relay, userId, changed, blocked }) {
    this.me = userId;
    this.#changed = changed;
    this.#blocked = blocked;
    this.#memory = new Memory(relay, userId);
    this.client = new window.Subrosa.Client({
      url: relay,
      userId,
      history: true,
      ack: { direct: true, group: true },
    });
    this.#listen();
  }

  async start() {
    try {
      await this.#load();
      // The page shows what it has meanwhile; only then it says that it cannot reach the relay.
      setTimeout(() => this.#giveUpHope(), HOPE);
      await this.client.connect();
      for (const [name] of this.#memory.all("joining")) void this.#awaitJoin(this.group(name));
    } catch (error) {
      if (error.code !== "closed" && error.code !== "aborted") this.#blocked(error);
    }
  }

  #giveUpHope() {
    if (this.connection !== "connecting") return;
    this.connection = "offline";
    this.#changed();
  }

  close() {
    return this.client.close();
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

  #conversation(kind, name) {
    const key = keyOf(kind, name);
    let conversation = this.conversations.get(key);
    if (conversation === undefined) {
      conversation = new Conversation(kind, name);
      this.conversations.set(key, conversation);
    }
    return conversation;
  }

  #listen() {
    const { client, me } = this;
    const on = (name, listener) =>
      client.on(name, (event) => {
        const done = listener(event);
        this.#changed();
        return done;
      });

    on("connect", () => {
      this.connection = "connected";
    });
    on("disconnect", ({ willReconnect }) => {
      this.connection = willReconnect ? "offline" : "ended";
    });
    on("error", (error) => this.#failed(error));
    on("message", (message) => this.#received(message));
    on("receipt", (receipt) => this.#receipt(receipt));
    on("groupCreated", ({ group }) => this.#joined(this.group(group)));
    on("groupJoin", ({ group }) => {
      const conversation = this.group(group);
      const wasWaiting = conversation.status === "joining";
      this.#joined(conversation);
      if (wasWaiting) conversation.addNote("You are in the group.");
    });
    on("groupLeave", ({ group, reason, by }) => {
      const because = {
        left: "You left the group.",
        removed: `${by ?? "An admin"} removed you from the group.`,
        lost: "The relay has lost this group. What was said stays here; create or join a group to go on.",
      };
      this.#ended(this.group(group), because[reason], { bad: reason === "lost" });
    });
    on("groupDeleted", ({ group, by }) =>
      this.#ended(this.group(group), `${by === undefined || by === me ? "You" : by} deleted the group.`),
    );
    on("memberJoin", ({ group, userId, by }) => {
      if (userId === me) return;
      const conversation = this.group(group);
      conversation.addNote(by === userId || by === me ? `${userId} joined.` : `${by} let ${userId} in.`);
      conversation.requests = conversation.requests.filter((request) => request.userId !== userId);
      void this.refreshMembers(conversation);
    });
    on("memberLeave", ({ group, userId }) => {
      if (userId === me) return;
      const conversation = this.group(group);
      conversation.addNote(`${userId} is no longer in the group.`);
      void this.refreshMembers(conversation);
    });
    on("joinRequest", (request) => {
      const conversation = this.group(request.group);
      const others = conversation.requests.filter((known) => known.userId !== request.userId);
      conversation.requests = [...others, request];
      announce(`${request.userId} asks to join ${request.group}`);
    });
    on("invitation", (invitation) => {
      const conversation = this.group(invitation.group);
      conversation.status = "invited";
      conversation.invitation = invitation;
      announce(`${invitation.from} invites you to ${invitation.group}`);
    });
    on("identityChanged", ({ userId, pinned, offered }) => {
      const conversation = this.direct(userId);
      conversation.identity = { pinned, offered };
      this.#memory.set("identities", userId, { pinned, offered });
      conversation.verified = false;
      announce(`The identity of ${userId} has changed`);
    });
    on("storeRecovered", (recovery) => toast(explainRecovery(recovery), { bad: true }));
    on("equivocation", ({ group, from }) => {
      const text = `${from} sees another history of this group than you. Either the relay deceives one of you, or ${from} does: compare what you see in person.`;
      this.group(group).addNote(text, { bad: true });
    });
    on("undecryptable", ({ group, from, ...event }) => {
      const text = explainUnreadable(event);
      const bad = event.missed === undefined;
      if (group !== undefined) this.group(group).addNote(text, { bad });
      else if (from !== undefined) this.direct(from).addNote(text, { bad });
      else toast(text, { bad });
    });
  }

  #failed(error) {
    if (error.code === "store-in-use" || error.code === "user-id-taken") this.#blocked(error);
    // It comes from the background, where the code alone would not say what it is about.
    else toast(sentence(error.message), { bad: true, code: error.code });
  }

  #received(message) {
    const conversation = message.group === undefined ? this.direct(message.from) : this.group(message.group);
    if (!conversation.addMessage(message)) return;
    if (conversation !== this.current || document.hidden) conversation.unread++;
    const where = message.group === undefined ? "" : ` in ${message.group}`;
    const { content } = message;
    announce(
      `${message.from}${where}: ${typeof content === "string" ? content : `a file, ${formatSize(content.length)}`}`,
    );
  }

  #receipt({ ids, state, code, by }) {
    for (const id of ids) {
      const news = { state, code, by };
      const message = this.#own(id);
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

  /** There are receipts of messages that are not on this page: another tab of this user sends them, too. */
  #lookForOwn() {
    if (this.#looking) return;
    this.#looking = true;
    setTimeout(async () => {
      this.#looking = false;
      // The client says itself when it can do nothing more.
      await this.#showOwn().catch(() => {});
      this.#changed();
    }, COLLECT);
  }

  async #showOwn() {
    for (const { user, group } of await this.client.conversations()) {
      const conversation = user === undefined ? this.group(group) : this.direct(user);
      const page = await this.client.history(user ?? { group }, { limit: PAGE_SIZE });
      for (const message of page) {
        if (!this.#early.has(message.id) || !conversation.addMessage(message)) continue;
        for (const news of this.#early.get(message.id)) advance(conversation.find(message.id, this.me), news);
        this.#early.delete(message.id);
      }
    }
  }

  /** Says that a message was given up, unless it is on the screen and says so itself. */
  #tellFailure(id, code) {
    const where = [...this.conversations.values()].find((conversation) => conversation.find(id, this.me));
    if (where !== undefined && where === this.current && !document.hidden) return;
    toast(`${where === undefined ? "" : `To ${where.name}: `}${explainCode(code)}`, { bad: true, code });
  }

  #own(id) {
    for (const conversation of this.conversations.values()) {
      const found = conversation.find(id, this.me);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #joined(conversation) {
    conversation.status = "active";
    conversation.invitation = undefined;
    this.#memory.set("joining", conversation.name, undefined);
    void this.refreshMembers(conversation);
  }

  #ended(conversation, text, options) {
    conversation.status = "ended";
    conversation.requests = [];
    conversation.invitation = undefined;
    conversation.members = undefined;
    this.#memory.set("joining", conversation.name, undefined);
    conversation.addNote(text, options);
  }

  /** Shows what the store holds, as soon as it is open. */
  async #load() {
    const names = await this.client.conversations();
    await Promise.all(
      names.map(async ({ user, group }) => {
        const conversation = user === undefined ? this.group(group) : this.direct(user);
        await this.#loadPage(conversation);
        if (user === undefined) await this.refreshMembers(conversation);
        else await this.#loadVerified(conversation);
      }),
    );
    // The client tells of a change once; the warning stays until it is answered.
    for (const [name, identity] of this.#memory.all("identities")) this.direct(name).identity = identity;
    for (const [name] of this.#memory.all("joining")) {
      const conversation = this.group(name);
      if (conversation.members === undefined) conversation.status = "joining";
      else this.#memory.set("joining", name, undefined);
    }
    this.#changed();
  }

  async #loadPage(conversation, before) {
    const name = conversation.kind === "direct" ? conversation.name : { group: conversation.name };
    const page = await this.client.history(name, {
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
    await this.#loadPage(conversation, conversation.firstPosition);
    this.#changed();
  }

  async refreshMembers(conversation) {
    const group = (await this.client.groups()).find(({ name }) => name === conversation.name);
    conversation.members = group && (await this.client.members(group.name));
    conversation.isAdmin = group?.admin ?? false;
    conversation.mode = group?.join;
    this.#changed();
  }

  /** Makes a conversation the one that is shown; none with undefined. */
  show(conversation) {
    this.current = conversation;
    if (conversation !== undefined) conversation.unread = 0;
    this.#changed();
  }

  async send(conversation, content) {
    const { client, me } = this;
    const sentAt = Date.now();
    const id = await (conversation.kind === "direct"
      ? client.sendDirectMessage(conversation.name, content)
      : client.sendGroupMessage(conversation.name, content));
    conversation.addMessage({ id, from: me, content, sentAt, state: "pending" });
    for (const news of this.#early.get(id) ?? []) advance(conversation.find(id, me), news);
    this.#early.delete(id);
    this.#changed();
  }

  async createGroup(name, join) {
    await this.client.createGroup(name, { join });
    const conversation = this.group(name);
    this.#joined(conversation);
    return conversation;
  }

  /** Asks to join; resolves at once with the conversation, which says how it stands. */
  join(name) {
    const conversation = this.group(name);
    if (conversation.status === "active" && conversation.members !== undefined) return conversation;
    conversation.openedAt = Date.now();
    void this.#awaitJoin(conversation);
    return conversation;
  }

  async #awaitJoin(conversation) {
    const { name } = conversation;
    conversation.status = "joining";
    this.#memory.set("joining", name, true);
    this.#changed();
    try {
      await this.client.joinGroup(name, { timeout: JOIN_TIMEOUT });
      this.#joined(conversation);
    } catch (error) {
      // The request stands; groupJoin tells when it is granted.
      if (error.code === "timeout" || error.code === "closed") return;
      if (error.code === "already-a-member") this.#joined(conversation);
      else if (error.code === "unknown-group" && conversation.items.length === 0)
        this.#forget(conversation, error);
      else this.#ended(conversation, explain(error), { bad: true });
    }
    this.#changed();
  }

  #forget(conversation, error) {
    this.#memory.set("joining", conversation.name, undefined);
    this.conversations.delete(conversation.key);
    if (this.current === conversation) this.show(undefined);
    toast(`${conversation.name}: ${explain(error)}`, { bad: true, code: error.code });
  }

  async answerRequest(conversation, request, approved) {
    await (approved ? request.approve() : request.reject());
    conversation.requests = conversation.requests.filter((one) => one !== request);
    this.#changed();
  }

  async answerInvitation(conversation, accepted) {
    const { invitation } = conversation;
    await (accepted ? invitation.accept() : invitation.reject());
    if (accepted) {
      this.#joined(conversation);
      await this.#loadPage(conversation);
    } else {
      this.conversations.delete(conversation.key);
      if (this.current === conversation) this.current = undefined;
    }
    this.#changed();
  }

  async acceptIdentity(conversation) {
    await this.client.acceptIdentity(conversation.name, conversation.identity.offered);
    conversation.identity = undefined;
    this.#memory.set("identities", conversation.name, undefined);
    conversation.addNote(`You accepted the new identity of ${conversation.name}.`);
    this.#changed();
  }

  async markVerified(conversation) {
    await this.client.markVerified(conversation.name);
    conversation.verified = true;
    this.#changed();
  }

  async leave(conversation) {
    await this.client.leaveGroup(conversation.name);
    if (conversation.status !== "ended") this.#ended(conversation, "You left the group.");
    this.#changed();
  }

  async deleteGroup(conversation) {
    await this.client.deleteGroup(conversation.name);
    if (conversation.status !== "ended") this.#ended(conversation, "You deleted the group.");
    this.#changed();
  }
}
