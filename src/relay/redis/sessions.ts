import { type Bytes, copyBytes } from "../../base/bytes.js";
import { deviceRecord } from "../embedded/records.js";
import type { RedisLink } from "./link.js";
import { deviceTag, type Names } from "./places.js";
import { ENTER } from "./scripts.js";

/** A session at this node. */
interface Entered {
  /** Grows from session to session of the device, over all nodes; unknown before Redis has given it. */
  number: number | undefined;
  readonly ended: (why: "replaced" | "revoked") => void;
}

export interface SessionOptions {
  readonly node: string;
  readonly link: RedisLink;
  readonly names: Names;
  readonly report: (error: unknown) => void;
}

const REVOKED = "revoked";

/** Finds out that a newer session of a device has begun at another node, or that its user's list lost the device. */
export class Sessions {
  readonly #options: SessionOptions;
  readonly #entered = new Map<string, Entered>();

  constructor(options: SessionOptions) {
    this.#options = options;
    options.link.onGap(() => void this.check().catch(options.report));
  }

  enter(deviceId: Bytes, ended: (why: "replaced" | "revoked") => void): () => void {
    const tag = deviceTag(deviceId);
    const entered: Entered = { number: undefined, ended };
    this.#entered.set(tag, entered);
    this.#begin(tag, entered).catch(this.#options.report);
    return () => {
      if (this.#entered.get(tag) !== entered) return;
      this.#entered.delete(tag);
      void this.#options.link.unsubscribe(this.#channel(tag)).catch(this.#options.report);
    };
  }

  #channel(tag: string): string {
    return this.#options.names.key("session", tag);
  }

  #key(tag: string): string {
    return this.#options.names.key("newest", tag);
  }

  /** Listens first and takes a number then: of two that begin at once the lower number hears of the other. */
  async #begin(tag: string, entered: Entered): Promise<void> {
    const { link, node } = this.#options;
    await link.subscribe(this.#channel(tag), (message) => this.#heard(tag, message.toString()));
    if (this.#entered.get(tag) !== entered) return;
    const keys = [this.#key(tag), this.#channel(tag)];
    const number = await link.script({ tag, script: ENTER, keys, args: [`${node} `] });
    entered.number = Number(String(number));
    await this.#compare(tag, entered);
  }

  #heard(tag: string, message: string): void {
    const [node, number] = message.split(" ");
    if (number === REVOKED) this.#end(tag, "revoked");
    else if (node !== this.#options.node) this.#newest(tag, Number(number));
  }

  /** Ends the session of a device that its user's list holds no more, wherever it is. */
  async revoke(tag: string): Promise<void> {
    const message = `${this.#options.node} ${REVOKED}`;
    await this.#options.link.command(tag, ["SPUBLISH", this.#channel(tag), message]);
  }

  #newest(tag: string, number: number): void {
    const entered = this.#entered.get(tag);
    // Without a number it will look once it has one.
    if (entered?.number !== undefined && entered.number < number) this.#end(tag, "replaced");
  }

  #end(tag: string, why: "replaced" | "revoked"): void {
    const entered = this.#entered.get(tag);
    if (entered === undefined) return;
    this.#entered.delete(tag);
    void this.#options.link.unsubscribe(this.#channel(tag)).catch(this.#options.report);
    entered.ended(why);
  }

  async #compare(tag: string, entered: Entered): Promise<void> {
    const { link, names } = this.#options;
    const [device, newest] = await Promise.all([
      link.command(tag, ["HGET", names.key("d", tag), ""]),
      link.command(tag, ["GET", this.#key(tag)]),
    ]);
    if (this.#entered.get(tag) !== entered) return;
    if (device !== null && deviceRecord.decode(copyBytes(device as Buffer)).removed)
      this.#end(tag, "revoked");
    else if (newest !== null) this.#newest(tag, Number(String(newest)));
  }

  /** Looks after every session, as messages may have been lost. */
  async check(): Promise<void> {
    await Promise.all([...this.#entered].map(([tag, entered]) => this.#compare(tag, entered)));
  }
}
