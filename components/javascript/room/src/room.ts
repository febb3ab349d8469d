/** The class that a room extends. Its object lives as long as the instance: memory is a cache. */
import type { Exported, Erased } from "dormouse:host";

import type { Calls } from "./calls.js";
import type { Schema } from "./check.js";
import type { Request, Response } from "./http.js";
import { serve } from "./serve.js";
import { everyone, type Selection, type Socket } from "./sockets.js";
import { type Storage, storage } from "./storage.js";
import type { Timer } from "./timers.js";

/** By this the engine finds the hooks of a bundle whose default export is the class. */
const SERVE: unique symbol = Symbol.for("dormouse.serve");

/** The types of a room. Each may be left out, and is then anything. */
export interface Types {
  /** A message of a client. */
  hears?: unknown;
  /** A message to a client. */
  says?: unknown;
  /** The room's data about a socket. */
  attachment?: unknown;
  /** The stored values, by key. */
  state?: object;
}

type Type<T extends Types, Name extends keyof Types> = Name extends keyof T ? T[Name] : any;
type SocketOf<T extends Types> = Socket<Type<T, "says">, Type<T, "attachment">>;
type StateOf<T extends Types> = T extends { state: infer State extends object } ? State : Record<string, any>;

/** The end of a connection. */
export interface Close {
  code: number;
  reason: string;
  /** Whether the client closed it; otherwise the connection was lost. */
  clean: boolean;
}

/**
 * A room. Each method is one event and one turn: it returns, and everything that it wrote, set and sent takes effect
 * together, or it throws, and nothing does. There are no promises.
 */
export abstract class Room<T extends Types = {}> {
  static [SERVE](Class: RoomClass): void {
    serve(Class);
  }

  /** The room's storage, with the types of `state`. */
  protected readonly storage: Storage<StateOf<T>> = storage as never;
  /** All sockets, with the types of `says` and `attachment`. */
  protected readonly everyone: Selection<Type<T, "says">, Type<T, "attachment">> = everyone;

  /** Checks messages before `message` gets them. The sender of a wrong one gets an error. */
  hears?: Schema<Type<T, "hears">>;

  /** The calls that clients can make, each with a check of its arguments. */
  calls?: Calls;

  /** A client asks to connect. A `Refusal` turns it down. */
  connect?(request: Request, socket: SocketOf<T>): void;

  /** A client sent JSON. */
  message?(sender: SocketOf<T>, said: Type<T, "hears">): void;

  /** A client sent bytes. Without this method it gets an error. */
  bytes?(sender: SocketOf<T>, bytes: Uint8Array): void;

  /** A client has left. Its socket is no more in `everyone`, but its user, tags and attachment can be read. */
  close?(socket: SocketOf<T>, close: Close): void;

  /** A timer is due. After a throw the host tries again: after 2, 4, 8, 16, 32 and 64 s. */
  timer?(timer: Timer): void;

  /** A request. Returns a `Response`, or a value that is sent as JSON. */
  request?(request: Request): Response | unknown;

  /** What the room keeps about a user, as JSON texts, for the user. With `eraseUser`. */
  exportUser?(user: string, after: string | undefined): Exported;

  /** Erases what the room keeps about a user. */
  eraseUser?(user: string, after: string | undefined): Erased;
}

/** A class of rooms. */
export interface RoomClass {
  new (): Room<any>;
  /** The version of the stored data. With `migrate`. */
  readonly dataVersion?: number;
  /** Makes data of the version `from` data of `dataVersion`. Runs before the room's object is made. */
  migrate?(from: number): void;
}
