import type { Bytes } from "../base/bytes.js";
import type { CloseInfo } from "./transport.js";

/** The receiving half of a connection: keeps frames and the end until their handlers are set. */
export class Delivery {
  #onframe: ((frame: Bytes) => void) | undefined;
  #onclose: ((info: CloseInfo) => void) | undefined;
  #frames: Bytes[] = [];
  #end: CloseInfo | undefined;
  #ended = false;
  #muted = false;
  #flushing = false;

  get onframe(): ((frame: Bytes) => void) | undefined {
    return this.#onframe;
  }

  set onframe(handler: ((frame: Bytes) => void) | undefined) {
    this.#onframe = handler;
    this.#flushSoon();
  }

  get onclose(): ((info: CloseInfo) => void) | undefined {
    return this.#onclose;
  }

  set onclose(handler: ((info: CloseInfo) => void) | undefined) {
    this.#onclose = handler;
    this.#flushSoon();
  }

  /** Delivers a frame, now or when there is a handler for it. */
  frame(frame: Bytes): void {
    if (this.#muted || this.#end !== undefined) return;
    if (this.#onframe !== undefined && this.#frames.length === 0) this.#onframe(frame);
    else this.#frames.push(frame);
  }

  /** From now on no frame is delivered, those that wait neither. */
  mute(): void {
    this.#muted = true;
    this.#frames = [];
  }

  /** Delivers the end, after all frames. Only the first counts. */
  end(info: CloseInfo): void {
    if (this.#end !== undefined) return;
    this.#end = info;
    this.#flush();
  }

  // Not inside the setter: whoever sets one handler must get to set the other.
  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    queueMicrotask(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#onframe !== undefined && this.#frames.length > 0) {
      this.#onframe(this.#frames.shift() as Bytes);
    }
    const ready = this.#end !== undefined && this.#frames.length === 0 && !this.#ended;
    if (!ready || this.#onclose === undefined) return;
    this.#ended = true;
    this.#onclose(this.#end as CloseInfo);
  }
}
