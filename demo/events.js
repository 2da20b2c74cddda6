import { announce, toast } from "./dom.js";
import { explainRecovery, explainUnreadable, sentence } from "./explain.js";
import { keyOf } from "./model.js";

/** Errors after which this tab cannot go on. */
const FINAL = ["store-in-use", "user-id-taken", "user-removed"];

/** Has a session take in what its client tells. */
export function listen(session) {
  const on = (name, listener) =>
    session.client.on(name, (event) => {
      const done = listener(event);
      session.changed();
      return done;
    });
  listenToConnection(session, on);
  listenToMessages(session, on);
  listenToGroups(session, on);
  listenToIdentities(session, on);
  listenToSigns(session, on);
  listenToOperator(session, on);
}

function listenToConnection(session, on) {
  on("connect", () => {
    session.connection = "connected";
  });
  on("disconnect", ({ willReconnect }) => {
    session.connection = willReconnect ? "offline" : "ended";
  });
  on("error", (error) => {
    if (FINAL.includes(error.code)) session.blocked(error);
    // It comes from the background, where the code alone would not say what it is about.
    else toast(sentence(error.message), { bad: true, code: error.code });
  });
  on("storeRecovered", (recovery) => toast(explainRecovery(recovery), { bad: true }));
}

function listenToMessages(session, on) {
  on("message", (message) => {
    const conversation = session.of(message.group, message.from);
    if (!conversation.addMessage(message)) return;
    conversation.typing.delete(message.from);
    if (conversation === session.current && !document.hidden) session.markRead(conversation);
    else conversation.unread++;
    const where = message.group === undefined ? "" : ` in ${message.group}`;
    const { content } = message;
    announce(`${message.from}${where}: ${typeof content === "string" ? content : "a file"}`);
  });
  on("messagesDeleted", ({ user, group, ids }) => {
    const gone = new Set(ids);
    session.of(group, user).remove(({ id }) => gone.has(id));
  });
  on("receipt", (receipt) => session.receipts.take(receipt));
  on("undecryptable", ({ group, from, ...event }) => {
    const text = explainUnreadable(event);
    const bad = event.missed === undefined;
    if (group === undefined && from === undefined) toast(text, { bad });
    else session.of(group, from).addNote(text, { bad });
  });
}

function listenToGroups(session, on) {
  const { groups, me } = session;
  on("groupCreated", ({ group }) => groups.joined(session.group(group)));
  on("groupJoin", ({ group }) => {
    const conversation = session.group(group);
    const wasWaiting = conversation.status === "joining";
    groups.joined(conversation);
    if (wasWaiting) conversation.addNote("You are in the group.");
  });
  on("groupLeave", ({ group, reason, by }) => {
    const because = {
      left: "You left the group.",
      removed: `${by ?? "An admin"} removed you from the group.`,
      closed: "The operator of the relay closed this group. What was said stays here.",
      lost: "The relay has lost this group. What was said stays here; create or join a group to go on.",
    };
    groups.ended(session.group(group), because[reason], { bad: reason === "lost" });
  });
  on("groupDeleted", ({ group, by }) =>
    groups.ended(session.group(group), `${by === undefined || by === me ? "You" : by} deleted the group.`),
  );
  on("memberJoin", ({ group, userId, by }) => {
    if (userId === me) return;
    const conversation = session.group(group);
    conversation.addNote(by === userId || by === me ? `${userId} joined.` : `${by} let ${userId} in.`);
    conversation.requests = conversation.requests.filter((request) => request.userId !== userId);
    void groups.refresh(conversation);
  });
  on("memberLeave", ({ group, userId }) => {
    if (userId === me) return;
    const conversation = session.group(group);
    conversation.addNote(`${userId} is no longer in the group.`);
    conversation.typing.delete(userId);
    void groups.refresh(conversation);
  });
  on("groupUpdated", (update) => groups.updated(update));
  on("joinRequest", (request) => {
    const conversation = session.group(request.group);
    const others = conversation.requests.filter((known) => known.userId !== request.userId);
    conversation.requests = [...others, request];
    announce(`${request.userId} asks to join ${request.group}`);
  });
  on("invitation", (invitation) => {
    const conversation = session.group(invitation.group);
    conversation.status = "invited";
    conversation.invitation = invitation;
    announce(`${invitation.from} invites you to ${invitation.group}`);
  });
}

function listenToIdentities(session, on) {
  on("identityChanged", ({ userId, pinned, offered }) => {
    const conversation = session.direct(userId);
    conversation.identity = { pinned, offered };
    session.memory.set("identities", userId, { pinned, offered });
    conversation.verified = false;
    announce(`The identity of ${userId} has changed`);
  });
  on("equivocation", ({ group, userId, from }) => {
    const what = group === undefined ? `other devices of ${userId}` : "another history of this group";
    const text = `${from} sees ${what} than you. Either the relay deceives one of you, or ${from} does: compare what you see in person.`;
    if (group !== undefined) session.group(group).addNote(text, { bad: true });
    else if (userId === session.me) toast(text, { bad: true });
    else session.direct(userId).addNote(text, { bad: true });
  });
}

function listenToSigns(session, on) {
  on("typing", ({ group, userId, typing }) => {
    const who = session.of(group, userId).typing;
    if (typing) who.add(userId);
    else who.delete(userId);
  });
  on("presence", ({ userId, ...presence }) => void session.presence.set(userId, presence));
}

function listenToOperator(session, on) {
  on("notice", (notice) => {
    session.memory.set("notices", `${notice.sentAt} ${notice.text}`, notice);
    announce(`The operator of this relay says: ${notice.text}`);
  });
  on("userDeleted", ({ userId }) => {
    if (!session.conversations.has(keyOf("direct", userId))) return;
    session.direct(userId).addNote(`The relay says that its operator removed ${userId}.`, { bad: true });
  });
}
