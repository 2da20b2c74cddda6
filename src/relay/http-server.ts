import { createServer, type Server as HttpServer, type RequestListener } from "node:http";
import type { Server as HttpsServer } from "node:https";
import type { AddressInfo } from "node:net";

/** A server of the relay's own that listens. Rejects with what Node throws for an address it cannot listen on. */
export async function listenHttp(host: string, port: number, listener: RequestListener): Promise<HttpServer> {
  const http = createServer({ keepAliveTimeout: 1000 }, listener);
  await new Promise<void>((resolve, reject) => {
    http.once("error", reject);
    http.listen(port, host, () => {
      http.off("error", reject);
      resolve();
    });
  });
  return http;
}

export function stopServer(server: HttpServer | HttpsServer): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    // WebSockets are none of its connections any more.
    server.closeAllConnections();
  });
}

/** What a URL says for a listening address; a wildcard is reached by loopback. */
export function urlParts(address: AddressInfo | string | null): { host: string; port: number } {
  if (address === null || typeof address === "string") return { host: "127.0.0.1", port: 0 };
  const wildcard = address.address === "0.0.0.0" || address.address === "::";
  const host = wildcard
    ? "127.0.0.1"
    : address.address.includes(":")
      ? `[${address.address}]`
      : address.address;
  return { host, port: address.port };
}
