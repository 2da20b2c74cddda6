import { arrange, byId, element, formatDay, formatSize, formatTime, icon, sameDay, toast } from "./dom.js";
import { explain, explainCode } from "./explain.js";
import { initialsOf } from "./list.js";
import { showNotices } from "./notices.js";

const MAX_FILE = 256 * 1024;
/** Messages of one person within this time stand together, in milliseconds. */
const TOGETHER = 5 * 60_000;

const TICKS = {
  pending: { name: "clock", label: "Waiting to be sent" },
  sent: { name: "sent", label: "Sent" },
  delivered: { name: "delivered", label: "Delivered" },
  failed: { name: "warning", label: "Not sent" },
};

/** What is shown of each message, kept as long as the message. */
const shown = new WeakMap();
const days = new Map();
/** The conversation on the screen and what was typed into the others. */
let current;
const drafts = new Map();

/** The type of a picture that may be shown, told by its first bytes: a name could lie, and SVG can hold scripts. */
function pictureType(bytes) {
  const starts = (...prefix) => prefix.every((byte, index) => byte === bytes[index]);
  if (starts(0x89, 0x50, 0x4e, 0x47)) return "image/png";
  if (starts(0xff, 0xd8, 0xff)) return "image/jpeg";
  if (starts(0x47, 0x49, 0x46, 0x38)) return "image/gif";
  if (starts(0x52, 0x49, 0x46, 0x46) && String.fromCharCode(...bytes.subarray(8, 12)) === "WEBP")
    return "image/webp";
  return undefined;
}

function fileOf(message) {
  const type = pictureType(message.content);
  const url = URL.createObjectURL(new Blob([message.content], { type: type ?? "application/octet-stream" }));
  const size = formatSize(message.content.length);
  const extension = type?.slice("image/".length) ?? "bin";
  const link = element(
    "a",
    { class: "file", href: url, download: `${message.from}-${message.id.slice(0, 8)}.${extension}` },
    icon("file"),
    element("span", {}, type === undefined ? `File, ${size}` : `Picture, ${size}`),
  );
  if (type === undefined) return [link];
  const picture = element("img", { src: url, alt: `Picture from ${message.from}` });
  picture.addEventListener("load", keepAtEnd);
  picture.addEventListener("error", () => picture.parentElement.remove());
  return [element("div", { class: "picture" }, picture), link];
}

function makeMessage(message, me) {
  const { content, from, sentAt } = message;
  const words = typeof content === "string" ? [element("p", { class: "words" }, content)] : fileOf(message);
  const tick = element("span", { class: "tick" });
  const time = element("time", { dateTime: new Date(sentAt).toISOString() }, formatTime(sentAt));
  const bubble = element(
    "div",
    { class: "bubble" },
    ...words,
    element("span", { class: "meta" }, time, from === me && tick),
  );
  const node = element("li", { class: from === me ? "message own" : "message" }, bubble);
  node.dataset.id = message.id;
  return { node, bubble, tick, state: undefined };
}

function showState(view, message) {
  const { state, code, by = [] } = message;
  const label =
    state === "delivered" && by.length > 0 ? `Delivered to ${by.join(", ")}` : TICKS[state]?.label;
  if (state === undefined || view.state === label) return;
  view.state = label;
  view.node.dataset.state = state;
  view.node.classList.toggle("failed", state === "failed");
  view.tick.className = `tick ${state}`;
  view.tick.title = label;
  view.tick.replaceChildren(icon(TICKS[state].name, label));
  view.node.querySelector(".reason")?.remove();
  if (state === "failed") {
    view.node.append(
      element(
        "p",
        { class: "reason" },
        `Not sent. ${code === undefined ? "" : `${explainCode(code)} (${code})`}`,
      ),
    );
  }
}

function showAuthor(view, message, follows) {
  view.node.classList.toggle("follows", follows);
  const wanted = current.kind === "group" && !follows && !view.node.classList.contains("own");
  const author = view.node.querySelector(".author");
  if (wanted && author === null) view.node.prepend(element("p", { class: "author" }, message.from));
  if (!wanted) author?.remove();
}

