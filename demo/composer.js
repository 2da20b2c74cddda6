import { goToEnd } from "./chat.js";
import { byId, formatSize, toast } from "./dom.js";
import { explain } from "./explain.js";
import { tellTyping } from "./signs.js";

const MAX_FILE = 256 * 1024;

const text = byId("text");
/** The conversation on the screen and what was typed into the others. */
let current;
const drafts = new WeakMap();

/** Shows what was begun to be written in the session's current conversation. */
export function showComposer({ current: conversation }) {
  if (conversation !== undefined) {
    byId("composer").hidden = conversation.kind === "group" && conversation.status !== "active";
  }
  if (conversation === current) return;
  if (current !== undefined) drafts.set(current, text.value);
  current = conversation;
  text.value = (conversation && drafts.get(conversation)) ?? "";
}

/** Wires the composer; `sessionNow` gives the session that is in use. */
export function wireComposer(sessionNow) {
  const file = byId("file");

  async function send(content) {
    const conversation = current;
    goToEnd();
    try {
      await sessionNow().send(conversation, content);
    } catch (error) {
      toast(explain(error), { bad: true, code: error.code });
      if (typeof content !== "string") return;
      // What was written must not be lost.
      if (conversation === current && text.value === "") text.value = content;
      else drafts.set(conversation, content);
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
  text.addEventListener("input", () => tellTyping(sessionNow(), current, text.value !== ""));

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
}
