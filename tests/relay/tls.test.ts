import { createServer } from "node:https";
import { connect } from "node:tls";
import { beforeEach, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { Client } from "../../src/index.js";
import { Relay } from "../../src/relay.js";
import { SUBPROTOCOL } from "../../src/wire/protocol.js";
import { selfSigned } from "./self-signed.js";

describe("a relay on an HTTPS server of the caller's", () => {
  const { cert, key } = selfSigned();
  /** A WebSocket that trusts the test's certificate, as a browser would one of a public authority. */
  class Trusting extends WebSocket {
    constructor(url: string, protocols: string | string[]) {
      super(url, protocols, { ca: cert });
    }
  }
  let url: string;

  beforeEach(async () => {
    const server = createServer({ cert, key }, (_request, response) => response.end("the app's own page"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const relay = new Relay({ server });
    ({ url } = await relay.listen());
    return async () => {
      await relay.close();
      await new Promise((resolve) => server.close(resolve));
    };
  });

  it("carries messages over wss, and leaves the server's pages alone", async () => {
    expect(url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+$/);
    const options = { url, WebSocket: Trusting as never };
    const [alice, bob] = [
      new Client({ ...options, userId: "alice" }),
      new Client({ ...options, userId: "bob" }),
    ];
    const received = new Promise((resolve) => bob.on("message", ({ content }) => resolve(content)));
    await Promise.all([alice.connect(), bob.connect()]);
    await alice.sendDirectMessage("bob", "over TLS");
    expect(await received).toBe("over TLS");
    await Promise.all([alice.close(), bob.close()]);

    const port = Number(new URL(url).port);
    const socket = connect({ port, host: "127.0.0.1", ca: cert });
    socket.end("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let page = "";
    for await (const data of socket) page += data;
    expect(page).toContain("the app's own page");
  });

  it("is not trusted without the certificate, and compresses nothing", async () => {
    const distrusting = new WebSocket(url, SUBPROTOCOL);
    expect(
      await new Promise((resolve) => distrusting.on("error", ({ message }) => resolve(message))),
    ).toMatch(/self-signed/);
    const socket = new WebSocket(url, SUBPROTOCOL, { ca: cert, perMessageDeflate: true });
    await new Promise((resolve) => socket.once("open", resolve));
    expect(socket.extensions).toBe("");
    socket.close();
  });
});