function dayNode(at) {
  const day = new Date(at).toDateString();
  const node = days.get(day) ?? element("li", { class: "day" });
  days.set(day, node);
  const label = formatDay(at);
  if (node.textContent !== label) node.textContent = label;
  return node;
}

function messageNodes(conversation, me) {
  const nodes = [];
  let before;
  for (const item of conversation.items) {
    if (before === undefined || !sameDay(before.sentAt, item.sentAt)) {
      // By the sender's clock days may alternate: each is named once.
      const day = dayNode(item.sentAt);
      if (!nodes.includes(day)) nodes.push(day);
    }
    let view = shown.get(item);
    if (view === undefined) {
      const isNote = item.type === "note";
      view = isNote
        ? { node: element("li", { class: item.bad ? "note bad" : "note" }, item.text) }
        : makeMessage(item, me);
      shown.set(item, view);
    }
    if (item.type === "message") {
      showState(view, item);
      const follows =
        before?.type === "message" &&
        before.from === item.from &&
        Math.abs(item.sentAt - before.sentAt) < TOGETHER;
      showAuthor(view, item, follows);
    }
    nodes.push(view.node);
    before = item;
  }
  return nodes;
}

function subtitleOf({ kind, status, members, verified }) {
  if (kind === "direct") return verified ? "Verified, end-to-end encrypted" : "End-to-end encrypted";
  if (status === "joining") return "Waiting for approval";
  if (status === "invited") return "Invitation";
  if (status === "ended") return "You are not a member";
  return members === undefined ? "Group" : members.map(({ userId }) => userId).join(", ");
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
new ResizeObserver(keepAtEnd).observe(scroller);

function keepAtEnd() {
  measured = measure();
  if (atEnd) scroller.scrollTop = scroller.scrollHeight;
}

function changeTo(conversation) {
  const text = byId("text");
  if (current !== undefined) drafts.set(current.key, text.value);
  current = conversation;
  atEnd = true;
  text.value = (conversation && drafts.get(conversation.key)) ?? "";
}

/** Shows the session's current conversation. */
export function showChat(session) {
  const conversation = session.current;
  if (conversation !== current) changeTo(conversation);
  byId("nothing").hidden = conversation !== undefined;
  byId("conversation").hidden = conversation === undefined;
  if (conversation === undefined) return;
  const { kind, name, status, verified } = conversation;
  byId("title").replaceChildren(element("span", {}, name), verified ? icon("verified", "verified") : "");
  byId("subtitle").textContent = subtitleOf(conversation);
  byId("avatar").textContent = initialsOf(name);
  byId("avatar").className = `avatar ${kind}`;
  byId("safety").hidden = kind !== "direct";
  byId("group").hidden = kind !== "group" || status !== "active";
  byId("composer").hidden = kind === "group" && status !== "active";
  byId("earlier").hidden = !conversation.hasEarlier;
  showNotices(session, conversation);
  arrange(byId("messages"), messageNodes(conversation, session.me));
  keepAtEnd();
}

/** Wires the composer; `sessionNow` gives the session that is in use. */
export function wireChat(sessionNow) {
  const text = byId("text");
  const file = byId("file");

  async function send(content) {
    const conversation = current;
    atEnd = true;
    try {
      await sessionNow().send(conversation, content);
    } catch (error) {
      toast(explain(error), { bad: true, code: error.code });
      if (typeof content !== "string") return;
      // What was written must not be lost.
      if (conversation === current && text.value === "") text.value = content;
      else drafts.set(conversation.key, content);
    }
  }

  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const words = text.value.trim();
    text.value = "";
    text.focus();
    if (words !== "") void send(words);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("composer").requestSubmit();
  });
  byId("attach").addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (chosen === undefined) return;
    if (chosen.size > MAX_FILE)
      toast(`That file has ${formatSize(chosen.size)}; at most 256 KiB can be sent.`, { bad: true });
    else if (chosen.size === 0) toast("That file is empty.", { bad: true });
    else await send(new Uint8Array(await chosen.arrayBuffer()));
    file.value = "";
  });
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
