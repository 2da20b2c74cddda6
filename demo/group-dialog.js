import { attempt, confirm } from "./asking.js";
import { byId, element, openDialog, toast } from "./dom.js";
import { initialsOf } from "./list.js";

function memberRow(session, conversation, { userId, admin }) {
  const remove = element(
    "button",
    { type: "button", class: "small", "aria-label": `Remove ${userId}` },
    "Remove",
  );
  remove.addEventListener("click", async () => {
    remove.disabled = true;
    await attempt(() => session.groups.remove(conversation, userId));
    await session.groups.refresh(conversation);
    remove.disabled = false;
  });
  const isMe = userId === session.me;
  return element(
    "li",
    {},
    element("span", { class: "avatar", "aria-hidden": "true" }, initialsOf(userId)),
    element("span", { class: "entry-name" }, element("span", {}, userId)),
    admin && element("span", { class: "tag" }, "admin"),
    isMe && element("span", { class: "tag" }, "you"),
    conversation.isAdmin && !isMe && remove,
  );
}

const MODES = {
  approval: "Whoever wants to join has to be let in by an admin.",
  open: "Anybody who knows the name of the group can join.",
  closed: "Only whom an admin invites can join.",
};

let groupShown;
let membersShown = "";

/** Keeps the dialog of a group up to date while it is open. */
export function showGroupDialog(session) {
  const dialog = byId("group-dialog");
  if (!dialog.open || groupShown === undefined) return;
  if (groupShown.status !== "active") return dialog.close();
  const members = groupShown.members ?? [];
  const { isAdmin, mode, key } = groupShown;
  const shown = JSON.stringify([key, members, isAdmin, mode]);
  if (shown === membersShown) return;
  membersShown = shown;
  byId("group-title").textContent = groupShown.name;
  byId("group-mode").textContent = MODES[mode] ?? "";
  byId("invite-form").hidden = !isAdmin && mode !== "open";
  byId("delete").hidden = !isAdmin;
  byId("members").replaceChildren(...members.map((userId) => memberRow(session, groupShown, userId)));
}

/** Wires the dialog of a group. */
export function wireGroupDialog(sessionNow) {
  const dialog = byId("group-dialog");
  byId("group").addEventListener("click", () => {
    groupShown = sessionNow().current;
    membersShown = "";
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
  const asked = (make) => () => {
    const session = sessionNow();
    const conversation = groupShown;
    dialog.close();
    confirm(make(session, conversation));
  };
  byId("leave").addEventListener(
    "click",
    asked((session, conversation) => ({
      title: `Leave ${conversation.name}?`,
      text: "You get no more messages of this group. What was said so far stays on this device.",
      yes: "Leave",
      action: () => session.groups.leave(conversation),
    })),
  );
  byId("delete").addEventListener(
    "click",
    asked((session, conversation) => ({
      title: `Delete ${conversation.name}?`,
      text: "The group ends for all its members.",
      yes: "Delete",
      action: () => session.groups.delete(conversation),
    })),
  );
}
