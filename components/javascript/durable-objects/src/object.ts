/** Serves a Durable Object class: makes its object when the room wakes, and passes the events of the host to it. */
import * as host from "dormouse:host";
import type { Hooks, Request as HostRequest } from "dormouse:host";

import { type Bindings, env, setBindings } from "./env.js";
import { allowFetch } from "./fetch.js";
import { check } from "./gates.js";
import { type Identity, queryWithUser } from "./identity.js";
import { recall, remember, warnOfLoss } from "./memory.js";
import { calls } from "./rooms/calls.js";
import { answerOf, calledMethod, callMethod } from "./rooms/rpc.js";
import * as connected from "./sockets/connected.js";
import { flush } from "./sockets/outgoing.js";
import { state } from "./sockets/web-socket.js";
import { DurableObjectState } from "./state.js";
import * as alarm from "./storage/alarm.js";
import { ALARM } from "./storage/journal.js";
import * as timers from "./timers.js";
import { idle, type Outcome, run, warnOfPending } from "./turn.js";
import { bytesOf } from "./web/bytes.js";
import { CloseEvent, MessageEvent } from "./web/events.js";
import { fromHost, type Request } from "./web/request.js";
import { Response, toHost, whole } from "./web/response.js";

/** How a class is served. */
export interface Options extends Bindings {
  /**
   * After a handler has thrown: `keep` logs it, and what it wrote stays, as on Cloudflare. `rollback` undoes the turn and
   * makes the object anew. A thrown `alarm()` is always undone, and tried again. Default: `keep`.
   */
  onError?: "keep" | "rollback";
  /** Fields with a `Map` or a `Set` that are stored while the room sleeps. */
  remember?: string[];
  identity?: Identity;
  /** Whether the class may reach servers with `fetch`. */
  outbound?: boolean;
}

/** The methods that a class may have. */
interface DurableObjectLike {
  fetch?(request: Request): Response | Promise<Response>;
  alarm?(info: { isRetry: boolean; retryCount: number; scheduledTime: number }): unknown;
  webSocketMessage?(socket: unknown, message: string | ArrayBuffer): unknown;
  webSocketClose?(socket: unknown, code: number, reason: string, wasClean: boolean): unknown;
}

type DurableObjectClass = new (ctx: any, env: any) => object;

/** Clients learn no more of an error. */
const FAILED = "the room failed";
const NO_ANSWER = "the room gave no answer within its turn";

export const serve = (Class: DurableObjectClass, options: Options = {}): void => {
  host.serve(hooksFor(Class, options));
};

/** Everything that the host needs of a class. */
export const hooksFor = (Class: DurableObjectClass, options: Options): Hooks => {
  setBindings(options, calls);
  alarm.setHandler("alarm" in Class.prototype);
  const world = Object.keys(options.namespaces ?? {}).length > 0 ? "connected-room" : "room";
  const outbound = options.outbound === true;
  if (outbound) allowFetch();
  return { world, outbound, idle, ...hooksOf(Class, options) };
};

