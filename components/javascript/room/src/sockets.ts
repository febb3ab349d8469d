/**
 * The clients of the room. A socket outlives the instance: it keeps its tags and its attachment when the room sleeps.
 * Messages are JSON, or bytes as they are; they leave when the turn has committed.
 */
import * as host from "dormouse:host";
import type { Filter, Permission, SocketId, User } from "dormouse:host";

import { change } from "./turn.js";

export type { Permission, User };

/** One client's connection. */
export interface Socket<Says = any, Attachment = any> {
  /** A number that no other socket of this host has, or ever had, in decimal digits. */
  readonly id: string;
  /** The client's user, as the host verified it. */
  readonly user: User;
  /** The claims of the user's token. */
  readonly claims: Record<string, unknown>;
  /** The room's own data about this client; `undefined` at first. At most 16,384 bytes. */
  attachment: Attachment | undefined;
  /** Labels, by which `everyone.tagged` finds it. At most 10, of 256 bytes each. */
  tags: string[];
  /** The bytes that wait to be sent to this client. */
  readonly buffered: number;
  /** Whether the user has a permission in this room. */
  may(permission: Permission): boolean;
  /** Sends a message to this client. At most 1 MiB. */
  send(message: Says | Uint8Array): void;
  /** As `send`, with an id that a reader of server-sent events names when it reconnects. 1 to 128 visible characters. */
  sendWithId(message: Says | Uint8Array, id: string): void;
  /** Closes the connection, after the messages before. 1000 to 1003, 1007 to 1014, or 3000 to 4999. */
  close(code?: number, reason?: string): void;
}

/** Some of the room's sockets. */
export interface Selection<Says = any, Attachment = any> extends Iterable<Socket<Says, Attachment>> {
  /** All but this socket. */
  except(socket: Socket): Selection<Says, Attachment>;
  /** All but the sockets of the user with this id. */
  exceptUser(id: string): Selection<Says, Attachment>;
  /** Only sockets with this tag. */
  tagged(tag: string): Selection<Says, Attachment>;
  /** Only sockets of the user with this id. */
  ofUser(id: string): Selection<Says, Attachment>;
  /** How many there are. */
  readonly count: number;
  /** Sends one message to all of them. The host encodes it once. */
  send(message: Says | Uint8Array): void;
  /** As `send`, with an id as `socket.sendWithId` has it. */
  sendWithId(message: Says | Uint8Array, id: string): void;
}

class RoomSocket implements Socket {
  readonly id: SocketId;

  constructor(id: SocketId) {
    this.id = id;
  }

  get user(): User {
    const user = host.user(this.id);
    if (user) return user;
    throw new Error(`socket ${this.id} has left in an earlier turn: keep what you need of its user`);
  }

  get claims(): Record<string, unknown> {
    return JSON.parse(host.socketClaims(this.id) ?? "{}");
  }

  get attachment(): unknown {
    const bytes = host.attachment(this.id);
    return bytes.length === 0 ? undefined : host.decode(bytes);
  }

  set attachment(value: unknown) {
    change("an attachment");
    const bytes = value === undefined ? new Uint8Array() : host.encode(value);
    check("socket.attachment", host.setAttachment(this.id, bytes), `${bytes.length} bytes; at most 16,384 are allowed`);
  }

  get tags(): string[] {
    return host.tags(this.id);
  }

  set tags(tags: string[]) {
    change("tags");
    check("socket.tags", host.setTags(this.id, tags), "at most 10 tags of 256 bytes are allowed");
  }

  get buffered(): number {
    return host.buffered(this.id);
  }

  may(permission: Permission): boolean {
    return host.socketPermissions(this.id).includes(permission);
  }

  send(message: unknown): void {
    change("a message");
    check("socket.send", host.send(this.id, dataOf(message)), TOO_LONG);
  }

  sendWithId(message: unknown, id: string): void {
    change("a message");
    check("socket.sendWithId", host.send(this.id, dataOf(message), id), TOO_LONG);
  }

  close(code = 1000, reason = ""): void {
    change("a close");
    check("socket.close", host.close(this.id, code, reason), "a reason has at most 123 bytes");
  }
}

class RoomSelection implements Selection {
  readonly #filter: Filter;

  constructor(filter: Filter) {
    this.#filter = filter;
  }

  except(socket: Socket): Selection {
    return this.#with({ exceptSocket: socket.id });
  }

  exceptUser(id: string): Selection {
    return this.#with({ exceptUser: id });
  }

  tagged(tag: string): Selection {
    return this.#with({ tag });
  }

  ofUser(id: string): Selection {
    return this.#with({ user: id });
  }

  get count(): number {
    return host.socketCount(this.#filter);
  }

  send(message: unknown): void {
    change("a message");
    check("everyone.send", host.broadcast(dataOf(message), this.#filter), TOO_LONG);
  }

  sendWithId(message: unknown, id: string): void {
    change("a message");
    check("everyone.sendWithId", host.broadcast(dataOf(message), this.#filter, id), TOO_LONG);
  }

  *[Symbol.iterator](): Iterator<Socket> {
    for (const id of host.socketIds(this.#filter)) yield socketOf(id);
  }

  /** A condition of a kind replaces an earlier one: the host knows one socket or one user to leave out. */
  #with(condition: Filter): Selection {
    const { exceptSocket, exceptUser, ...others } = this.#filter;
    const kept = "exceptSocket" in condition || "exceptUser" in condition ? others : this.#filter;
    return new RoomSelection({ ...kept, ...condition });
  }
}

/** Every socket of the room. Narrow the selection, then use it: `everyone.except(sender).send(news)`. */
export const everyone: Selection = new RoomSelection({});

const sockets = new Map<SocketId, Socket>();

/** The same object for the same socket, as long as the instance lives. */
export const socketOf = (id: SocketId): Socket => {
  let socket = sockets.get(id);
  if (!socket) sockets.set(id, (socket = new RoomSocket(id)));
  return socket;
};

/** A socket has left. */
export const forget = (id: SocketId): void => {
  sockets.delete(id);
};

const TOO_LONG = "a message has at most 1 MiB";

const dataOf = (message: unknown): string | Uint8Array => {
  if (message instanceof Uint8Array) return message;
  const text = JSON.stringify(message);
  if (text === undefined) throw new TypeError(`${String(message)} cannot be sent: it is not JSON`);
  return text;
};

/** A client that has left is no error: `close` reports it. */
const check = (call: string, problem: host.EventProblem | null, tooLarge: string): void => {
  if (problem === null || problem === "gone") return;
  const reasons: Record<string, string> = {
    "too-large": tooLarge,
    "too-many": tooLarge,
    "bad-close-code": "a room closes with 1000 to 1003, 1007 to 1014, or 3000 to 4999",
    "bad-id": "an id has 1 to 128 visible ASCII characters",
  };
  throw new RangeError(`${call}: ${reasons[problem] ?? problem}`);
};
