import type { MessageData } from "../events.js";
import { type Deferred, deferred } from "../waiting.js";

/** A tab of this user as far as messages go. */
interface Seat {
  listening: boolean;
  /** It does not answer: what it has is not waited for. */
  away: boolean;
  /** What it was given and is not done with. */
  readonly open: Map<number, Deferred<void>>;
}

export interface AudienceOptions {
  /** Gives a message to tabs; each answers with {@link Audience.settled}. */
  readonly post: (to: readonly string[], delivery: number, message: MessageData) => void;
  /** Told when there comes to be a tab that takes messages, and when there is none any more. */
  readonly changed: (isListening: boolean) => void;
}

/** All tabs that take messages. A message is taken when every tab that is there and listens is done with it. */
export class Audience {
  readonly #options: AudienceOptions;
  readonly #seats = new Map<string, Seat>();
  #next = 1;
  #wasListening = false;

  constructor(options: AudienceOptions) {
    this.#options = options;
  }

  /** Whether any tab is there to take messages. */
  get isListening(): boolean {
    return [...this.#seats.values()].some(({ listening, away }) => listening && !away);
  }

  /** The tab is there, and listens or does not. */
  seat(tab: string, listening: boolean): void {
    const seat = this.#seats.get(tab);
    if (seat === undefined) this.#seats.set(tab, { listening, away: false, open: new Map() });
    else Object.assign(seat, { listening, away: false });
    this.#changed();
  }

  /** The tab answers again. */
  back(tab: string): void {
    const seat = this.#seats.get(tab);
    if (seat?.away) this.seat(tab, seat.listening);
  }

  /** The tab does not answer; it still gets what others take, to find it once it goes on. */
  away(tab: string): void {
    const seat = this.#seats.get(tab);
    if (seat === undefined || seat.away) return;
    seat.away = true;
    this.#changed();
    this.#leave(seat);
  }

  gone(tab: string): void {
    const seat = this.#seats.get(tab);
    if (seat === undefined) return;
    this.#seats.delete(tab);
    this.#changed();
    this.#leave(seat);
  }

  /** Tabs that have not said yet that they are done with what they were given. */
  get waitedFor(): string[] {
    return [...this.#seats].flatMap(([tab, { open }]) => (open.size > 0 ? [tab] : []));
  }

  /** What a tab says of what it was given. */
  settled(tab: string, delivery: number, took: boolean): void {
    const seat = this.#seats.get(tab);
    const open = seat?.open.get(delivery);
    if (seat === undefined || open === undefined) return;
    seat.open.delete(delivery);
    if (took) {
      open.resolve();
      return;
    }
    // It says so itself when somebody listens there again.
    seat.listening = false;
    this.#changed();
    open.reject(new Error("left"));
  }

  /** Resolves when all are done with the message; rejects when nobody took it. */
  async deliver(message: MessageData): Promise<void> {
    const delivery = this.#next++;
    const to: string[] = [];
    const results: Promise<void>[] = [];
    for (const [tab, seat] of this.#seats) {
      if (!seat.listening) continue;
      to.push(tab);
      if (seat.away) continue;
      const open = deferred<void>();
      seat.open.set(delivery, open);
      results.push(open.promise);
    }
    if (results.length > 0) this.#options.post(to, delivery, message);
    const ends = await Promise.allSettled(results);
    if (ends.every(({ status }) => status === "rejected")) throw new Error("nobody took the message");
  }

  /** Nothing is waited for any more. */
  end(): void {
    for (const tab of [...this.#seats.keys()]) this.gone(tab);
  }

  #leave(seat: Seat): void {
    for (const open of seat.open.values()) open.reject(new Error("gone"));
    seat.open.clear();
  }

  #changed(): void {
    const { isListening } = this;
    if (isListening === this.#wasListening) return;
    this.#wasListening = isListening;
    this.#options.changed(isListening);
  }
}
