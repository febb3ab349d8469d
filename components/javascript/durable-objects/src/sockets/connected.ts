/**
 * The sockets of the room: asked of the host once in each instance, then kept current by the events. It also knows the
 * socket of the client that connects in this turn.
 */
import * as host from "dormouse:host";
import type { SocketId } from "dormouse:host";

import { closeLater } from "./outgoing.js";
import { onAccept, state, WebSocket } from "./web-socket.js";

/** The tag of sockets that were accepted by `ws.accept()`. An author's tag has no such byte. */
const LIVE = "\u0000live";

/** What clients learn whose listeners are gone with the instance before. They come back. */
const ASLEEP: [number, string] = [1012, "the object was asleep; come back"];

/** In the order in which they connected. */
let known: Map<SocketId, WebSocket> | undefined;

/** The id of the client that asks to connect, until a socket is accepted for it. */
let arriving: SocketId | undefined;

/** The socket that left last. The host counts it no more, also when its close wakes the room. */
let leaving: WebSocket | undefined;

const sockets = (): Map<SocketId, WebSocket> => {
  if (known) return known;
  const ids = host.socketIds().filter((id) => id !== arriving);
  known = new Map(ids.map((id) => [id, WebSocket.ofClient(id)]));
  // Their listeners were in the memory of an earlier instance.
  for (const id of ids.length > 0 ? host.socketIds({ tag: LIVE }) : []) {
    const socket = known.get(id);
    if (!socket) continue;
    socket[state].isLive = true;
    closeLater(id, ...ASLEEP);
  }
  return known;
};

/** Those that hibernate. */
export const all = (): WebSocket[] => [...sockets().values()].filter((socket) => !socket[state].isLive);

export const ids = (): SocketId[] => [...sockets().keys()];

/** The socket with this id. It may have left already. */
export const byId = (id: SocketId): WebSocket => connected(id) ?? WebSocket.ofClient(id);

/** Also the one that leaves in this turn. */
export const connected = (id: SocketId): WebSocket | undefined =>
  sockets().get(id) ?? (leaving?.[state].id === id ? leaving : undefined);

/** Binds a socket to the client that connects in this turn. */
export const accept = (socket: WebSocket, call = "ctx.acceptWebSocket()"): SocketId => {
  if (socket[state].id !== undefined) throw new Error(`${call}: this WebSocket was accepted already`);
  if (arriving === undefined) {
    throw new Error(`${call}: only once, and while a client connects: in fetch(), for an upgrade`);
  }
  const id = arriving;
  const { early } = socket[state];
  sockets().set(id, socket);
  arriving = undefined;
  socket[state].id = id;
  if (early !== undefined) host.setAttachment(id, early);
  return id;
};

onAccept((socket) => {
  const id = accept(socket, "ws.accept()");
  socket[state].isLive = true;
  host.setTags(id, [LIVE]);
});

/** A client asks to connect. */
export const arrive = (id: SocketId): void => {
  arriving = id;
};

/** The turn of its connect has ended. */
export const arrived = (): void => {
  arriving = undefined;
};

/** The client that asked to connect gets no socket. */
export const forget = (id: SocketId): void => {
  const socket = known?.get(id);
  if (!socket) return;
  known?.delete(id);
  WebSocket.left(socket);
};

/** A client has left. */
export const leave = (id: SocketId): WebSocket => {
  const socket = byId(id);
  sockets().delete(id);
  WebSocket.left(socket);
  leaving = socket;
  return socket;
};
