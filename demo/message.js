import { element, formatTime, icon } from "./dom.js";
import { explainCode } from "./explain.js";
import { FileView, isFile } from "./file.js";

const TICKS = {
  uploading: { name: "clock", label: "Being sent" },
  pending: { name: "clock", label: "Waiting to be sent" },
  sent: { name: "sent", label: "Sent" },
  delivered: { name: "delivered", label: "Delivered" },
  read: { name: "delivered", label: "Read" },
  failed: { name: "warning", label: "Not sent" },
};

/** How far an own message has come, in words, and how many of how many have it where that is not all. */
function progressOf({ state, deliveredTo = [], readBy = [] }, { kind, reach }) {
  const done = { delivered: deliveredTo, read: readBy }[state];
  if (done === undefined || done.length === 0) return { label: TICKS[state].label, part: "" };
  const label = `${state === "read" ? "Read by" : "Delivered to"} ${done.join(", ")}`;
  const part = kind === "group" && done.length < reach ? `${done.length}/${reach}` : "";
  return { label, part };
}

/** A message as it is shown, kept as long as the message. */
export class MessageView {
  #message;
  #isOwn;
  #file;
  #tick = element("span", { class: "tick" });
  #part = element("span", { class: "part" });
  #meta;
  #shown;

  /** `open` is called when somebody wants to know more about the message. */
  constructor(message, me, open) {
    const { content, from, sentAt } = message;
    this.#message = message;
    this.#isOwn = from === me;
    this.#file = isFile(message) ? new FileView(message) : undefined;
    const body = this.#file?.nodes ?? [element("p", { class: "words" }, content)];
    const time = element("time", { dateTime: new Date(sentAt).toISOString() }, formatTime(sentAt));
    this.#meta = element("button", { type: "button", class: "meta", title: "Details" }, time);
    if (this.#isOwn) this.#meta.append(this.#part, this.#tick);
    this.#meta.addEventListener("click", () => open(message));
    this.#label(formatTime(sentAt));
    const bubble = element("div", { class: "bubble" }, ...body, this.#meta);
    this.node = element("li", { class: this.#isOwn ? "message own" : "message" }, bubble);
  }

  #label(text) {
    this.#meta.setAttribute("aria-label", `Details: ${text}`);
  }

  /** `follows`: the message before is of the same person. */
  show(conversation, follows) {
    this.node.classList.toggle("follows", follows);
    const wanted = conversation.kind === "group" && !follows && !this.#isOwn;
    const author = this.node.querySelector(".author");
    if (wanted && author === null) this.node.prepend(element("p", { class: "author" }, this.#message.from));
    if (!wanted) author?.remove();
    this.#file?.show();
    if (this.#message.state !== undefined) this.#showState(conversation);
  }

  #showState(conversation) {
    const { state, code, sentAt } = this.#message;
    const { label, part } = progressOf(this.#message, conversation);
    const shown = `${state} ${label} ${part}`;
    if (this.#shown === shown) return;
    this.#shown = shown;
    this.node.dataset.state = state;
    this.node.classList.toggle("failed", state === "failed");
    this.#part.textContent = part;
    this.#tick.className = `tick ${state}`;
    this.#tick.replaceChildren(icon(TICKS[state].name));
    this.#meta.title = label;
    this.#label(`${formatTime(sentAt)}, ${label}`);
    this.node.querySelector(".reason")?.remove();
    if (state !== "failed") return;
    const reason = code === undefined ? "" : `${explainCode(code)} (${code})`;
    this.node.append(element("p", { class: "reason" }, `Not sent. ${reason}`));
  }
}
