import { goToEnd } from "./chat.js";
import { byId, toast } from "./dom.js";
import { explain } from "./explain.js";
import { tellTyping } from "./signs.js";

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

  async function send(words) {
    const conversation = current;
    goToEnd();
    try {
      await sessionNow().send(conversation, words);
    } catch (error) {
      toast(explain(error), { bad: true, code: error.code });
      // What was written must not be lost.
      if (conversation === current && text.value === "") text.value = words;
      else drafts.set(conversation, words);
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

  function sendFiles(files) {
    goToEnd();
    for (const one of files) void sessionNow().uploads.send(current, one);
  }
  byId("attach").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    sendFiles([...file.files]);
    file.value = "";
  });
  text.addEventListener("paste", (event) => {
    const { files } = event.clipboardData;
    if (files.length === 0) return;
    event.preventDefault();
    sendFiles([...files]);
  });
  wireDrop(sendFiles);
}

/** Files that are dropped anywhere in the conversation are sent in it. */
function wireDrop(sendFiles) {
  const area = byId("conversation");
  const canDrop = ({ dataTransfer }) => dataTransfer.types.includes("Files") && !byId("composer").hidden;
  const mark = (isOver) => area.classList.toggle("dropping", isOver);
  area.addEventListener("dragover", (event) => {
    if (!canDrop(event)) return;
    event.preventDefault();
    mark(true);
  });
  area.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!area.contains(relatedTarget)) mark(false);
  });
  area.addEventListener("drop", (event) => {
    mark(false);
    if (!canDrop(event)) return;
    event.preventDefault();
    sendFiles([...event.dataTransfer.files]);
  });
  // Beside the conversation the browser would leave the page for the file.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
}
