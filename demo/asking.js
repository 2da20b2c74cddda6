import { byId, openDialog, toast } from "./dom.js";
import { explain } from "./explain.js";

/** Does what was asked for; says so when it fails. Resolves to whether it went well. */
export async function attempt(action) {
  try {
    await action();
    return true;
  } catch (error) {
    toast(explain(error), { bad: true, code: error.code });
    return false;
  }
}

/** Asks before something that cannot be undone. */
export function confirm({ title, text, yes, action }) {
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
