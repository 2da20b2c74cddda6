import { unlink } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A place at which this process answers as long as it lives. */
export interface LifeSign {
  /** What others give to {@link isAlive}. */
  readonly address: string;
  stop(): Promise<void>;
}

/**
 * Starts answering at an address made of `id`, letters and digits that nobody used before. The operating system ends it with the process, however
 * that ends: an abstract socket on Linux, a named pipe on Windows, else a socket file.
 */
export function showLife(id: string): Promise<LifeSign> {
  const address = addressOf(`subrosa-${id}`);
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    // exclusive: in a cluster worker the primary process would listen, and go on when the worker is gone.
    server.listen({ path: address, exclusive: true }, () => {
      server.unref();
      server.on("error", () => {});
      resolve({ address, stop: () => new Promise((stopped) => server.close(() => stopped())) });
    });
  });
}

/** Whether the process that showed life at `address` still runs, or is at least stopped and not ended. */
export function isAlive(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path: address });
    const settle = (alive: boolean) => {
      socket.destroy();
      resolve(alive);
    };
    socket.once("connect", () => settle(true));
    // Anything but "nobody listens" (a full backlog, no permission) is somebody's sign of life.
    socket.once("error", ({ code }: NodeJS.ErrnoException) =>
      settle(code !== "ECONNREFUSED" && code !== "ENOENT" && code !== "EINVAL"),
    );
  });
}

/** Removes what a process that ended without `stop` may have left at `address`. */
export async function clearAddress(address: string): Promise<void> {
  if (address.startsWith(tmpdir()) && address.endsWith(".sock")) await unlink(address).catch(() => {});
}

function addressOf(id: string): string {
  if (process.platform === "linux") return `\0${id}`;
  if (process.platform === "win32") return `\\\\.\\pipe\\${id}`;
  return join(tmpdir(), `${id}.sock`);
}
