import { arrange, byId, element, formatDay, icon, sameDay } from "./dom.js";
import { explainTime } from "./explain.js";
import { initialsOf } from "./list.js";
import { MessageView } from "./message.js";
import { openMessage } from "./message-dialog.js";
import { showNotices } from "./notices.js";
import { presenceLine, showTyping } from "./signs.js";

/** Messages of one person within this time stand together, in milliseconds. */
const TOGETHER = 5 * 60_000;

/** What is shown of each message and note, kept as long as these. */
const views = new WeakMap();
const days = new Map();
/** The conversation on the screen. */
let current;

function dayNode(at) {
  const day = new Date(at).toDateString();
  const node = days.get(day) ?? element("li", { class: "day" });
  days.set(day, node);
  const label = formatDay(at);
  if (node.textContent !== label) node.textContent = label;
  return node;
}

function viewOf(item, session) {
  let view = views.get(item);
  if (view === undefined) {
    view =
      item.type === "note"
        ? { node: element("li", { class: item.bad ? "note bad" : "note" }, item.text) }
        : new MessageView(item, session.me, (message) => openMessage(session, message));
    views.set(item, view);
  }
  return view;
}

function messageNodes(conversation, session) {
  const nodes = [];
  let before;
  for (const item of conversation.items) {
    if (before === undefined || !sameDay(before.sentAt, item.sentAt)) {
      // By the sender's clock days may alternate: each is named once.
      const day = dayNode(item.sentAt);
      if (!nodes.includes(day)) nodes.push(day);
    }
    const view = viewOf(item, session);
    if (item.type === "message") {
      const follows =
        before?.type === "message" &&
        before.from === item.from &&
        Math.abs(item.sentAt - before.sentAt) < TOGETHER;
      view.show(conversation, follows);
    }
    nodes.push(view.node);
    before = item;
  }
  return nodes;
}

function subtitleOf(session, { kind, name, status, members, verified, disappearAfter }) {
  if (status === "joining") return "Waiting for approval";
  if (status === "invited") return "Invitation";
  if (status === "ended") return "You are not a member";
  const parts =
    kind === "direct"
      ? [presenceLine(session.presenceOf(name)), verified ? "verified" : "", "end-to-end encrypted"]
      : [members === undefined ? "group" : members.map(({ userId }) => userId).join(", ")];
  if (disappearAfter > 0) parts.unshift(`messages disappear after ${explainTime(disappearAfter)}`);
  const line = parts.filter(Boolean).join(" · ");
  return kind === "direct" ? line.charAt(0).toUpperCase() + line.slice(1) : line;
}

const scroller = byId("scroll");
let atEnd = true;
let measured = "";
const measure = () => `${scroller.clientWidth} ${scroller.clientHeight} ${scroller.scrollHeight}`;
scroller.addEventListener("scroll", () => {
  // The window or the content changed, nobody scrolled.
  if (measure() !== measured) keepAtEnd();
  else atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
});
const sizes = new ResizeObserver(keepAtEnd);
for (const changing of [scroller, byId("messages")]) sizes.observe(changing);

function keepAtEnd() {
  measured = measure();
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

/** Whatever comes next is to be seen. */
export function goToEnd() {
  atEnd = true;
  keepAtEnd();
}

function showHeader(session, { kind, name, status, verified }) {
  byId("title").replaceChildren(element("span", {}, name), verified ? icon("verified", "verified") : "");
  byId("subtitle").textContent = subtitleOf(session, current);
  byId("avatar").textContent = initialsOf(name);
  byId("avatar").className = `avatar ${kind}`;
  byId("safety").hidden = kind !== "direct";
  byId("group").hidden = kind !== "group" || status !== "active";
}

/** Shows the session's current conversation. */
export function showChat(session) {
  const conversation = session.current;
  if (conversation !== current) atEnd = true;
  current = conversation;
  byId("nothing").hidden = conversation !== undefined;
  byId("conversation").hidden = conversation === undefined;
  if (conversation === undefined) return;
  showHeader(session, conversation);
  byId("earlier").hidden = !conversation.hasEarlier;
  showNotices(session, conversation);
  showTyping(conversation);
  arrange(byId("messages"), messageNodes(conversation, session));
  keepAtEnd();
}

/** Wires the buttons of a conversation; `sessionNow` gives the session that is in use. */
export function wireChat(sessionNow) {
  byId("earlier").addEventListener("click", async () => {
    const height = scroller.scrollHeight;
    atEnd = false;
    await sessionNow().loadEarlier(current);
    // What was read stays where it was; the change is on the screen after the pending microtasks.
    requestAnimationFrame(() => {
      scroller.scrollTop += scroller.scrollHeight - height;
    });
  });
  byId("back").addEventListener("click", () => {
    sessionNow().show(undefined);
    const entry = document.querySelector(".entry[aria-current=true]");
    // On a narrow screen the list is there again only after this turn.
    requestAnimationFrame(() => entry?.focus());
  });
}
