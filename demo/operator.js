import { byId, element, formatFull, icon } from "./dom.js";

const shown = new Map();

/** Shows what the relay's operator says, apart from all conversations: it is no member's message. */
export function showOperatorNotices(session) {
  const notices = session.memory.all("notices");
  const keys = new Set(notices.map(([key]) => key));
  for (const [key, node] of shown) {
    if (keys.has(key)) continue;
    node.remove();
    shown.delete(key);
  }
  for (const [key, notice] of notices) {
    if (shown.has(key)) continue;
    const node = makeNotice(notice, () => {
      session.memory.set("notices", key, undefined);
      session.changed();
    });
    shown.set(key, node);
    byId("operator").append(node);
  }
}

function makeNotice({ text, sentAt }, dismiss) {
  const close = element("button", { type: "button", class: "icon", "aria-label": "Dismiss" }, icon("close"));
  close.addEventListener("click", dismiss);
  const heading = element(
    "p",
    { class: "operator-from" },
    element("strong", {}, "The operator of this relay says"),
    element("span", {}, `${formatFull(sentAt)}, not encrypted`),
  );
  const body = element("div", {}, heading, element("p", { class: "operator-text" }, text));
  return element("div", { class: "operator-notice" }, icon("megaphone"), body, close);
}
