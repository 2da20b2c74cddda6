import { attempt, confirm } from "./asking.js";
import { byId, element, openDialog, toast } from "./dom.js";
import { explainTime } from "./explain.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const TIMES = [0, MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY];

/** The conversation that the dialog is about. */
let shown;

/** Keeps the dialog up to date while it is open. */
export function showOptionsDialog() {
  const dialog = byId("options-dialog");
  if (!dialog.open) return;
  const { kind, name, mode, status, isAdmin, disappearAfter } = shown;
  const isGroup = kind === "group";
  const isActive = !isGroup || status === "active";
  byId("options-title").textContent = isGroup ? name : `You and ${name}`;
  byId("group-options").hidden = !isGroup || !isActive || !isAdmin;
  byId("join-mode").value = mode ?? "approval";
  const timer = byId("timer");
  if (![...timer.options].some(({ value }) => Number(value) === disappearAfter)) addTime(disappearAfter);
  timer.value = String(disappearAfter);
  timer.disabled = !isActive || (isGroup && !isAdmin);
  byId("timer-hint").textContent =
    isGroup && !isAdmin ? "Only admins can change this." : "This holds for everybody in this conversation.";
  byId("leave").hidden = !isGroup || !isActive;
  byId("delete").hidden = !isGroup || !isActive || !isAdmin;
}

function addTime(time) {
  byId("timer").append(element("option", { value: String(time) }, explainTime(time)));
}

/** Runs a change and shows what holds afterwards, whether it went well or not. */
async function change(control, action) {
  control.disabled = true;
  const done = await attempt(action);
  control.disabled = false;
  showOptionsDialog();
  return done;
}

/** Wires the dialog in which a conversation is changed. */
export function wireOptionsDialog(sessionNow) {
  const dialog = byId("options-dialog");
  for (const time of TIMES) addTime(time);

  byId("options").addEventListener("click", () => {
    shown = sessionNow().current;
    byId("group-name").value = shown.name;
    openDialog(dialog);
    showOptionsDialog();
  });
  byId("rename-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = byId("group-name").value.trim().normalize("NFC");
    if (name === "" || name === shown.name) return;
    const done = await change(byId("rename-group"), () => sessionNow().groups.rename(shown, name));
    if (done) toast(`The group is called ${name} now.`);
  });
  byId("join-mode").addEventListener("change", ({ target }) =>
    change(target, () => sessionNow().groups.setJoinMode(shown, target.value)),
  );
  byId("timer").addEventListener("change", ({ target }) =>
    change(target, () => sessionNow().setDisappearing(shown, Number(target.value))),
  );

  const asked = (make) => () => {
    dialog.close();
    confirm(make(sessionNow(), shown));
  };
  byId("clear").addEventListener(
    "click",
    asked((session, conversation) => ({
      title: "Delete all messages?",
      text: "They are deleted on this device. The others keep what they have.",
      yes: "Delete",
      action: () => session.deleteMessages(conversation, "all"),
    })),
  );
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
