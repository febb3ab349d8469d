/** Passes the events of the host to a room's object. An error that is not for a client fails the turn. */
import * as host from "dormouse:host";
import type { Hooks, Refusal as HostRefusal, SocketId } from "dormouse:host";

import { answerFrame, callIn, type CallFrame, callOf, type Calls, errorFrame, runCall } from "./calls.js";
import { checked } from "./check.js";
import { ClientError, Refusal } from "./errors.js";
import { Request, Response, toHost } from "./http.js";
import * as once from "./once.js";
import type { Room, RoomClass } from "./room.js";
import { forget, socketOf } from "./sockets.js";
import { timerOf } from "./timers.js";
import { begin, firstChange } from "./turn.js";
import { world } from "./world.js";

/** Clients of the protocol send this text when they hear nothing, and the host answers without the room. */
const PING = '{"type":"ping"}';
const PONG = '{"type":"pong"}';

/** Serves a class of rooms. Called once, at the top level of the bundle. */
export const serve = (Class: RoomClass): void => {
  host.serve(hooksFor(Class));
};

/** Everything that the host needs of a class. */
export const hooksFor = (Class: RoomClass): Hooks => ({
  world: world(),
  ...hooksOf(Class),
  ...migrationOf(Class),
  ...personalDataOf(Class),
});

let room: Room<any>;

const hooksOf = (Class: RoomClass): Hooks => ({
  wake: () => {
    host.setAutoResponse(PING, PONG);
    once.reset();
    room = new Class();
  },

  connect: (request, id) => {
    begin();
    try {
      noPromise("connect", room.connect?.(new Request(request), socketOf(id)));
      return undefined;
    } catch (error) {
      forget(id); // the instance is dropped, but it is right without knowing that
      return refusalOf(error);
    }
  },

  message: (id, data) => {
    begin();
    const sender = socketOf(id);
    if (typeof data === "string") return hear(id, data);
    if (!room.bytes) return sendError(id, new ClientError("not_text", "this room takes text messages"));
    try {
      noPromise("bytes", room.bytes(sender, data));
    } catch (error) {
      sendError(id, clientErrorOf(error));
    }
  },

  close: (id, code, reason, clean) => {
    begin();
    noPromise("close", room.close?.(socketOf(id), { code, reason, clean }));
    forget(id);
  },

  timer: (timer) => {
    begin();
    if (!room.timer) throw new Error(`the timer ${JSON.stringify(timer.name)} is due, but the room has no timer()`);
    noPromise("timer", room.timer(timerOf(timer)));
  },

  request: (request) => {
    begin();
    if (!room.request) return toHost(Response.problem(404, "this room answers no requests"));
    try {
      return toHost(noPromise("request", room.request(new Request(request))));
    } catch (error) {
      if (error instanceof ClientError && !firstChange()) {
        return toHost(Response.problem(400, error.message, { code: error.code }));
      }
      const { status, reason } = refusalOf(error);
      return toHost(Response.problem(status, reason));
    }
  },
});

/** Handles a text: a call, or a message. */
const hear = (id: SocketId, text: string): void => {
  let call;
  try {
    const said = parse(text);
    call = room.calls && callIn(said);
    if (call && room.calls) {
      answer(id, room.calls, call);
    } else if (isPing(said)) {
      host.send(id, PONG); // in another spelling than that which the host answers
    } else if (room.message) {
      const message = room.hears ? checked(room.hears, said, "bad_message") : said;
      noPromise("message", room.message(socketOf(id), message));
    } else {
      throw new ClientError("unknown_type", "this room takes calls only");
    }
  } catch (error) {
    const problem = clientErrorOf(error);
    if (call) host.send(id, JSON.stringify(errorFrame(call.id, problem)));
    else sendError(id, problem, text);
  }
};

/** Runs a call, or answers it with what it has answered before. */
const answer = (socket: SocketId, calls: Calls, frame: CallFrame): void => {
  const call = callOf(calls, frame.name);
  const caller = socketOf(socket);
  const isKept = frame.once && !call.readOnly;
  const before = isKept ? once.answered(caller.user.id, frame.id, frame.name) : undefined;
  if (before !== undefined) return void host.send(socket, before);
  const value = answerFrame(frame.id, noPromise(`calls.${frame.name}`, runCall(call, frame, caller)));
  // A refusal has changed nothing, so the call may as well be judged again.
  if (isKept) once.keep(caller.user.id, frame.id, frame.name, JSON.stringify(value));
  caller.send(value);
};

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    throw new ClientError("bad_json", "the message is not JSON");
  }
};

const isPing = (said: unknown): boolean =>
  typeof said === "object" && said !== null && (said as { type?: unknown }).type === "ping";

/** Sends an error frame to the sender alone, with the `clientId` of the message if it has one. */
const sendError = (id: SocketId, { code, message }: ClientError, text = ""): void => {
  host.send(id, JSON.stringify({ type: "error", code, message, ...clientIdIn(text) }));
};

const clientIdIn = (text: string): { clientId?: string } => {
  try {
    const { clientId } = JSON.parse(text);
    return typeof clientId === "string" && clientId.length <= 128 ? { clientId } : {};
  } catch {
    return {};
  }
};

/** The error for the client. Any other error fails the turn, and so does one behind a change. */
const clientErrorOf = (error: unknown): ClientError => {
  if (!(error instanceof ClientError)) throw error;
  refuseBehindChange(error);
  return error;
};

const refusalOf = (error: unknown): HostRefusal => {
  if (error instanceof ClientError) return refusalOf(new Refusal(400, error.message));
  if (!(error instanceof Refusal)) throw error;
  return { status: error.status, reason: error.message };
};

const refuseBehindChange = (error: Error): void => {
  const change = firstChange();
  if (change === undefined) return;
  throw new Error(
    `a ${error.name} came behind a change of the turn (${change}): ${error.message}; nothing of the turn is kept. ` +
      "Check first, then change",
  );
};

/** A handler that was written with `async` would run on behind its turn. */
const noPromise = <T>(handler: string, result: T): T => {
  if (!(result instanceof Promise)) return result;
  throw new TypeError(`${handler} returned a promise: rooms of @dormouse/room are synchronous; remove async and await`);
};

const migrationOf = ({ dataVersion, migrate }: RoomClass): Partial<Hooks> =>
  dataVersion === undefined || !migrate ? {} : { dataVersion, migrate: (from) => noPromise("migrate", migrate(from)) };

const personalDataOf = ({ prototype }: RoomClass & { prototype?: Room }): Partial<Hooks> =>
  prototype?.exportUser && prototype.eraseUser
    ? {
        exportUser: (user, after) => (room.exportUser as NonNullable<Room["exportUser"]>)(user, after),
        eraseUser: (user, after) => {
          once.forgetUser(user);
          return (room.eraseUser as NonNullable<Room["eraseUser"]>)(user, after);
        },
      }
    : {};
