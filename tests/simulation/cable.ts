import { asBytes, type Bytes } from "../../src/base/bytes.js";
import { Delivery } from "../../src/transport/delivery.js";
import type { CloseInfo, Connection } from "../../src/transport/transport.js";
import type { Random } from "./random.js";

type Item = Bytes | CloseInfo;

const BROKEN: CloseInfo = { code: 1006, reason: "" };

/** The relay's end of a cable. */
export interface RelayEnd {
  receive(frame: Bytes): void;
  disconnected(): void;
}

/** What watches a cable. */
export interface CableHooks {
  /** The client is about to send; false: it has died. */
  sending(frame: Bytes): boolean;
  /** The client has sent. */
  sent(frame: Bytes): void;
}

/** One connection: two queues of frames, each of which moves when the scheduler says so. */
export class Cable {
  readonly user: string;
  readonly #hooks: CableHooks;
  readonly #delivery = new Delivery();
  relay: RelayEnd | undefined;
  up: Item[] = [];
  down: Item[] = [];
  #upClosed = false;
  #downClosed = false;
  /** Nothing moves, and nobody is told. */
  stalled = false;
  /** The relay reads nothing more for now. */
  paused = false;
  /** The client's process has died. */
  #dead = false;

  constructor(user: string, hooks: CableHooks) {
    this.user = user;
    this.#hooks = hooks;
  }

  /** Whether both ends still think that they are connected. */
  get isWhole(): boolean {
    return !this.#upClosed && !this.#downClosed && !this.#dead;
  }

  get isOver(): boolean {
    const done = (closed: boolean, queue: Item[]) => closed && queue.length === 0;
    return done(this.#upClosed, this.up) && (this.#dead || done(this.#downClosed, this.down));
  }

  client(): Connection {
    const delivery = this.#delivery;
    return {
      get onframe() {
        return delivery.onframe;
      },
      set onframe(handler) {
        delivery.onframe = handler;
      },
      get onclose() {
        return delivery.onclose;
      },
      set onclose(handler) {
        delivery.onclose = handler;
      },
      bufferedAmount: 0,
      send: (frame) => {
        if (this.#upClosed || this.#dead) return;
        const copy = asBytes(frame.slice());
        if (!this.#hooks.sending(copy)) return;
        this.up.push(copy);
        this.#hooks.sent(copy);
      },
      close: (code = 1000, reason = "") => {
        delivery.mute();
        this.#endUp({ code, reason });
      },
    };
  }

  /** The relay sends a frame, or something else hands one to the client as if it did. */
  sendDown(frame: Uint8Array): void {
    if (!this.#downClosed && !this.#dead) this.down.push(asBytes(frame.slice()));
  }

  sendUp(frame: Uint8Array): void {
    if (!this.#upClosed && !this.#dead) this.up.push(asBytes(frame.slice()));
  }

  closeDown(info: CloseInfo): void {
    if (this.#downClosed) return;
    this.#downClosed = true;
    this.down.push(info);
  }

  #endUp(info: CloseInfo): void {
    if (this.#upClosed) return;
    this.#upClosed = true;
    this.up.push(info);
  }

  /** Breaks: of what is under way a part still arrives on each side. Returns how many frames are lost. */
  cut(random: Random): number {
    const lost = this.#lose(random, this.up) + this.#lose(random, this.down);
    this.#endUp(BROKEN);
    this.closeDown(BROKEN);
    this.stalled = false;
    return lost;
  }

  /** The client's process has died. */
  clientDied(random: Random): number {
    if (this.#dead) return 0;
    const lost = this.#lose(random, this.up);
    this.#endUp(BROKEN);
    this.#dead = true;
    this.#delivery.mute();
    this.down = [];
    return lost;
  }

  /** The relay's process has died. */
  relayDied(random: Random): number {
    this.relay = undefined;
    const lost = this.up.length + this.#lose(random, this.down);
    this.up = [];
    this.#upClosed = true;
    this.closeDown(BROKEN);
    this.stalled = false;
    return lost;
  }

  #lose(random: Random, queue: Item[]): number {
    const kept = random.below(queue.length + 1);
    return queue.splice(kept).filter((item) => item instanceof Uint8Array).length;
  }

  /** Moves one item to the relay. */
  deliverUp(): Item {
    const item = this.up.shift() as Item;
    if (item instanceof Uint8Array) this.relay?.receive(item);
    else this.relay?.disconnected();
    return item;
  }

  /** Moves one item to the client. */
  deliverDown(): Item {
    const item = this.down.shift() as Item;
    if (item instanceof Uint8Array) this.#delivery.frame(item);
    else {
      this.#endUp(BROKEN);
      this.#delivery.end(item);
    }
    return item;
  }
}
