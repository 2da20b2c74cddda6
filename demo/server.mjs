import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { listenOnFreePort } from "./ports.mjs";

/** What the page is made of: the files of this folder that are of one of these types. */
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};
const HEADERS = {
  "cache-control": "no-cache",
  "x-content-type-options": "nosniff",
  "content-security-policy":
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
};

/**
 * Serves the page, the built script and where the relay is, to this machine only; resolves with the URL.
 * @param {{ port: string | undefined, relay: string, demo: string, dist: string }} options
 */
export async function servePage({ port, relay, demo, dist }) {
  const page = readdirSync(demo).filter((name) => extname(name) in TYPES);
  const files = new Map(page.map((name) => [`/${name}`, join(demo, name)]));
  files.set("/", join(demo, "index.html"));
  files.set("/subrosa.global.js", join(dist, "subrosa.global.js"));
  let host;

  const server = createServer(async (request, response) => {
    // The browser keeps keys and messages by host name: under another name nobody would be who they were.
    if (request.headers.host !== host) {
      response.writeHead(308, { location: `http://${host}${request.url}` }).end();
      return;
    }
    const { pathname } = new URL(request.url, `http://${host}`);
    if (pathname === "/config.json") {
      response.writeHead(200, { ...HEADERS, "content-type": "application/json" });
      response.end(JSON.stringify({ relay }));
      return;
    }
    const path = files.get(pathname);
    const body = path && (await readFile(path).catch(() => undefined));
    if (body === undefined) {
      response.writeHead(404, { ...HEADERS, "content-type": "text/plain" }).end("Not found\n");
      return;
    }
    response.writeHead(200, { ...HEADERS, "content-type": TYPES[extname(path)] });
    response.end(body);
  });
  const listening = await listenOnFreePort(port, 8080, (candidate) => listen(server, candidate));
  host = `127.0.0.1:${listening.port}`;
  return `http://${host}/`;
}

function listen(server, port) {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      resolve(server.address());
    });
  });
}
