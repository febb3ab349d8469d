/** Workers as the router. */
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import test from "node:test";

import { TestHost } from "../../testing/outer/objects.js";
import { routerOf, TestRouter } from "../../testing/outer/router.js";
import type { Calls } from "../../testing/outer/world.js";

const namespaces = { ROOMS: "ROOMS" };

const forwarding = routerOf(
  {
    async fetch(request: Request, env: any): Promise<Response> {
      const { pathname } = new URL(request.url);
      const stub = env.ROOMS.getByName("lobby");
      switch (pathname) {
        case "/forward":
          return stub.fetch(request);
        case "/rewritten":
          return stub.fetch(new Request("http://room/other?a=b", request));
        case "/copied": {
          const answer = await stub.fetch(request);
          return new Response(answer.body, answer);
        }
        case "/unique":
          return env.ROOMS.get(env.ROOMS.idFromString(env.ROOMS.idFromName("é/x").toString())).fetch(request);
        default:
          return Response.json({ pathname, greeting: env.GREETING }, { status: 404 });
      }
    },
  },
  { namespaces, vars: { GREETING: "hello" } },
);

test("a Worker answers itself, or forwards to a room", () => {
  const { respond } = forwarding.route({ path: "/x" });
  assert.deepEqual([respond.status, respond.body], [404, '{"pathname":"/x","greeting":"hello"}']);
  const { request } = forwarding.route({ path: "/forward", query: "a=1", body: "text" });
  assert.deepEqual([request.namespace, request.name], ["ROOMS", "lobby"]);
  assert.deepEqual([request.request.method, request.request.path, request.request.query], ["POST", "/forward", "a=1"]);
  assert.equal(request.request.body, "text");
});

test("the verified user goes on with a forwarded request", () => {
  const user = { id: "7", name: "Ana" };
  assert.deepEqual(forwarding.route({ path: "/forward", user }).request.request.user, user);
  assert.deepEqual(forwarding.route({ path: "/rewritten", user }).request.request.user, user);
  assert.equal(forwarding.route({ path: "/forward", user: null }).request.request.user, undefined);
});

test("a rewritten URL and a copied answer are forwarded", () => {
  const { request } = forwarding.route({ path: "/rewritten", headers: { "x-a": "b" } }).request;
  assert.deepEqual([request.path, request.query], ["/other", "a=b"]);
  assert.ok(request.headers.some(([name, value]: string[]) => name === "x-a" && value === "b"));
  assert.equal(forwarding.route({ path: "/copied" }).request.name, "lobby");
  assert.equal(forwarding.route({ path: "/unique" }).request.name, "é/x");
});

test("upgrades and event streams connect to a room", () => {
  assert.equal(forwarding.route({ path: "/forward", headers: { upgrade: "WebSocket" } }).connect.name, "lobby");
  assert.equal(forwarding.route({ path: "/forward", headers: { accept: "text/event-stream" } }).connect.name, "lobby");
});

test("a WorkerEntrypoint and its context serve too", () => {
  const router = routerOf(
    class extends WorkerEntrypoint {
      override async fetch(): Promise<Response> {
        this.ctx.waitUntil(Promise.resolve());
        this.ctx.passThroughOnException();
        await new Promise((resolve) => setTimeout(resolve, 0));
        return new Response((this.env as any).NAME);
      }
    },
    { vars: { NAME: "entry" } },
  );
  assert.equal(router.route({}).respond.body, "entry");
});

/** Calls rooms before it decides. */
const calling = (fetch: (request: Request, env: any) => Promise<Response>, answer?: Calls): Asked => {
  const router = routerOf({ fetch }, { namespaces });
  const asked: string[] = [];
  if (answer) {
    router.world.calls = (namespace, name, request) => {
      asked.push(`${request.method} ${namespace}/${name}${request.path} ${request.user?.id ?? "-"} ${request.body}`);
      return answer(namespace, name, request);
    };
  }
  return { router, asked };
};

interface Asked {
  router: TestRouter;
  asked: string[];
}

const json = (value: unknown, status = 200) => ({
  status,
  headers: [
    ["content-type", "application/json"],
    ["x-room", "lobby"],
  ],
  body: JSON.stringify(value),
});

test("a Worker reads what a stub answers, and changes it", () => {
  const { router, asked } = calling(
    async (request, env) => {
      const stub = env.ROOMS.getByName("lobby");
      const answer = await stub.fetch("http://room/count", { method: "POST", body: "+1" });
      const { count } = (await answer.json()) as { count: number };
      const other = await stub.fetch(request);
      const changed = new Response(other.body, other);
      changed.headers.set("x-count", String(count));
      return changed;
    },
    (_namespace, _name, { path }) => json({ count: path === "/count" ? 7 : 0 }, 201),
  );
  const { respond } = router.route({ path: "/x", user: { id: "7", name: "Ana" } });
  assert.deepEqual(asked, ["POST ROOMS/lobby/count 7 +1", "GET ROOMS/lobby/x 7 "]);
  assert.deepEqual([respond.status, respond.body], [201, '{"count":0}']);
  const headers = Object.fromEntries(respond.headers);
  assert.deepEqual([headers["x-count"], headers["x-room"]], ["7", "lobby"]);
});

