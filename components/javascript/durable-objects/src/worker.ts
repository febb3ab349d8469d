/**
 * Serves a Worker as the router: `export default { fetch }`, a Hono app, or a `WorkerEntrypoint`.
 *
 * A router names the room of a request, and the host fetches the answer: so sockets and streams of events reach the room
 * that a stub stands for, and the host checks the user's permissions. A Worker that reads what a stub answers, or calls a
 * method, calls the room itself, within the operator's `router_calls`. `ForwardedAnswer` decides which of the two it is:
 * an answer that is returned as it came is never called.
 */
import * as host from "dormouse:host";
import type { Decision, Destination } from "dormouse:host";

import { type Bindings, env, setBindings } from "./env.js";
import { forbidFetch } from "./fetch.js";
import { ForwardedAnswer, isForConnect, ResponseOfWorker, setReply } from "./forwarded.js";
import { send } from "./rooms/calls.js";
import type { Reach } from "./rooms/namespace.js";
import { callRequest, resultOf } from "./rooms/rpc.js";
import { waitUntil } from "./state.js";
import * as timers from "./timers.js";
import { idle, type Outcome, run } from "./turn.js";
import { fromHost, type Request } from "./web/request.js";
import { Response, toHost, whole } from "./web/response.js";

const FAILED = "the Worker failed";

/** The setting with which the operator allows the calls of a Worker. */
const ALLOWED_BY = "`router_calls`";

interface Context {
  waitUntil(promise: unknown): void;
  passThroughOnException(): void;
  props: Record<string, unknown>;
}

type Fetch = (request: Request, env: unknown, ctx: Context) => unknown;
type Worker = { fetch: Fetch } | (new (ctx: Context, env: unknown) => { fetch(request: Request): unknown });

/** The user of the request that is routed now. */
let user: host.User | undefined;

export const serveWorker = (worker: Worker, bindings: Bindings = {}): void => {
  setBindings(bindings, reach);
  Object.assign(globalThis, { Response: ResponseOfWorker });
  forbidFetch("let an object that is built with fetch() ask the server, and call it");
  timers.forbid("in a Worker", "a request is answered at once, and nothing runs after it");
  const context: Context = { waitUntil, passThroughOnException() {}, props: {} };
  const fetch = (request: Request): unknown =>
    typeof worker === "function" ? new worker(context, env).fetch(request) : worker.fetch(request, env, context);
  host.serve({
    world: Object.keys(bindings.namespaces ?? {}).length > 0 ? "connected-router" : "router",
    idle,
    route: (request) => {
      user = request.user;
      ForwardedAnswer.begin(request.method === "HEAD");
      return run(
        "fetch()",
        async () => {
          const value = await fetch(fromHost(request));
          return value instanceof ForwardedAnswer ? value : whole(value);
        },
        (outcome) => {
          const decision = decisionOf(outcome);
          ForwardedAnswer.end();
          return decision;
        },
      );
    },
  });
};

const decisionOf = (outcome: Outcome): Decision => {
  if (outcome === "pending") {
    console.error("fetch() waits for something that never comes");
    return failed();
  }
  if ("error" in outcome) {
    console.error("fetch():", outcome.error);
    return failed();
  }
  const { value } = outcome;
  if (value instanceof ForwardedAnswer) {
    const destination = value.unread();
    if (destination) return destinationOf(destination);
  }
  if (value instanceof Response && value.status !== 101) return { respond: toHost(value) };
  const got = value instanceof Response ? "101, which only a room can answer" : "no Response";
  console.error(`fetch(): it returned ${got}`);
  return failed();
};

const failed = (): Decision => ({ respond: toHost(new Response(FAILED, { status: 500 })) });

/** Sockets and event streams connect to a room; anything else is a request. */
const destinationOf = (destination: Destination): Decision => {
  const { request } = destination;
  request.user ??= user;
  return isForConnect(request) ? { connect: destination } : { request: destination };
};

const call = (namespace: string, name: string, request: host.Request): host.Response =>
  send(namespace, name, { ...request, ...(request.user || !user ? {} : { user }) }, ALLOWED_BY);

setReply(({ namespace, name, request }) => call(namespace, name, request));

const reach: Reach = {
  fetch: (namespace, name, request) => new ForwardedAnswer({ namespace, name, request }),
  call: (namespace, name, method, args) => {
    ForwardedAnswer.callAll();
    return resultOf(method, call(namespace, name, callRequest(method, args)));
  },
};
