import { byId, formatMoment } from "./dom.js";

/** Says to the others that this user writes; called at every change of what is written. */
export function tellTyping(session, conversation, isTyping) {
  // It is a courtesy: what does not reach the others is not missed.
  session.client.setTyping(conversation.id, isTyping).catch(() => {});
}

/** Who writes in a conversation, in words. */
export function typingLine({ kind, typing }) {
  const names = [...typing];
  if (names.length === 0) return "";
  if (kind === "direct") return "is typing …";
  if (names.length > 3) return `${names.length} people are typing …`;
  return `${names.join(", ")} ${names.length === 1 ? "is" : "are"} typing …`;
}

export function showTyping(conversation) {
  const line = typingLine(conversation);
  const text = line !== "" && conversation.kind === "direct" ? `${conversation.name} ${line}` : line;
  const shown = byId("typing-text");
  if (shown.textContent !== text) shown.textContent = text;
  byId("typing").classList.toggle("shown", text !== "");
}

/** Whether somebody is there, in words. */
export function presenceLine(presence) {
  if (presence === undefined) return "";
  return presence.online ? "online" : `last here ${formatMoment(presence.at)}`;
}
