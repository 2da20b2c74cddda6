import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Server } from "socket.io";
import { serveCommands } from "./server-process.js";

/** What one writes with socket.io: each message is emitted to a room. WebSocket only; nothing is kept. */
const http = createServer();
const server = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

server.on("connection", (socket) => {
  const { room = "", read } = socket.handshake.query as Record<string, string>;
  if (read !== undefined) void socket.join(room);
  socket.on("m", (data) => void server.to(room).emit("m", data));
});
http.listen(0, "127.0.0.1", () =>
  serveCommands(
    `ws://127.0.0.1:${(http.address() as AddressInfo).port}/socket.io/?EIO=4&transport=websocket`,
  ),
);