const hooksOf = (Class: DurableObjectClass, options: Options): Hooks => {
  const remembered = options.remember ?? [];
  let object: DurableObjectLike;

  /** The end of each turn. Throws if the turn must fail. */
  const finish = (): void => {
    check();
    if (remembered.length > 0) remember(object, remembered);
    flush(connected.ids);
  };

  /** The end of a handler without a result. */
  const finishHandler = (name: string, outcome: Outcome): void => {
    if (outcome === "pending") warnOfPending(name);
    else if ("error" in outcome) {
      if (options.onError === "rollback") throw outcome.error;
      console.error(`${name}:`, outcome.error);
    }
    finish();
  };

  /** Before the first event: a close is in `connected` by then. */
  let isRecalled = false;
  const recallOnce = (): void => {
    if (isRecalled) return;
    isRecalled = true;
    if (remembered.length > 0) recall(object, remembered);
  };

  const lift = (request: HostRequest): Request => fromHost(request, queryWithUser(request, options.identity));

  const fetch = async (request: Request): Promise<unknown> =>
    object.fetch
      ? whole(await object.fetch(request))
      : new Response("The class has no fetch() method.", { status: 501 });

  return {
    wake: () =>
      run(
        "the constructor",
        () => {
          object = new Class(new DurableObjectState(), env) as DurableObjectLike;
        },
        (outcome) => {
          if (outcome !== "pending" && "error" in outcome) throw outcome.error;
          check();
          flush(connected.ids);
        },
      ),

    connect: (request, id) => {
      connected.arrive(id);
      recallOnce();
      const lifted = lift(request);
      lifted.headers.set("upgrade", "websocket");
      return run(
        "fetch()",
        () => fetch(lifted),
        (outcome) => {
          connected.arrived();
          if (outcome !== "pending" && "error" in outcome && options.onError === "rollback") {
            console.error("fetch():", outcome.error);
            return { status: 500, reason: FAILED };
          }
          const refusal = refusalOf(outcome, id);
          if (refusal) {
            // Unlike a refusal of the host's, an answer keeps the turn, and the object with its memory.
            connected.forget(id);
            finish();
            host.answer(toHost(refusal));
            return undefined;
          }
          const socket = connected.connected(id);
          if (socket) warnOfLoss(object, socket, remembered);
          finish();
          return undefined;
        },
      );
    },

    message: (id, data) => {
      recallOnce();
      const socket = connected.byId(id);
      const message = typeof data === "string" ? data : bufferOf(data);
      if (socket[state].isLive) {
        const name = 'a listener of "message"';
        const event = new MessageEvent("message", { data: message });
        return run(
          name,
          () => socket.dispatchEvent(event),
          (outcome) => finishHandler(name, outcome),
        );
      }
      const name = "webSocketMessage()";
      return run(
        name,
        () => object.webSocketMessage?.(socket, message),
        (outcome) => finishHandler(name, outcome),
      );
    },

    close: (id, code, reason, clean) => {
      const socket = connected.leave(id);
      recallOnce();
      if (socket[state].isLive) {
        const name = 'a listener of "close"';
        const event = new CloseEvent("close", { code, reason, wasClean: clean });
        return run(
          name,
          () => socket.dispatchEvent(event),
          (outcome) => finishHandler(name, outcome),
        );
      }
      const name = "webSocketClose()";
      return run(
        name,
        () => object.webSocketClose?.(socket, code, reason, clean),
        (outcome) => finishHandler(name, outcome),
      );
    },

    timer: (timer) => {
      recallOnce();
      if (timer.name !== ALARM) {
        const name = "a callback of setTimeout()";
        const callback = timers.isOfClosure(timer.name) ? timers.take(timer.name) : undefined;
        if (!callback) return; // its instance is gone
        return run(name, callback, (outcome) => finishHandler(name, outcome));
      }
      alarm.setRunning(true);
      const info = { isRetry: timer.attempt > 0, retryCount: timer.attempt, scheduledTime: timer.at };
      return run(
        "alarm()",
        () => object.alarm?.(info),
        (outcome) => {
          alarm.setRunning(false);
          if (outcome === "pending") warnOfPending("alarm()");
          else if ("error" in outcome) throw outcome.error; // the host tries again
          finish();
        },
      );
    },

    request: (request) => {
      recallOnce();
      const method = calledMethod(request);
      if (method !== undefined) {
        return run(
          `${method}()`,
          () => callMethod(object, method, bytesOf(request.body)),
          (outcome) => {
            finish();
            if (outcome === "pending") return answerOf({ error: new Error(`${method}(): ${NO_ANSWER}`) });
            if ("error" in outcome) console.error(`${method}():`, outcome.error);
            return answerOf(outcome);
          },
        );
      }
      return run(
        "fetch()",
        () => fetch(lift(request)),
        (outcome) => {
          const response = responseOf(outcome, options.onError === "rollback");
          finish();
          return response;
        },
      );
    },
  };
};

const responseOf = (outcome: Outcome, isRolledBack: boolean): host.Response => {
  if (outcome === "pending") {
    console.error(
      "fetch() waits for a later event or for setTimeout(); a request must be answered in its turn, so it gets 503",
    );
    return toHost(new Response(NO_ANSWER, { status: 503 }));
  }
  if ("error" in outcome) {
    if (isRolledBack) throw outcome.error;
    console.error("fetch():", outcome.error);
    return toHost(new Response(FAILED, { status: 500 }));
  }
  const { value } = outcome;
  if (!(value instanceof Response) || value.status === 101) {
    console.error(`fetch(): ${value instanceof Response ? "101 answers no upgrade" : "it returned no Response"}`);
    return toHost(new Response(FAILED, { status: 500 }));
  }
  return toHost(value);
};

/** The answer to a client that gets no socket; `undefined` if it is accepted. */
const refusalOf = (outcome: Outcome, id: host.SocketId): Response | undefined => {
  if (outcome === "pending") {
    console.error("fetch(): an upgrade must be answered in its turn; the client gets 503");
    return new Response(NO_ANSWER, { status: 503 });
  }
  if ("error" in outcome) {
    console.error("fetch():", outcome.error);
    return new Response(FAILED, { status: 500 });
  }
  const { value } = outcome;
  if (!(value instanceof Response)) {
    console.error("fetch(): it returned no Response");
    return new Response(FAILED, { status: 500 });
  }
  if (value.status !== 101) return value;
  if (value.webSocket?.[state].other?.[state].id === id) return undefined;
  console.error("fetch(): 101 needs `webSocket: pair[0]`, and pair[1] accepted with ctx.acceptWebSocket()");
  return new Response(FAILED, { status: 500 });
};

const bufferOf = (bytes: Uint8Array): ArrayBuffer =>
  bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
