/**
 * Messages and closes of one turn, in order, until they are handed to the host at its end.
 *
 * A room often sends one message to all its sockets, one by one. Equal neighbours become one broadcast, if they went to
 * all sockets, or to all but one: the host encodes a broadcast once.
 */
import * as host from "dormouse:host";
import type { Data, SocketId } from "dormouse:host";

type Entry = { data: Data; to: Set<SocketId> } | { close: SocketId; code: number; reason: string };

let entries: Entry[] = [];

export const sendLater = (id: SocketId, data: Data): void => {
  const last = entries.at(-1);
  if (last && "data" in last && !last.to.has(id) && isSame(last.data, data)) last.to.add(id);
  else entries.push({ data, to: new Set([id]) });
};

export const closeLater = (id: SocketId, code: number, reason: string): void => {
  entries.push({ close: id, code, reason });
};

/** Hands everything to the host. `connected` are the ids of all sockets. */
export const flush = (connected: () => readonly SocketId[]): void => {
  const taken = entries;
  entries = [];
  for (const entry of taken) {
    if ("close" in entry) report("ws.close()", host.close(entry.close, entry.code, entry.reason));
    else send(entry.data, entry.to, connected);
  }
};

const send = (data: Data, to: Set<SocketId>, connected: () => readonly SocketId[]): void => {
  if (to.size > 1) {
    const left = connected().filter((id) => !to.has(id));
    if (connected().length - left.length === to.size) {
      if (left.length === 0) return report("ws.send()", host.broadcast(data));
      if (left.length === 1) return report("ws.send()", host.broadcast(data, { exceptSocket: left[0] as SocketId }));
    }
  }
  for (const id of to) report("ws.send()", host.send(id, data));
};

/** A client that has left is no error: `webSocketClose` reports it. */
const report = (call: string, problem: string | null): void => {
  if (problem !== null && problem !== "gone") console.error(`${call}: the host refused it: ${problem}`);
};

const isSame = (a: Data, b: Data): boolean => {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
};
