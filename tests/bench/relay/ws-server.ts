import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { serveCommands } from "./server-process.js";

/** What one writes with `ws` alone: each message goes to everyone in the room by `send`. Nothing is kept. */
const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
const rooms = new Map<string, Set<WebSocket>>();

server.on("connection", (socket, request) => {
  const query = new URL(request.url ?? "/", "ws://localhost").searchParams;
  const name = query.get("room") ?? "";
  const room = rooms.get(name) ?? new Set();
  rooms.set(name, room);
  if (query.has("read")) {
    room.add(socket);
    socket.on("close", () => room.delete(socket));
  }
  socket.on("message", (data) => {
    for (const reader of room) reader.send(data, { binary: true });
  });
});
server.on("listening", () => serveCommands(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`));
