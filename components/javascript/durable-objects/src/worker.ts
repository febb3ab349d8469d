/**
 * Serves a Worker as the router: `export default { fetch }`, a Hono app, or a `WorkerEntrypoint`.
 *
 * A router names the room, and the host fetches the answer. So the answer of a stub can be returned and not read.
 */
import * as host from "dormouse:host";
import type { Decision, Destination } from "dormouse:host";

import { type Bindings, env, setBindings } from "./env.js";
import type { Reach } from "./rooms/namespace.js";
import { waitUntil } from "./state.js";
import * as timers from "./timers.js";
import { idle, type Outcome, run } from "./turn.js";
import { unsupported } from "./unsupported.js";
import { WholeBody } from "./web/body.js";
import { Headers } from "./web/headers.js";
import { fromHost, type Request } from "./web/request.js";
import { Response, type ResponseInit, toHost } from "./web/response.js";

const FAILED = "the Worker failed";

const RETURN_IT = "a Worker can return what stub.fetch() gives, but not read or change it: the host fetches the answer";

/** Whether the client sent HEAD. Its answer has no body anyway. */
let isHead = false;

interface Context {
  waitUntil(promise: unknown): void;
  passThroughOnException(): void;
  props: Record<string, unknown>;
}

type Fetch = (request: Request, env: unknown, ctx: Context) => unknown;
type Worker = { fetch: Fetch } | (new (ctx: Context, env: unknown) => { fetch(request: Request): unknown });

export const serveWorker = (worker: Worker, bindings: Bindings = {}): void => {
  setBindings(bindings, forwards);
  timers.forbid("in a Worker", "each request runs in an instance of its own that ends with it");
  Object.assign(globalThis, { Response: ResponseOfWorker });
  const context: Context = { waitUntil, passThroughOnException() {}, props: {} };
  const fetch = (request: Request): unknown =>
    typeof worker === "function" ? new worker(context, env).fetch(request) : worker.fetch(request, env, context);
  host.serve({
    world: "router",
    idle,
    route: (request) => {
      isHead = request.method === "HEAD";
      return run(
        "fetch()",
        () => fetch(fromHost(request)),
        (outcome) => decisionOf(outcome, request.user),
      );
    },
  });
};

const decisionOf = (outcome: Outcome, user: host.User | undefined): Decision => {
  if (outcome === "pending") {
    console.error("fetch() waits for something that never comes");
    return { respond: toHost(new Response(FAILED, { status: 500 })) };
  }
  if ("error" in outcome) {
    console.error("fetch():", outcome.error);
    return { respond: toHost(new Response(FAILED, { status: 500 })) };
  }
  const { value } = outcome;
  if (value instanceof Forwarded) return destinationOf(value, user);
  if (value instanceof Response && value.status !== 101) return { respond: toHost(value) };
  const got = value instanceof Response ? "101, which only a room can answer" : "no Response";
  console.error(`fetch(): it returned ${got}`);
  return { respond: toHost(new Response(FAILED, { status: 500 })) };
};

/** Sockets and event streams connect to a room; anything else is a request. */
const destinationOf = (forwarded: Forwarded, user: host.User | undefined): Decision => {
  const { destination } = forwarded;
  const { request } = destination;
  request.user ??= user;
  const header = (name: string) => request.headers.find(([known]) => known === name)?.[1]?.toLowerCase();
  const connects = header("upgrade") === "websocket" || (header("accept") ?? "").includes("text/event-stream");
  return connects ? { connect: destination } : { request: destination };
};

/** Throws when it is changed or read. */
class HeadersOfAnswer extends Headers {
  override append(): never {
    return unsupported("headers.append() of a stub's answer", RETURN_IT);
  }

  override set(): never {
    return unsupported("headers.set() of a stub's answer", RETURN_IT);
  }

  override get(): never {
    return unsupported("headers.get() of a stub's answer", RETURN_IT);
  }

  override has(): never {
    return unsupported("headers.has() of a stub's answer", RETURN_IT);
  }

  override delete(): never {
    return unsupported("headers.delete() of a stub's answer", RETURN_IT);
  }

  override entries(): never {
    return unsupported("the headers of a stub's answer", RETURN_IT);
  }
}

/** Stands for the answer that the host will fetch. */
class Forwarded extends Response {
  readonly destination: Destination;
  readonly #headers = new HeadersOfAnswer();

  constructor(destination: Destination) {
    super();
    this.destination = destination;
  }

  override get status(): never {
    return unsupported("the status of a stub's answer", RETURN_IT);
  }

  override get ok(): never {
    return unsupported("the status of a stub's answer", RETURN_IT);
  }

  override get statusText(): never {
    return unsupported("the status of a stub's answer", RETURN_IT);
  }

  override get webSocket(): never {
    return unsupported("the webSocket of a stub's answer", RETURN_IT);
  }

  override get headers(): Headers {
    return this.#headers;
  }

  /** `new Response(answer.body, answer)` is the same answer again. */
  override get body(): WholeBody {
    return new BodyOfAnswer();
  }

  override clone(): Forwarded {
    return new Forwarded(this.destination);
  }

  override async text(): Promise<never> {
    return unsupported("text() of a stub's answer", RETURN_IT);
  }

  override async json(): Promise<never> {
    return unsupported("json() of a stub's answer", RETURN_IT);
  }

  override async bytes(): Promise<never> {
    return unsupported("bytes() of a stub's answer", RETURN_IT);
  }

  override async arrayBuffer(): Promise<never> {
    return unsupported("arrayBuffer() of a stub's answer", RETURN_IT);
  }
}

class BodyOfAnswer extends WholeBody {
  constructor() {
    super("");
  }

  override getReader(): never {
    return unsupported("the body of a stub's answer", RETURN_IT);
  }

  override [Symbol.asyncIterator](): never {
    return unsupported("the body of a stub's answer", RETURN_IT);
  }
}

/** `Response` in a Worker: a copy of a stub's answer is that answer. HEAD has no body, so frameworks copy it without. */
class ResponseOfWorker extends Response {
  constructor(body?: unknown, init: ResponseInit = {}) {
    if (init instanceof Forwarded) {
      const isWithoutBody = isHead && (body === null || body === undefined);
      if (body instanceof BodyOfAnswer || isWithoutBody) {
        super();
        return init.clone();
      }
      unsupported("new Response() with the headers of a stub's answer", RETURN_IT);
    }
    if (body instanceof BodyOfAnswer) unsupported("new Response() with the body of a stub's answer", RETURN_IT);
    super(body, init);
  }
}

const forwards: Reach = {
  fetch: (namespace, name, request) => new Forwarded({ namespace, name, request }),
  call: (_namespace, _room, method) =>
    unsupported(`stub.${method}() in a Worker`, "send a request with stub.fetch() and return its answer"),
};
