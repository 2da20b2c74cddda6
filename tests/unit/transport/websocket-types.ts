import WebSocketOfWs, { WebSocket as NamedWebSocketOfWs } from "ws";
import type { WebSocketConstructor } from "../../../src/transport/websocket.js";

/** Compiles only while both platforms' classes can be passed as the option `WebSocket`. */
export const accepted: WebSocketConstructor[] = [WebSocket, WebSocketOfWs, NamedWebSocketOfWs];
