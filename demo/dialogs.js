import { byId, element, formatFingerprint, openDialog, toast } from "./dom.js";
import { explain } from "./explain.js";
import { initialsOf } from "./list.js";

const NEW = {
  direct: {
    label: "Name of the person",
    hint: "Names are as people chose them here, capital letters and all.",
    submit: "Start",
  },
  create: { label: "Name of the group", hint: "You will be its admin.", submit: "Create group" },
  join: {
    label: "Name of the group",
    hint: "Unless the group is open to all, a member has to let you in.",
    submit: "Ask to join",
  },
};

async function attempt(action) {
  try {
    await action();
    return true;
  } catch (error) {
    toast(explain(error), { bad: true, code: error.code });
    return false;
  }
}

/** Asks before something that cannot be undone. */
function confirm({ title, text, yes, action }) {
  const dialog = byId("confirm-dialog");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  const button = byId("confirm-yes");
  button.textContent = yes;
  button.onclick = async () => {
    button.disabled = true;
    const done = await attempt(action);
    button.disabled = false;
    if (done) dialog.close();
  };
  openDialog(dialog);
}

function wireNew(sessionNow) {
  const dialog = byId("new-dialog");
  const form = byId("new-form");
  const name = byId("new-name");
  const what = () => new FormData(form).get("what");

  const show = () => {
    const { label, hint, submit } = NEW[what()];
    byId("new-label").textContent = label;
    byId("new-hint").textContent = hint;
    byId("new-submit").textContent = submit;
    byId("new-mode").hidden = what() !== "create";
  };
  const open = () => {
    form.reset();
    show();
    openDialog(dialog);
    name.focus();
  };
  form.addEventListener("change", show);
  byId("new").addEventListener("click", open);
  byId("new-too").addEventListener("click", open);
  byId("write-echo").addEventListener("click", () => start(() => sessionNow().direct("echo")));

  async function start(make) {
    const session = sessionNow();
    let conversation;
    const done = await attempt(async () => {
      conversation = await make();
    });
    if (!done) return;
    dialog.close();
    session.show(conversation);
    byId("text").focus();
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const session = sessionNow();
    const wanted = name.value.trim().normalize("NFC");
    if (wanted === "") return;
    if (what() === "direct" && wanted === session.me) {
      toast("That is you.", { bad: true });
      return;
    }
    const button = byId("new-submit");
    button.disabled = true;
    await start(() => {
      if (what() === "direct") return session.direct(wanted);
      return what() === "create" ? session.createGroup(wanted, byId("mode").value) : session.join(wanted);
    });
    button.disabled = false;
  });
}

function memberRow(session, conversation, { userId, admin }) {
  const remove = element(
    "button",
    { type: "button", class: "small", "aria-label": `Remove ${userId}` },
    "Remove",
  );
  remove.addEventListener("click", async () => {
    remove.disabled = true;
    await attempt(() => session.client.remove(conversation.name, userId));
    await session.refreshMembers(conversation);
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

function wireGroup(sessionNow) {
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
    const done = await attempt(() => session.client.invite(groupShown.name, userId));
    if (button) button.disabled = false;
    if (done) {
      field.value = "";
      toast(`${userId} is invited.`);
      await session.refreshMembers(groupShown);
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
      action: () => session.leave(conversation),
    })),
  );
  byId("delete").addEventListener(
    "click",
    asked((session, conversation) => ({
      title: `Delete ${conversation.name}?`,
      text: "The group ends for all its members.",
      yes: "Delete",
      action: () => session.deleteGroup(conversation),
    })),
  );
}

function wireSafety(sessionNow) {
  const dialog = byId("safety-dialog");
  let conversation;
  const showState = () => {
    byId("safety-state").hidden = !conversation.verified;
    byId("verify").hidden = conversation.verified;
  };
  byId("safety").addEventListener("click", () =>
    attempt(async () => {
      const session = sessionNow();
      conversation = session.current;
      const { name } = conversation;
      const { digits, fingerprint, verified } = await session.client.safetyNumber(name);
      conversation.verified = verified;
      byId("safety-title").textContent = `You and ${name}`;
      byId("safety-text").textContent =
        `Compare these digits with ${name}, side by side or by phone. If they are the same on both screens, nobody stands between you.`;
      const groups = digits.match(/.{5}/g) ?? [];
      byId("digits").replaceChildren(...groups.map((group) => element("li", {}, group)));
      byId("fingerprint").replaceChildren(`${name}: ${formatFingerprint(fingerprint)}`);
      showState();
      openDialog(dialog);
    }),
  );
  byId("verify").addEventListener("click", () =>
    attempt(async () => {
      await sessionNow().markVerified(conversation);
      showState();
      dialog.querySelector("[data-close]").focus();
    }),
  );
}

export function wireDialogs(sessionNow) {
  wireNew(sessionNow);
  wireGroup(sessionNow);
  wireSafety(sessionNow);
}
