import { attempt } from "./asking.js";
import { byId, element, icon, openDialog, toast } from "./dom.js";
import { explainMode } from "./explain.js";
import { initialsOf } from "./list.js";

let groupShown;
let membersShown = "";
/** The member of whom it is shown what can be done. */
let managed;

function actionButton(session, conversation, { label, about, action, look = "" }) {
  const button = element("button", { type: "button", class: `small ${look}`, "aria-label": about }, label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    await attempt(action);
    await session.groups.refresh(conversation);
    button.disabled = false;
  });
  return button;
}

/** What an admin can do with a member. */
function actionsOn(session, conversation, { userId, admin }) {
  const { groups, me } = session;
  const make = (entry) => actionButton(session, conversation, entry);
  const isMe = userId === me;
  if (isMe) {
    const label = "Give up being an admin";
    return admin ? [make({ label, about: label, action: () => groups.demote(conversation, userId) })] : [];
  }
  const role = admin
    ? { label: "Demote", about: `Demote ${userId}`, action: () => groups.demote(conversation, userId) }
    : { label: "Promote", about: `Promote ${userId}`, action: () => groups.promote(conversation, userId) };
  return [
    make(role),
    make({
      label: "Remove",
      about: `Remove ${userId}`,
      action: () => groups.remove(conversation, userId),
    }),
    make({
      label: "Ban",
      about: `Ban ${userId}`,
      look: "danger",
      action: () => groups.ban(conversation, userId),
    }),
  ];
}

function memberRow(session, conversation, member, index) {
  const { userId, admin } = member;
  const isMe = userId === session.me;
  const line = element(
    "div",
    { class: "member-line" },
    element("span", { class: "avatar", "aria-hidden": "true" }, initialsOf(userId)),
    element("span", { class: "entry-name" }, element("span", {}, userId)),
    admin && element("span", { class: "tag" }, "admin"),
    isMe && element("span", { class: "tag" }, "you"),
  );
  const row = element("li", {}, line);
  if (!conversation.isAdmin) return row;
  const actions = element(
    "div",
    { class: "buttons member-actions", id: `member-${index}` },
    ...actionsOn(session, conversation, member),
  );
  const manage = element(
    "button",
    { type: "button", class: "icon", "aria-label": `Manage ${userId}`, "aria-controls": actions.id },
    icon("more"),
  );
  const isOpen = managed === userId;
  actions.hidden = !isOpen;
  manage.setAttribute("aria-expanded", String(isOpen));
  manage.addEventListener("click", () => {
    managed = isOpen ? undefined : userId;
    membersShown = "";
    showGroupDialog(session);
  });
  line.append(manage);
  row.append(actions);
  return row;
}

function bannedRow(session, conversation, userId) {
  return element(
    "li",
    { class: "member-line" },
    element("span", { class: "avatar", "aria-hidden": "true" }, initialsOf(userId)),
    element("span", { class: "entry-name" }, element("span", {}, userId)),
    actionButton(session, conversation, {
      label: "Lift the ban",
      about: `Lift the ban on ${userId}`,
      action: () => session.groups.unban(conversation, userId),
    }),
  );
}

/** Keeps the dialog of a group's members up to date while it is open. */
export function showGroupDialog(session) {
  const dialog = byId("group-dialog");
  if (!dialog.open || groupShown === undefined) return;
  if (groupShown.status !== "active") return dialog.close();
  const { isAdmin, mode, key, members = [], banned } = groupShown;
  const shown = JSON.stringify([key, members, banned, isAdmin, mode]);
  if (shown === membersShown) return;
  membersShown = shown;
  byId("group-title").textContent = groupShown.name;
  byId("group-mode").textContent = explainMode(mode);
  byId("invite-form").hidden = !isAdmin && mode !== "open";
  const focused = document.activeElement?.getAttribute("aria-label");
  const rows = members.map((member, index) => memberRow(session, groupShown, member, index));
  byId("members").replaceChildren(...rows);
  byId("banned-part").hidden = !isAdmin || banned.length === 0;
  byId("banned").replaceChildren(...banned.map((userId) => bannedRow(session, groupShown, userId)));
  if (document.activeElement === document.body) focusAgain(dialog, focused);
}

/** Where somebody was before the rows were made anew. */
function focusAgain(dialog, label) {
  const buttons = [...dialog.querySelectorAll("button")];
  const wanted = [label, `Manage ${managed}`];
  const found = buttons.find((button) => wanted.includes(button.getAttribute("aria-label")));
  (found ?? byId("invite-name")).focus();
}

/** Wires the dialog of a group's members. */
export function wireGroupDialog(sessionNow) {
  const dialog = byId("group-dialog");
  byId("group").addEventListener("click", () => {
    groupShown = sessionNow().current;
    membersShown = "";
    managed = undefined;
    openDialog(dialog);
    showGroupDialog(sessionNow());
  });
  byId("invite-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const session = sessionNow();
    const field = byId("invite-name");
    const userId = field.value.trim().normalize("NFC");
    const button = event.submitter;
    if (button) button.disabled = true;
    const done = await attempt(() => session.groups.invite(groupShown, userId));
    if (button) button.disabled = false;
    if (done) {
      field.value = "";
      toast(`${userId} is invited.`);
      await session.groups.refresh(groupShown);
    }
    field.focus();
  });
}
