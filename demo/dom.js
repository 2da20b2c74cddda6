/** @param {string} id */
export const byId = (id) => document.getElementById(id);

/**
 * Makes an element. Text goes in as text, never as markup.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] `class`, `aria-…` and `data-…` as attributes, the rest as properties
 * @param {...(Node | string | undefined | false)} children
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== undefined && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the page's sprite; with a label it speaks for itself. */
export function icon(name, label) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  if (label === undefined) {
    svg.setAttribute("aria-hidden", "true");
  } else {
    const title = document.createElementNS(SVG, "title");
    title.textContent = label;
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    svg.prepend(title);
  }
  return svg;
}

/** Makes the children of `parent` these nodes and leaves those alone that are there already. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "medium" });

export const formatTime = (at) => clock.format(at);
export const formatFull = (at) => full.format(at);

export function formatDay(at) {
  return sameDay(at, Date.now()) ? "Today" : date.format(at);
}

/** For lists: the time today, else the day. */
export function formatMoment(at) {
  return sameDay(at, Date.now()) ? clock.format(at) : shortDate.format(at);
}

export function sameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

const SIZES = ["bytes", "KiB", "MiB", "GiB"];

export function formatSize(bytes) {
  const power = Math.min(SIZES.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} ${SIZES[power]}`;
}

/** A fingerprint in groups of eight, easier to compare. */
export const formatFingerprint = (fingerprint) => fingerprint.replace(/.{8}(?=.)/g, "$& ");

/** Shows a line for a while; failures stay until they are closed, and the same failure is not shown twice. */
export function toast(text, { bad = false, code } = {}) {
  const toasts = byId("toasts");
  for (const other of [...toasts.children]) if (other.dataset.text === text) other.remove();
  const close = element("button", { type: "button", class: "icon", "aria-label": "Dismiss" }, icon("close"));
  const body = element("div", {}, text, code && element("p", { class: "code" }, code));
  const shown = element("div", { class: bad ? "toast bad" : "toast", "data-text": text }, body, close);
  const leave = () => shown.remove();
  close.addEventListener("click", leave);
  if (!bad) setTimeout(leave, 6000);
  toasts.append(shown);
  while (toasts.children.length > 4) toasts.firstElementChild.remove();
}

/** Says something to those who listen to the page. */
export function announce(text) {
  const announcer = byId("announcer");
  announcer.append(element("p", {}, text));
  while (announcer.children.length > 5) announcer.firstElementChild.remove();
}

/** Opens a dialog; what pops up meanwhile must be inside it to be seen and heard. */
export function openDialog(dialog) {
  const toasts = byId("toasts");
  // What was said before would only stand in the way.
  toasts.replaceChildren();
  dialog.append(toasts);
  dialog.showModal();
}

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("close", () => document.body.append(byId("toasts")));
  dialog.addEventListener("click", (event) => {
    const target = /** @type {Element} */ (event.target);
    // The dialog itself is the target only outside its content.
    const outside = target === dialog && !contains(dialog.getBoundingClientRect(), event);
    if (target.closest("[data-close]") || outside) dialog.close();
  });
}

function contains(box, { clientX: x, clientY: y }) {
  return x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
}
