/**
 * The sockets of the room: asked of the host once in each instance, then kept current by the events. It also knows the
 * socket of the client that connects in this turn.
 */
import * as host from "dormouse:host";
import type { SocketId } from "dormouse:host";

import { state, WebSocket } from "./web-socket.js";

/** In the order in which they connected. */
let known: Map<SocketId, WebSocket> | undefined;

/** The id of the client that asks to connect, until a socket is accepted for it. */
let arriving: SocketId | undefined;

/** The socket that left last. The host counts it no more, also when its close wakes the room. */
let leaving: WebSocket | undefined;

const sockets = (): Map<SocketId, WebSocket> =>
  (known ??= new Map(
    host
      .socketIds()
      .filter((id) => id !== arriving)
      .map((id) => [id, WebSocket.ofClient(id)]),
  ));

export const all = (): WebSocket[] => [...sockets().values()];

export const ids = (): SocketId[] => [...sockets().keys()];

/** The socket with this id. It may have left already. */
export const byId = (id: SocketId): WebSocket => connected(id) ?? WebSocket.ofClient(id);

/** Also the one that leaves in this turn. */
export const connected = (id: SocketId): WebSocket | undefined =>
  sockets().get(id) ?? (leaving?.[state].id === id ? leaving : undefined);

/** Binds a socket to the client that connects in this turn. */
export const accept = (socket: WebSocket): SocketId => {
  if (socket[state].id !== undefined) throw new Error("ctx.acceptWebSocket(): this WebSocket was accepted already");
  if (arriving === undefined) {
    throw new Error("ctx.acceptWebSocket(): only once, and while a client connects: in fetch(), for an upgrade");
  }
  const id = arriving;
  const { early } = socket[state];
  sockets().set(id, socket);
  arriving = undefined;
  socket[state].id = id;
  if (early !== undefined) host.setAttachment(id, early);
  return id;
};

/** A client asks to connect. */
export const arrive = (id: SocketId): void => {
  arriving = id;
};

/** The turn of its connect has ended. */
export const arrived = (): void => {
  arriving = undefined;
};

/** A client has left. */
export const leave = (id: SocketId): WebSocket => {
  const socket = byId(id);
  sockets().delete(id);
  WebSocket.left(socket);
  leaving = socket;
  return socket;
};
