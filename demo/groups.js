import { toast } from "./dom.js";
import { explain, explainUpdate } from "./explain.js";

/** How long the page waits for an answer to a join request before it says that the request waits. */
const JOIN_TIMEOUT = 3000;

/** What one does in groups, and what becomes of this user in them. */
export class Groups {
  #session;

  constructor(session) {
    this.#session = session;
  }

  async create(name, join) {
    await this.#session.client.createGroup(name, { join });
    const conversation = this.#session.group(name);
    this.joined(conversation);
    return conversation;
  }

  /** Asks to join; resolves at once with the conversation, which says how it stands. */
  join(name) {
    const conversation = this.#session.group(name);
    if (conversation.status === "active" && conversation.members !== undefined) return conversation;
    conversation.openedAt = Date.now();
    void this.awaitJoin(conversation);
    return conversation;
  }

  async awaitJoin(conversation) {
    const { client, memory, changed } = this.#session;
    const { name } = conversation;
    conversation.status = "joining";
    memory.set("joining", name, true);
    changed();
    try {
      await client.joinGroup(name, { timeout: JOIN_TIMEOUT });
      this.joined(conversation);
    } catch (error) {
      // The request stands; groupJoin tells when it is granted.
      if (error.code === "timeout" || error.code === "closed") return;
      if (error.code === "already-a-member") this.joined(conversation);
      else if (error.code === "unknown-group" && conversation.items.length === 0)
        this.#forget(conversation, error);
      else this.ended(conversation, explain(error), { bad: true });
    }
    changed();
  }

  #forget(conversation, error) {
    const session = this.#session;
    session.memory.set("joining", conversation.name, undefined);
    session.conversations.delete(conversation.key);
    if (session.current === conversation) session.show(undefined);
    toast(`${conversation.name}: ${explain(error)}`, { bad: true, code: error.code });
  }

  /** This user is in the group. */
  joined(conversation) {
    conversation.status = "active";
    conversation.invitation = undefined;
    this.#session.memory.set("joining", conversation.name, undefined);
    void this.refresh(conversation);
  }

  /** This user is not in the group, or not any more. */
  ended(conversation, text, options) {
    conversation.status = "ended";
    conversation.requests = [];
    conversation.invitation = undefined;
    conversation.members = undefined;
    this.#session.memory.set("joining", conversation.name, undefined);
    conversation.addNote(text, options);
  }

  /** Takes from the client what the group is by now. */
  async refresh(conversation) {
    const { client, changed } = this.#session;
    const group = (await client.groups()).find(({ name }) => name === conversation.name);
    conversation.members = group && (await client.members(group.name));
    conversation.isAdmin = group?.admin ?? false;
    conversation.mode = group?.join;
    conversation.banned = group?.banned ?? [];
    conversation.disappearAfter = group?.disappearAfter ?? 0;
    changed();
  }

  async answerRequest(conversation, request, approved) {
    await (approved ? request.approve() : request.reject());
    conversation.requests = conversation.requests.filter((one) => one !== request);
    this.#session.changed();
  }

  async answerInvitation(conversation, accepted) {
    const session = this.#session;
    const { invitation } = conversation;
    try {
      await (accepted ? invitation.accept() : invitation.reject());
    } catch (error) {
      if (error.code !== "not-a-member") throw error;
      this.ended(conversation, "The invitation was withdrawn.");
      return session.changed();
    }
    if (accepted) {
      this.joined(conversation);
      await session.loadPage(conversation);
    } else {
      session.conversations.delete(conversation.key);
      if (session.current === conversation) session.current = undefined;
    }
    session.changed();
  }

  async invite({ name }, userId) {
    await this.#session.client.invite(name, userId);
  }

  async remove({ name }, userId) {
    await this.#session.client.remove(name, userId);
  }

  async promote({ name }, userId) {
    await this.#session.client.promote(name, userId);
  }

  async demote({ name }, userId) {
    await this.#session.client.demote(name, userId);
  }

  async ban({ name }, userId) {
    await this.#session.client.ban(name, userId);
  }

  async unban({ name }, userId) {
    await this.#session.client.unban(name, userId);
  }

  async rename({ name }, wanted) {
    await this.#session.client.renameGroup(name, wanted);
  }

  async setJoinMode({ name }, mode) {
    await this.#session.client.setJoinMode(name, mode);
  }

  /** Somebody changed what a group is, or for how long messages are kept. */
  updated(update) {
    const session = this.#session;
    const { group, user, name } = update;
    const conversation = session.of(name?.before ?? group, user);
    if (name !== undefined) session.rename(conversation, name.after);
    if (update.disappearAfter !== undefined) {
      conversation.disappearAfter = update.disappearAfter;
      // Of groups the client tells it at any time.
      if (user !== undefined) session.memory.set("timers", user, update.disappearAfter || undefined);
    }
    for (const line of explainUpdate(update, session.me)) conversation.addNote(line);
    if (group !== undefined) void this.refresh(conversation);
  }

  async leave(conversation) {
    await this.#session.client.leaveGroup(conversation.name);
    if (conversation.status !== "ended") this.ended(conversation, "You left the group.");
    this.#session.changed();
  }

  async delete(conversation) {
    await this.#session.client.deleteGroup(conversation.name);
    if (conversation.status !== "ended") this.ended(conversation, "You deleted the group.");
    this.#session.changed();
  }
}
