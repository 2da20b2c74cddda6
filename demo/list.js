import { arrange, byId, element, formatMoment, formatSize, icon } from "./dom.js";
import { isFile, sizeOf } from "./file.js";
import { typingLine } from "./signs.js";

/** @type {WeakMap<import("./model.js").Conversation, HTMLLIElement>} */
const rows = new WeakMap();

const fileLine = (message) => `${message.content.name ?? "File"}, ${formatSize(sizeOf(message))}`;

/** One line that says what is going on in a conversation. */
function lineOf(conversation, me) {
  const { status, requests, invitation, identity, last } = conversation;
  if (identity !== undefined) return "Identity has changed";
  if (invitation !== undefined) return `${invitation.from} invites you`;
  if (requests.length > 0) {
    return requests.length === 1
      ? `${requests[0].userId} asks to join`
      : `${requests.length} people ask to join`;
  }
  if (status === "joining") return "Waiting for approval";
  const typing = typingLine(conversation);
  if (typing !== "") return typing;
  if (last === undefined) return conversation.kind === "group" ? "No messages yet" : "Say hello";
  if (last.type === "note") return last.text;
  const words = isFile(last) ? fileLine(last) : last.content;
  if (last.from === me) return `${last.state === "failed" ? "Not sent" : "You"}: ${words}`;
  return conversation.kind === "group" ? `${last.from}: ${words}` : words;
}

export function initialsOf(name) {
  const parts = name.split(/[\s_.-]+/).filter(Boolean);
  const letters = parts.length > 1 ? [parts[0], parts[1]].map((part) => [...part][0]) : [...name].slice(0, 1);
  return letters.join("").toUpperCase();
}

function makeRow(session, conversation) {
  const button = element("button", { type: "button", class: "entry" });
  button.addEventListener("click", () => {
    session.show(conversation);
    byId("title").focus();
  });
  const row = element("li", {}, button);
  rows.set(conversation, row);
  return row;
}

function fillRow(row, session, conversation) {
  const button = row.firstElementChild;
  const { kind, name, verified, unread, needsAnswer, touchedAt } = conversation;
  button.classList.toggle("attention", needsAnswer);
  button.setAttribute("aria-current", String(conversation === session.current));
  const isThere = kind === "direct" && session.presenceOf(name)?.online === true;
  button.replaceChildren(
    element(
      "span",
      { class: `avatar ${kind}` },
      element("span", { "aria-hidden": "true" }, initialsOf(name)),
      isThere && element("span", { class: "there" }, element("span", { class: "unseen" }, "online")),
    ),
    element(
      "span",
      { class: "entry-text" },
      element(
        "span",
        { class: "entry-name" },
        element("span", {}, name),
        verified && icon("verified", "verified"),
      ),
      element("span", { class: "entry-line" }, lineOf(conversation, session.me)),
    ),
    element(
      "span",
      { class: "entry-side" },
      formatMoment(touchedAt),
      unread > 0 &&
        element("span", { class: "count" }, String(unread), element("span", { class: "unseen" }, " unread")),
      unread === 0 &&
        needsAnswer &&
        element("span", { class: "count" }, "!", element("span", { class: "unseen" }, " needs an answer")),
    ),
  );
}

export function showList(session) {
  const { sorted } = session;
  const shown = sorted.map((conversation) => {
    const row = rows.get(conversation) ?? makeRow(session, conversation);
    fillRow(row, session, conversation);
    return row;
  });
  arrange(byId("conversations"), shown);
  byId("no-conversations").hidden = shown.length > 0;
}
