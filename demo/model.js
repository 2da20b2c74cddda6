/**
 * @typedef {"uploading" | "pending" | "sent" | "delivered" | "read" | "failed"} MessageState
 * @typedef {{ type: "message", id: string, from: string, content: unknown, sentAt: number,
 *   state?: MessageState, code?: string, deliveredTo?: string[], readBy?: string[], position?: number,
 *   upload?: import("./uploads.js").Upload, release?: () => void, isMarked?: boolean }} ShownMessage
 *   `content`: a string, bytes, a File that this page sends, or an attachment
 * @typedef {{ type: "note", id: string, text: string, sentAt: number, bad: boolean }} Note
 */

const RANK = { uploading: 0, pending: 0, sent: 1, failed: 2, delivered: 3, read: 4 };
let notes = 0;

/** A direct conversation or a group, as the page shows it. */
export class Conversation {
  /** @type {(ShownMessage | Note)[]} */
  items = [];
  /** `active`; `joining`: asked to join, not answered; `invited`; `ended`: only its history is left. */
  status = "active";
  unread = 0;
  /** Whether history has more than what is shown. */
  hasEarlier = false;
  /** Join requests that wait for an answer. */
  requests = [];
  /** The invitation that waits for an answer. */
  invitation;
  /** Another identity that was offered for this person. */
  identity;
  verified = false;
  /** Who is writing just now. */
  typing = new Set();
  /** After how many milliseconds messages disappear; 0: never. */
  disappearAfter = 0;
  /** Of a group that this user is in: its members, who is banned, its join mode, and whether this user is an admin. */
  members;
  banned = [];
  mode;
  isAdmin = false;

  constructor(kind, name) {
    this.kind = kind;
    this.name = name;
    this.openedAt = Date.now();
  }

  get key() {
    return keyOf(this.kind, this.name);
  }

  /** As the client names it. */
  get id() {
    return this.kind === "direct" ? this.name : { group: this.name };
  }

  get last() {
    return this.items.at(-1);
  }

  /** When something happened here last. */
  get touchedAt() {
    return this.last?.sentAt ?? this.openedAt;
  }

  get needsAnswer() {
    return this.requests.length > 0 || this.invitation !== undefined || this.identity !== undefined;
  }

  /** How many others a message reaches, as far as is known. */
  get reach() {
    return this.kind === "direct" ? 1 : Math.max(0, (this.members?.length ?? 0) - 1);
  }

  find(id, from) {
    return this.items.find((item) => item.id === id && item.from === from);
  }

  /** Adds a message; one that is there already is not added again. */
  addMessage(message) {
    const known = this.find(message.id, message.from);
    if (known !== undefined) return false;
    this.items.push({ ...message, type: "message" });
    return true;
  }

  /** Puts a page of history before what is shown. */
  addHistory(messages) {
    const fresh = messages.filter((message) => this.find(message.id, message.from) === undefined);
    this.items.unshift(...fresh.map((message) => ({ ...message, type: "message" })));
  }

  /** Shows some of the messages no more. */
  remove(isGone) {
    this.items = this.items.filter((item) => {
      if (item.type !== "message" || !isGone(item)) return true;
      item.release?.();
      return false;
    });
  }

  addNote(text, { bad = false } = {}) {
    this.items.push({ type: "note", id: `note-${++notes}`, text, sentAt: Date.now(), bad });
  }

  get firstPosition() {
    return this.items.find((item) => item.position !== undefined)?.position;
  }
}

export const keyOf = (kind, name) => `${kind}:${name}`;

const withOne = (users = [], user) => [...new Set([...users, user])];

/** Notes how far a message has come; it never goes back. */
export function advance(message, { state, code, by }) {
  if (state === "delivered" || state === "read") message.deliveredTo = withOne(message.deliveredTo, by);
  if (state === "read") message.readBy = withOne(message.readBy, by);
  if (message.state !== undefined && RANK[state] < RANK[message.state]) return;
  message.state = state;
  message.code = code;
}
