import type { Server } from "node:http";
import type { Socket } from "node:net";
import type { Clock } from "../../base/clock.js";
import type { RelayLimits } from "../limits.js";
import { networkOf } from "./address.js";
import { Counts } from "./buckets.js";

export interface HandshakeOptions {
  readonly clock: Clock;
  readonly limits: RelayLimits;
  /** False where all connections come from a proxy's address. */
  readonly perAddress: boolean;
  readonly dropped: (reason: "timeout" | "limit") => void;
}

/**
 * Bounds the TCP connections of a server that are not WebSockets yet: their number, in all and by address, and how
 * long they may take, however slowly they send. Requests without an upgrade have to end in that time too.
 */
export function guardHandshakes(server: Server, options: HandshakeOptions): void {
  const { clock, limits, perAddress, dropped } = options;
  const waiting = new Map<Socket, () => void>();
  const addresses = new Counts();

  server.on("connection", (socket: Socket) => {
    const address = networkOf(socket.remoteAddress ?? "");
    const tooMany = perAddress && addresses.of(address) >= limits.maxUnauthenticatedPerAddress;
    if (tooMany || waiting.size >= limits.maxUnauthenticated) {
      dropped("limit");
      socket.destroy();
      return;
    }
    addresses.add(address);
    const cancel = clock.after(limits.upgradeTimeout, () => {
      dropped("timeout");
      socket.destroy();
    });
    const done = () => {
      if (!waiting.delete(socket)) return;
      cancel();
      addresses.remove(address);
    };
    waiting.set(socket, done);
    socket.once("close", done);
  });
  server.on("upgrade", (_request, socket) => waiting.get(socket as Socket)?.());
}
