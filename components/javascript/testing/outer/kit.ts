/**
 * The names of `@dormouse/room` where a test is compiled, with their types. A test hands its classes over as text, and the
 * names mean those of the library there.
 */
import { fileURLToPath } from "node:url";

import type * as kit from "../../room/src/index.js";
import { engineRoom, isEngine } from "./engine.js";
import { Instance } from "./instance.js";
import { TestRoom } from "./test-room.js";
import { World } from "./world.js";

const elsewhere: any = new Proxy(function () {}, { get: () => elsewhere, apply: () => elsewhere });

export const Room: typeof kit.Room = class {} as never;
export const { storage, everyone, timers, context, access, is, call, List, Response, ClientError, Refusal } =
  elsewhere as Pick<
    typeof kit,
    | "storage"
    | "everyone"
    | "timers"
    | "context"
    | "access"
    | "is"
    | "call"
    | "List"
    | "Response"
    | "ClientError"
    | "Refusal"
  >;
export type { Checked, Close, Request, Socket, Timer } from "../../room/src/index.js";

const BUNDLE = fileURLToPath(new URL("../realm/room.js", import.meta.url));

const CONNECTED = fileURLToPath(new URL("../realm/room-connected.js", import.meta.url));

/** A room of this class. */
export const roomOf = (Class: object, bundle = BUNDLE): TestRoom => {
  const text = String(Class);
  if (isEngine) return engineRoom("room", text);
  const entry = /^class\b/.test(text) ? `serve((${text}));` : text;
  return new TestRoom((host) => new Instance(host, bundle, entry), new World());
};

/** A room that imports `@dormouse/room/connected`. */
export const connectedRoomOf = (Class: object): TestRoom => roomOf(Class, CONNECTED);

export const { roomAt, serverAt, waitingPosts, CallError } = elsewhere as typeof import("../../room/src/connected.js");