test("requests to rooms keep their order, also those whose answers nobody reads", () => {
  const { router, asked } = calling(
    async (_request, env) => {
      const stub = env.ROOMS.getByName("lobby");
      const first = await stub.fetch("http://room/1");
      await stub.fetch("http://room/2", { method: "POST", body: "two" });
      const third = await stub.fetch("http://room/3");
      await third.text();
      const [fourth] = await Promise.all([
        stub.fetch("http://room/4"),
        env.ROOMS.getByName("b").fetch("http://room/5"),
      ]);
      await fourth.bytes();
      return first;
    },
    () => json({}),
  );
  assert.equal(router.route({ user: null }).respond.body, "{}");
  assert.deepEqual(asked, [
    "GET ROOMS/lobby/1 - ",
    "POST ROOMS/lobby/2 - two",
    "GET ROOMS/lobby/3 - ",
    "GET ROOMS/lobby/4 - ",
    "GET ROOMS/b/5 - ",
  ]);
});

test("an answer that is returned as it came is the host's to fetch, behind the others", () => {
  const { router, asked } = calling(
    async (request, env) => {
      await env.ROOMS.getByName("log").fetch("http://room/visited");
      return env.ROOMS.getByName("lobby").fetch(request);
    },
    () => json({}),
  );
  assert.equal(router.route({ path: "/x" }).request.name, "lobby");
  assert.deepEqual(asked, ["GET ROOMS/log/visited ana "]);
});

test("a Worker calls methods of objects", () => {
  const host = new TestHost({
    ROOMS: class extends DurableObject {
      async sayHello(name: string): Promise<string> {
        if (name === "") throw new RangeError("say a name");
        return `Hello, ${name}!`;
      }
    },
  });
  const { router } = calling(
    async (request, env) => {
      const stub = env.ROOMS.get(env.ROOMS.idFromName("lobby"));
      try {
        return new Response(await stub.sayHello(new URL(request.url).searchParams.get("name")));
      } catch (error: any) {
        return new Response(`${error.name}: ${error.message}`, { status: 400 });
      }
    },
    (namespace, name, request) =>
      host
        .room(namespace, name)
        .rawRequest({ ...request, headers: [...request.headers, ["dormouse-caller", "router"]] }),
  );
  assert.equal(router.route({ query: "name=Bo" }).respond.body, "Hello, Bo!");
  assert.deepEqual(router.route({ query: "name=" }).respond.body, "RangeError: say a name");
});

test("calls that the operator does not allow say so", () => {
  const { router } = calling(async (_request, env) => {
    const stub = env.ROOMS.getByName("lobby");
    const errors = [];
    for (const attempt of [async () => (await stub.fetch("http://room/")).status, () => stub.sayHello()]) {
      errors.push(await attempt().then(String, (error: Error) => error.message));
    }
    return Response.json(errors);
  });
  for (const error of JSON.parse(router.route({}).respond.body)) {
    assert.equal(
      error,
      "call of ROOMS/lobby: denied: the operator does not allow it; name the namespace in `router_calls`",
    );
  }
});

test("the answer to an upgrade can be returned and not read", () => {
  const { router } = calling(async (request, env) => {
    const answer = await env.ROOMS.getByName("lobby").fetch(request);
    const errors: unknown[] = [answer.status, answer.ok];
    for (const read of [() => answer.headers.get("a"), () => answer.webSocket, () => answer.text()]) {
      try {
        errors.push(await read());
      } catch (error: any) {
        errors.push(error.message);
      }
    }
    return Response.json(errors);
  });
  const [status, ok, ...errors] = JSON.parse(router.route({ headers: { upgrade: "websocket" } }).respond.body);
  assert.deepEqual([status, ok, errors.length], [101, false, 3]);
  for (const error of errors) assert.match(error, /is not supported: it is the answer to an upgrade/);
});

test("a Worker that throws, waits or answers nothing is a 500 with a line in the log", () => {
  const failing = (fetch: () => unknown, pattern: RegExp) => {
    const router = routerOf({ fetch });
    const { respond } = router.route({});
    assert.deepEqual([respond.status, respond.body], [500, "the Worker failed"]);
    assert.match(router.world.logged.join(), pattern);
  };
  failing(function () {
    throw new Error("a bug");
  }, /ERROR fetch\(\): Error: a bug/);
  failing(function () {
    return new Promise(() => {});
  }, /waits for something that never comes/);
  failing(function () {
    return "text";
  }, /it returned no Response/);
  failing(function () {
    return new Response(null, { status: 101 });
  }, /101, which only a room can answer/);
  failing(function () {
    setTimeout(() => {}, 10);
  }, /setTimeout\(\) with a delay in a Worker is not supported/);
});

const hono = new TestRouter(fileURLToPath(new URL("../realm/hono-worker.js", import.meta.url)));

test("a Hono app routes, answers and forwards", () => {
  assert.equal(hono.route({ path: "/health" }).respond.body, '{"ok":true}');
  const { connect } = hono.route({ path: "/rooms/caf%C3%A9/ws", headers: { upgrade: "websocket" } });
  assert.deepEqual([connect.namespace, connect.name, connect.request.path], ["CHAT_ROOM", "café", "/ws"]);
  const posted = hono.route({ path: "/rooms/a/messages", body: '{"content":"x"}' }).request;
  assert.deepEqual([posted.name, posted.request.method, posted.request.body], ["a", "POST", '{"content":"x"}']);
  assert.equal(hono.route({ path: "/rooms/a/ws" }).respond.status, 426);
  assert.equal(hono.route({ path: "/nowhere" }).respond.status, 404);
  assert.equal(hono.route({ path: "/throws" }).respond.status, 500);
});

test("middleware of Hono sees the user and may refuse", () => {
  const { respond } = hono.route({ path: "/rooms/a/messages", user: null });
  assert.deepEqual([respond.status, respond.body], [401, "who are you?"]);
});

test("a HEAD request is forwarded, although frameworks copy its answer", () => {
  assert.equal(hono.route({ path: "/rooms/a/messages", method: "HEAD" }).request.name, "a");
});
