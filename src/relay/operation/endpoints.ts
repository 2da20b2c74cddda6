import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";

/** What the endpoints tell of. */
export interface Operated {
  ready(): Promise<boolean>;
  metrics(): Promise<string>;
}

const TEXT = { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" };

function answer(response: ServerResponse, status: number, text: string, headers = {}): void {
  response.writeHead(status, { ...TEXT, ...headers }).end(`${text}\n`);
}

/**
 * `/healthz`: the process answers. `/readyz`: it takes connections and its storage serves, else 503. `/metrics`, only
 * with `withMetrics`: numbers that are nobody else's business. Anything else gets told what this is.
 */
export function endpoints(relay: Operated, withMetrics: boolean): RequestListener {
  return (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url?.split("?")[0];
    if (request.method !== "GET" && request.method !== "HEAD") answer(response, 405, "method not allowed");
    else if (path === "/healthz") answer(response, 200, "ok");
    else if (path === "/readyz") {
      relay.ready().then(
        (ready) => answer(response, ready ? 200 : 503, ready ? "ready" : "not ready"),
        () => answer(response, 503, "not ready"),
      );
    } else if (withMetrics && path === "/metrics") {
      relay.metrics().then(
        (text) => answer(response, 200, text.trimEnd(), { "content-type": "text/plain; version=0.0.4" }),
        () => answer(response, 500, "the metrics could not be read"),
      );
    } else if (withMetrics) answer(response, 404, "/healthz, /readyz and /metrics are here");
    else answer(response, 426, "This is a Subrosa relay: connect by WebSocket.", { upgrade: "websocket" });
  };
}
