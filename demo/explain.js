/** What the error codes that people meet mean to them. */
const MEANINGS = {
  aborted: "That was given up.",
  "already-a-member": "That person is in the group already.",
  banned: "That person is banned from the group.",
  "connection-failed": "The relay cannot be reached.",
  "decryption-failed": "A message could not be decrypted.",
  forbidden: "The relay refused this.",
  "identity-changed":
    "That person's identity is not the one known here. Compare safety numbers, then accept it.",
  "identity-mismatch": "The fingerprint is not the expected one.",
  "insecure-context": "Keys can only be made on https pages and on 127.0.0.1.",
  "invalid-argument": "A name is missing, or has characters that names cannot have.",
  "join-rejected": "The request to join was declined.",
  "last-admin": "A group is not left without an admin. Make somebody else one first, or delete the group.",
  "name-taken": "There is a group of that name already.",
  "no-key-package": "That person has no keys at the relay right now. Try again when they were online.",
  "not-a-member": "Only members can do that.",
  "not-an-admin": "Only admins of the group can do that.",
  "outbox-full": "Too much waits to be sent already.",
  "quota-exceeded": "The relay has no more room for this.",
  "rate-limited": "That was too much at once. Try again in a moment.",
  "storage-full": "There is no room left on this device.",
  "store-failed": "This browser's database failed.",
  "store-in-use": "Another version of this page has this name open in another tab.",
  "store-outdated": "A newer version of this page wrote what is stored here.",
  "too-large": "That is too large to send.",
  "unknown-blob": "The relay does not have this file any more.",
  "unknown-group": "There is no group of that name.",
  "unknown-user": "Nobody of that name has been here.",
  "user-id-taken": "That name belongs to somebody else here.",
  timeout: "That took too long.",
};

/** A message with a capital letter at its beginning and a full stop at its end. */
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;

/** @returns {string} what happened, for people */
export function explain(error) {
  return MEANINGS[error?.code] ?? sentence(error?.message ?? String(error));
}

export const explainCode = (code) => MEANINGS[code] ?? "Given up.";

const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

const MODES = {
  approval: "Whoever wants to join has to be let in by an admin.",
  open: "Anybody who knows the name of the group can join.",
  closed: "Only whom an admin invites can join.",
};

export const explainMode = (mode) => MODES[mode] ?? "";

const MINUTE = 60_000;
const UNITS = [
  [24 * 60 * MINUTE, "day"],
  [60 * MINUTE, "hour"],
  [MINUTE, "minute"],
  [1000, "second"],
];

/** After what time messages disappear. */
export function explainTime(milliseconds) {
  if (milliseconds === 0) return "Never";
  const [length, unit] = UNITS.find(([one]) => milliseconds % one === 0) ?? [1, "millisecond"];
  return count(milliseconds / length, unit);
}

const named = (users, me) => users.map((userId) => (userId === me ? "you" : userId)).join(", ");

/** What an admin made of a group, or somebody of a conversation: a line for each. */
export function explainUpdate(update, me) {
  const { by, name, join, promoted, demoted, banned, unbanned, disappearAfter } = update;
  const who = by === me ? "You" : by;
  const lines = [
    name && `${who} renamed the group: it was ${name.before}.`,
    join && `${who} changed who may join. ${explainMode(join)}`,
    promoted && `${who} made ${named(promoted, me)} an admin.`,
    demoted && `${who} made ${named(demoted, me)} a mere member.`,
    banned && `${who} banned ${named(banned, me)}.`,
    unbanned && `${who} lifted the ban on ${named(unbanned, me)}.`,
    disappearAfter === 0 && `${who} had messages stay.`,
    disappearAfter > 0 && `${who} had messages disappear after ${explainTime(disappearAfter)}.`,
  ];
  return lines.filter(Boolean);
}

/** What became of a store that was put in order. */
export function explainRecovery({ reason, newDevice, lost }) {
  const what =
    reason === "outdated"
      ? "What this browser keeps was an older copy."
      : "A part of what this browser keeps was damaged.";
  const next = newDevice
    ? " It goes on as a new device and comes into your conversations again by itself."
    : " It was put in order.";
  const gone = [
    lost.received > 0 &&
      count(lost.received, "message that you had not read", "messages that you had not read"),
    lost.unsent > 0 &&
      count(lost.unsent, "message that waited to be sent", "messages that waited to be sent"),
    lost.history > 0 && count(lost.history, "earlier message"),
    lost.contacts > 0 && `the safety numbers of ${count(lost.contacts, "person", "people")}`,
  ].filter(Boolean);
  return `${what}${next}${gone.length === 0 ? "" : ` Gone for good: ${gone.join(", ")}.`}`;
}

/** A message that could not be read, or those that went by while a group was repaired. */
export function explainUnreadable({ reason, missed }) {
  if (missed === undefined) return `A message could not be read (${reason}).`;
  return `This group was repaired here. Up to ${count(missed, "message")} from before could not be read.`;
}
