import { showChat, wireChat } from "./chat.js";
import { showComposer, wireComposer } from "./composer.js";
import { byId } from "./dom.js";
import { explain } from "./explain.js";
import { showGroupDialog, wireGroupDialog } from "./group-dialog.js";
import { showList } from "./list.js";
import { showMessageDialog, wireMessageDialog } from "./message-dialog.js";
import { wireNewDialog } from "./new-dialog.js";
import { showOperatorNotices } from "./operator.js";
import { showOptionsDialog, wireOptionsDialog } from "./options-dialog.js";
import { wireSafetyDialog } from "./safety-dialog.js";
import { Session } from "./session.js";

const LAST_NAME = "subrosa-demo name";
const DEFAULT_PORT = 8787;

/** @type {Session} */
let session;
let scheduled = false;

/** Where the relay is: `?relay=`, what the server of this page says, else beside this page. */
async function findRelay() {
  const asked = new URLSearchParams(location.search).get("relay");
  if (asked !== null) return asked;
  try {
    const response = await fetch("config.json");
    if (response.ok) return (await response.json()).relay;
  } catch {
    // A page without such a file.
  }
  const secure = location.protocol === "https:";
  return `${secure ? "wss" : "ws"}://${location.hostname || "127.0.0.1"}:${DEFAULT_PORT}`;
}

function showScreen(name) {
  for (const id of ["welcome", "blocked", "app"]) byId(id).hidden = id !== name;
}

function showConnection() {
  const { connection, waiting } = session;
  const online = connection === "connected";
  const words = {
    connected: "Online",
    connecting: "Connecting …",
    offline: "Offline",
    ended: "Disconnected",
  };
  byId("state").textContent = words[connection];
  byId("state").classList.toggle("connected", online);
  const waits = waiting === 1 ? "One message waits here and is" : `${waiting} messages wait here and are`;
  const what = waiting === 0 ? "What you write waits here and is" : waits;
  const bar = byId("connection");
  const text = connection === "offline" ? `The relay cannot be reached. ${what} sent when it is back.` : "";
  if (bar.textContent !== text) bar.textContent = text;
  bar.hidden = text === "";
}

function show() {
  scheduled = false;
  const app = byId("app");
  app.classList.toggle("chatting", session.current !== undefined);
  app.classList.toggle("empty", session.conversations.size === 0);
  byId("nothing-title").textContent =
    session.conversations.size === 0 ? "Nothing is said yet" : "Choose a conversation";
  byId("nothing-text").hidden = session.conversations.size > 0;
  byId("write-echo").hidden = session.conversations.has("direct:echo");
  showConnection();
  showList(session);
  showChat(session);
  showComposer(session);
  showGroupDialog(session);
  showOptionsDialog();
  showMessageDialog(session);
  showOperatorNotices(session);
  const { me, unread } = session;
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${me} · Subrosa`;
}

/** Shows everything anew, once for all changes of one turn. */
function changed() {
  if (scheduled) return;
  scheduled = true;
  queueMicrotask(show);
}

const TITLES = {
  "store-in-use": () => "Another version of this page is open",
  "user-id-taken": (me) => `The name ${me} is taken`,
  "user-removed": (me) => `${me} was removed`,
  "insecure-context": () => "This page is not secure",
};
const ADVICE = {
  "store-in-use":
    "A tab of yours that was opened before this page was updated cannot share its messages with this one. Reload or close it, then try again here.",
  "user-id-taken":
    "Somebody registered it at this relay with keys that this browser does not have. If that was you in another browser, or at another address of this page, go on there.",
  "user-removed":
    "The operator of this relay removed this name. What this browser keeps of it can be used no more.",
};

function showBlocked(error) {
  const { me } = session;
  byId("blocked-title").textContent = TITLES[error.code]?.(me) ?? "This cannot go on";
  byId("blocked-text").textContent = ADVICE[error.code] ?? explain(error);
  byId("blocked-code").textContent = error.code ?? "";
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  showScreen("blocked");
  byId("blocked-retry").focus();
  void session.close();
}

async function start(userId) {
  const address = new URL(location.href);
  address.searchParams.set("name", userId);
  history.replaceState(undefined, "", address);
  localStorage.setItem(LAST_NAME, userId);
  session = new Session({ relay: await findRelay(), userId, changed, blocked: showBlocked });
  byId("me").textContent = userId;
  showScreen("app");
  changed();
  await session.start();
}

/** Begins anew under another name: everything of this one stays in its store. */
async function rename() {
  await session.close();
  const address = new URL(location.href);
  address.searchParams.set("name", "");
  location.href = address.href;
}

function wire() {
  const now = () => session;
  wireChat(now);
  wireComposer(now);
  wireNewDialog(now);
  wireGroupDialog(now);
  wireOptionsDialog(now);
  wireMessageDialog(now);
  wireSafetyDialog(now);
  byId("rename").addEventListener("click", rename);
  byId("blocked-rename").addEventListener("click", rename);
  byId("blocked-retry").addEventListener("click", () => location.reload());
  byId("welcome-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("name").value.trim().normalize("NFC");
    if (name !== "") void start(name);
  });
  addEventListener("beforeunload", (event) => {
    // A file that is on its way would have to be sent anew.
    if (session?.uploads.isBusy) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && session?.current !== undefined) session.show(session.current);
  });
}

wire();
const asked = new URLSearchParams(location.search).get("name")?.trim().normalize("NFC");
if (asked) {
  await start(asked);
} else {
  // With an empty name in the address somebody wants to choose.
  if (asked === undefined) byId("name").value = localStorage.getItem(LAST_NAME) ?? "";
  showScreen("welcome");
  byId("name").focus();
}
