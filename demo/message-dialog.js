import { attempt } from "./asking.js";
import { byId, element, formatFull, formatSize, openDialog } from "./dom.js";
import { isFile, sizeOf } from "./file.js";

/** What the dialog is about. */
let shown;
let conversation;

const people = (names) => (names.length === 0 ? "nobody yet" : names.join(", "));

function factsOf({ from, sentAt, state, deliveredTo = [], readBy = [] }, me) {
  const facts = [
    ["From", from === me ? "you" : from],
    ["Sent", formatFull(sentAt)],
  ];
  if (from !== me || state === "failed" || state === "uploading") return facts;
  facts.push(["Delivered to", people(deliveredTo)], ["Read by", people(readBy)]);
  const missing = (conversation.members ?? [])
    .map(({ userId }) => userId)
    .filter((userId) => userId !== me && !deliveredTo.includes(userId));
  if (conversation.kind === "group" && missing.length > 0) facts.push(["Not there yet", missing.join(", ")]);
  return facts;
}

/** Keeps the dialog of a message up to date while it is open. */
export function showMessageDialog({ me }) {
  const dialog = byId("message-dialog");
  if (!dialog.open) return;
  if (!conversation.items.includes(shown)) return dialog.close();
  const facts = factsOf(shown, me).flatMap(([name, value]) => [
    element("dt", {}, name),
    element("dd", {}, value),
  ]);
  byId("message-facts").replaceChildren(...facts);
  byId("message-delete").hidden = shown.upload !== undefined;
}

/** Shows who has a message, and what can be done with it. */
export function openMessage(session, message) {
  shown = message;
  conversation = session.current;
  const text = isFile(message)
    ? `${message.content.name ?? "File"}, ${formatSize(sizeOf(message))}`
    : message.content;
  byId("message-text").textContent = text;
  openDialog(byId("message-dialog"));
  showMessageDialog(session);
}

/** Wires the dialog of a message. */
export function wireMessageDialog(sessionNow) {
  byId("message-delete").addEventListener("click", async () => {
    const done = await attempt(() => sessionNow().deleteMessages(conversation, [shown.id]));
    if (done) byId("message-dialog").close();
  });
}
