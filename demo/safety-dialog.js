import { attempt } from "./asking.js";
import { byId, element, formatFingerprint, openDialog } from "./dom.js";

/** Wires the dialog in which two compare their safety number. */
export function wireSafetyDialog(sessionNow) {
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
