import { byId, element, formatFingerprint, icon, toast } from "./dom.js";
import { explain } from "./explain.js";

const KNOWN_AS = {
  new: "You have not been in touch with this person before.",
  known: "This is the person you know by that name.",
  verified: "You have verified this person.",
};

/** Runs what a button asks for; the buttons rest meanwhile, and a failure is said. */
async function run(buttons, action) {
  for (const button of buttons) button.disabled = true;
  try {
    await action();
  } catch (error) {
    toast(explain(error), { bad: true, code: error.code });
  } finally {
    for (const button of buttons) button.disabled = false;
    // The notice is gone by now, and the focus with it.
    requestAnimationFrame(() => {
      if (document.activeElement === document.body) byId("title").focus();
    });
  }
}

function notice(kind, symbol, body, actions) {
  const buttons = actions.map(({ label, look }) =>
    element("button", { type: "button", class: `small ${look}` }, label),
  );
  actions.forEach(({ action }, index) => {
    buttons[index].addEventListener("click", () => void run(buttons, action));
  });
  const content = element("div", { class: "notice-body" }, ...body);
  if (buttons.length > 0) content.append(element("div", { class: "buttons" }, ...buttons));
  return element(
    "section",
    { class: `notice ${kind}`, role: kind === "warning" ? "alert" : undefined },
    icon(symbol),
    content,
  );
}

function requestNotice(session, conversation, request) {
  const { userId, fingerprint, identity } = request;
  return notice(
    "request",
    "people",
    [
      element("p", {}, element("strong", {}, userId), " asks to join this group."),
      element("p", { class: "hint" }, KNOWN_AS[identity], " Fingerprint:"),
      element("p", { class: "code" }, formatFingerprint(fingerprint)),
    ],
    [
      {
        label: "Approve",
        look: "primary",
        action: () => session.groups.answerRequest(conversation, request, true),
      },
      {
        label: "Decline",
        look: "",
        action: () => session.groups.answerRequest(conversation, request, false),
      },
    ],
  );
}

function invitationNotice(session, conversation) {
  const { from, members } = conversation.invitation;
  return notice(
    "invitation",
    "people",
    [
      element("p", {}, element("strong", {}, from), " invites you to this group."),
      element("p", { class: "hint" }, `Members: ${members.join(", ")}`),
    ],
    [
      { label: "Accept", look: "primary", action: () => session.groups.answerInvitation(conversation, true) },
      { label: "Decline", look: "", action: () => session.groups.answerInvitation(conversation, false) },
    ],
  );
}

function identityNotice(session, conversation) {
  const { name, identity } = conversation;
  const print = (label, fingerprint) => [
    element("dt", {}, label),
    element("dd", { class: "code" }, formatFingerprint(fingerprint)),
  ];
  return notice(
    "warning",
    "warning",
    [
      element("p", {}, element("strong", {}, `The identity of ${name} has changed.`)),
      element(
        "p",
        {},
        `Either ${name} began anew on another device, or somebody is posing as ${name}. Ask in another way, such as by phone. Until you accept, nothing is sent to the new identity.`,
      ),
      element(
        "dl",
        { class: "prints" },
        ...print("Known", identity.pinned),
        ...print("New", identity.offered),
      ),
    ],
    [
      {
        label: "Accept the new identity",
        look: "primary",
        action: () => session.acceptIdentity(conversation),
      },
    ],
  );
}

function joiningNotice(conversation) {
  return notice(
    "joining",
    "clock",
    [
      element("p", {}, element("strong", {}, `You asked to join ${conversation.name}.`)),
      element(
        "p",
        { class: "hint" },
        "A member has to let you in. You need not wait here: the request stands.",
      ),
    ],
    [],
  );
}

let shownFor;
let shownNotices = [];

/** Shows what needs an answer in a conversation; what is shown already is left alone, and with it the focus. */
export function showNotices(session, conversation) {
  const wanted = [];
  if (conversation.identity !== undefined)
    wanted.push([conversation.identity, () => identityNotice(session, conversation)]);
  if (conversation.invitation !== undefined)
    wanted.push([conversation.invitation, () => invitationNotice(session, conversation)]);
  if (conversation.status === "joining") wanted.push(["joining", () => joiningNotice(conversation)]);
  for (const request of conversation.requests) {
    wanted.push([request, () => requestNotice(session, conversation, request)]);
  }
  if (shownFor !== conversation) shownNotices = [];
  shownFor = conversation;
  shownNotices = wanted.map(
    ([subject, make]) => shownNotices.find((one) => one.subject === subject) ?? { subject, node: make() },
  );
  const nodes = shownNotices.map(({ node }) => node);
  const parent = byId("notices");
  if (
    parent.children.length !== nodes.length ||
    nodes.some((node, index) => parent.children[index] !== node)
  ) {
    parent.replaceChildren(...nodes);
  }
}
