import { element, formatTime, icon } from "./dom.js";
import { explainCode } from "./explain.js";
import { bytesNodes } from "./file.js";

const TICKS = {
  pending: { name: "clock", label: "Waiting to be sent" },
  sent: { name: "sent", label: "Sent" },
  delivered: { name: "delivered", label: "Delivered" },
  failed: { name: "warning", label: "Not sent" },
};

/** A message as it is shown, kept as long as the message. */
export class MessageView {
  #message;
  #isOwn;
  #tick = element("span", { class: "tick" });
  #shown;

  constructor(message, me) {
    const { content, from, sentAt, id } = message;
    this.#message = message;
    this.#isOwn = from === me;
    const words =
      typeof content === "string" ? [element("p", { class: "words" }, content)] : bytesNodes(message);
    const time = element("time", { dateTime: new Date(sentAt).toISOString() }, formatTime(sentAt));
    const meta = element("span", { class: "meta" }, time, this.#isOwn && this.#tick);
    const bubble = element("div", { class: "bubble" }, ...words, meta);
    this.node = element("li", { class: this.#isOwn ? "message own" : "message", "data-id": id }, bubble);
  }

  /** `follows`: the message before is of the same person; `named`: whose it is has to be said. */
  show({ follows, named }) {
    this.node.classList.toggle("follows", follows);
    const wanted = named && !follows && !this.#isOwn;
    const author = this.node.querySelector(".author");
    if (wanted && author === null) this.node.prepend(element("p", { class: "author" }, this.#message.from));
    if (!wanted) author?.remove();
    if (this.#message.state !== undefined) this.#showState();
  }

  #showState() {
    const { state, code, by = [] } = this.#message;
    const label =
      state === "delivered" && by.length > 0 ? `Delivered to ${by.join(", ")}` : TICKS[state].label;
    if (this.#shown === label) return;
    this.#shown = label;
    this.node.dataset.state = state;
    this.node.classList.toggle("failed", state === "failed");
    this.#tick.className = `tick ${state}`;
    this.#tick.title = label;
    this.#tick.replaceChildren(icon(TICKS[state].name, label));
    this.node.querySelector(".reason")?.remove();
    if (state !== "failed") return;
    const reason = code === undefined ? "" : `${explainCode(code)} (${code})`;
    this.node.append(element("p", { class: "reason" }, `Not sent. ${reason}`));
  }
}
