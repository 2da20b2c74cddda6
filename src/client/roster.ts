import { SerialQueue } from "../base/serial-queue.js";
import type { DirectoryNews } from "../wire/operator.js";
import type { Context } from "./context.js";

/** How many users of an open directory are followed unless the `limits` option says otherwise. */
const DEFAULT_MAX_USERS = 100_000;
/** How many parts of a list are asked for at most, and how much news may wait: a relay could send them without end. */
const MAX_PAGES = 10_000;
const MAX_WAITING = 1_000;

/** A user as {@link Client.users} lists it. */
export interface UserSummary {
  readonly userId: string;
  /** Whether this device knows its identity: it shares, or shared, a conversation with it, or looked it up. */
  readonly known: boolean;
  /** Whether its safety number was compared. */
  readonly verified: boolean;
}

/**
 * Who is there: the users this one knows, and where the relay's directory is open those that the relay names. Who comes
 * by the directory, or goes, does so by the relay's word alone; no conversation and no identity changes by it.
 */
export class Roster {
  readonly #context: () => Context;
  readonly #maxUsers: number;
  readonly #queue = new SerialQueue();
  /** Whom an open directory has named. */
  readonly #named = new Set<string>();
  /** Of whom the app was told in this process that they are there. */
  readonly #told = new Set<string>();
  /** Whether the list was asked for in this session. */
  #asked = false;
  /** Counts sessions: a list that was begun in one does not go on in the next. */
  #session = 0;

  constructor(context: () => Context, maxUsers = DEFAULT_MAX_USERS) {
    this.#context = context;
    this.#maxUsers = maxUsers;
  }

  users(): UserSummary[] {
    const users = this.#context()
      .contacts.all()
      .filter(({ removed }) => !removed);
    const known = new Set(users.map(({ userId }) => userId));
    const others = [...this.#named].filter((userId) => !known.has(userId));
    return [
      ...users.map(({ userId, verified }) => ({ userId, known: true, verified })),
      ...others.map((userId) => ({ userId, known: false, verified: false })),
    ].sort((a, b) => (a.userId < b.userId ? -1 : 1));
  }

  /** The account key of somebody was pinned here: the first one, or another one after a removal. */
  met(userId: string): void {
    if (this.#told.has(userId)) return;
    this.#told.add(userId);
    this.#context().emit("userCreated", { userId });
  }

  /** The relay says that it has an open directory, and who is new there or gone. */
  news({ created, removed }: DirectoryNews): void {
    if (!this.#asked) {
      this.#asked = true;
      this.#context().background(this.#list(this.#session));
    }
    for (const userId of created) this.#run(() => this.#created(userId));
    for (const userId of removed) this.#run(() => this.#removed(userId));
  }

  /** The relay says that a user of this one's conversations was removed. */
  removed(userId: string): void {
    this.#run(() => this.#removed(userId));
  }

  disconnected(): void {
    this.#session++;
    this.#asked = false;
  }

  /** What is too much is dropped: the next session's list has it. */
  #run(work: () => Promise<void>): void {
    if (this.#queue.length < MAX_WAITING) this.#context().background(this.#queue.run(work));
  }

  /** Learns who is there, a part at a time. */
  async #list(session: number): Promise<void> {
    const { relay, contacts } = this.#context();
    // Of a known user's removal the inbox tells: who is known and not named may have been lost by the relay.
    const gone = new Set([...this.#named].filter((userId) => contacts.get(userId) === undefined));
    let after: string | undefined;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const page = await relay.request("listUsers", after === undefined ? {} : { after });
      if (session !== this.#session) return;
      for (const userId of page.users) {
        gone.delete(userId);
        await this.#queue.run(() => this.#created(userId));
      }
      after = page.next;
      if (after === undefined) {
        for (const userId of gone) await this.#queue.run(() => this.#removed(userId));
        return;
      }
      // Who was not named by then is not gone for it.
      if (this.#named.size >= this.#maxUsers) return;
    }
  }

  async #created(userId: string): Promise<void> {
    const { contacts, identity } = this.#context();
    if (userId === identity.userId || this.#named.size >= this.#maxUsers) return;
    this.#named.add(userId);
    await contacts.setRemoved(userId, false);
    this.met(userId);
  }

  async #removed(userId: string): Promise<void> {
    const { contacts, emit } = this.#context();
    const wasNamed = this.#named.delete(userId);
    this.#told.delete(userId);
    // Told twice, by the inbox and by the directory, it is one removal.
    if ((await contacts.setRemoved(userId, true)) || wasNamed) emit("userDeleted", { userId });
  }
}
