import { attempt } from "./asking.js";
import { byId, openDialog, toast } from "./dom.js";

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

/** Wires the dialog in which conversations begin. */
export function wireNewDialog(sessionNow) {
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
    // Once it is shown.
    queueMicrotask(() => byId("text").focus());
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
      return what() === "create"
        ? session.groups.create(wanted, byId("mode").value)
        : session.groups.join(wanted);
    });
    button.disabled = false;
  });
}
