import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";

const OPCODE = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** All sockets read into one buffer: nothing is kept of a message that is only counted. */
const shared = Buffer.allocUnsafe(1 << 20);

/**
 * A WebSocket client that costs as little as possible, so that what is measured is the server: messages are passed
 * on whole while the connection is set up, and from then on only counted.
 */
export class RawSocket {
  readonly socket: Socket;
  /** Takes whole messages; while there is none they are counted. */
  onMessage: ((payload: Buffer, isText: boolean) => void) | undefined;
  /** Takes the length of a message once all of it is here. */
  onCount: (length: number, isText: boolean) => void = () => {};
  onClose: () => void = () => {};
  #head: Buffer | undefined;
  #open = false;
  #left = 0;
  #length = 0;
  #opcode = 0;
  #opened: () => void = () => {};
  readonly opened = new Promise<void>((resolve) => {
    this.#opened = resolve;
  });

  constructor(url: string, protocol?: string) {
    const { hostname, port, pathname, search, host } = new URL(url);
    this.socket = connect({
      host: hostname,
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: shared,
        callback: (count, buffer) => {
          this.#take((buffer as Buffer).subarray(0, count));
          return true;
        },
      },
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => this.onClose());
    this.socket.write(
      [
        `GET ${pathname}${search} HTTP/1.1`,
        `Host: ${host}`,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
        ...(protocol === undefined ? [] : [`Sec-WebSocket-Protocol: ${protocol}`]),
        "\r\n",
      ].join("\r\n"),
    );
  }

  /** Sends one message; the bytes may be reused afterwards. */
  send(payload: Uint8Array, isText = false): void {
    this.socket.write(maskedFrame(isText ? OPCODE.text : OPCODE.binary, payload));
  }

  sendText(text: string): void {
    this.send(Buffer.from(text), true);
  }

  #take(bytes: Buffer): void {
    let chunk = bytes;
    if (this.#head !== undefined) {
      chunk = Buffer.concat([this.#head, bytes]);
      this.#head = undefined;
    }
    let at = 0;
    if (!this.#open) {
      const end = chunk.indexOf("\r\n\r\n");
      if (end < 0) {
        this.#keep(chunk);
        return;
      }
      if (!chunk.toString("latin1", 0, 12).includes("101")) throw new Error(chunk.toString("latin1", 0, end));
      this.#open = true;
      this.#opened();
      at = end + 4;
    }
    while (at < chunk.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
        if (this.#left === 0) this.onCount(this.#length, this.#opcode === OPCODE.text);
        continue;
      }
      const short = (chunk[at + 1] ?? 0) & 127;
      const header = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (chunk.length - at < header) {
        this.#keep(chunk.subarray(at));
        return;
      }
      const length =
        short < 126 ? short : short === 126 ? chunk.readUInt16BE(at + 2) : chunk.readUInt32BE(at + 6);
      const opcode = (chunk[at] as number) & 15;
      const whole = this.onMessage !== undefined || opcode >= OPCODE.close || (opcode === 1 && length < 2);
      if (!whole) {
        at += header;
        this.#left = this.#length = length;
        this.#opcode = opcode;
        continue;
      }
      if (chunk.length - at < header + length) {
        this.#keep(chunk.subarray(at));
        return;
      }
      this.#message(opcode, chunk.subarray(at + header, at + header + length));
      at += header + length;
    }
  }

  #message(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.ping) this.socket.write(maskedFrame(OPCODE.pong, payload));
    else if (opcode === OPCODE.close) this.socket.end();
    // engine.io's own ping.
    else if (opcode === OPCODE.text && payload.length === 1 && payload[0] === 0x32) this.sendText("3");
    else if (opcode !== OPCODE.pong) this.onMessage?.(payload, opcode === OPCODE.text);
  }

  #keep(rest: Buffer): void {
    this.#head = Buffer.from(rest);
  }
}

/** A client's frame with a mask of zeros: legal, and the server unmasks it all the same. */
function maskedFrame(opcode: number, payload: Uint8Array): Buffer {
  const long = payload.length > 65_535 ? 8 : payload.length > 125 ? 2 : 0;
  const frame = Buffer.alloc(6 + long + payload.length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (long === 8 ? 127 : long === 2 ? 126 : payload.length);
  if (long === 2) frame.writeUInt16BE(payload.length, 2);
  if (long === 8) frame.writeUInt32BE(payload.length, 6);
  frame.set(payload, 6 + long);
  return frame;
}
