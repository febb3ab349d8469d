/** Workers as the router. */
import { WorkerEntrypoint } from "cloudflare:workers";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import test from "node:test";

import { routerOf, TestRouter } from "../../testing/outer/router.js";

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

test("reading or changing the answer of a stub says what to do", () => {
  const attempts = (answer: any) => [
    () => answer.status,
    () => answer.ok,
    () => answer.statusText,
    () => answer.webSocket,
    () => answer.headers.get("a"),
    () => answer.headers.has("a"),
    () => answer.headers.set("a", "b"),
    () => answer.headers.append("a", "b"),
    () => answer.headers.delete("a"),
    () => [...answer.headers],
    () => answer.text(),
    () => answer.json(),
    () => answer.bytes(),
    () => answer.arrayBuffer(),
    () => answer.body.getReader(),
    () => new Response(answer.body),
    () => new Response("other", answer),
  ];
  const router = routerOf(
    {
      attempts,
      async fetch(request: Request, env: any): Promise<Response> {
        const stub = env.ROOMS.getByName("lobby");
        const errors = [];
        for (const attempt of (this as any).attempts(await stub.fetch(request))) {
          try {
            await attempt();
            errors.push(`none: ${attempt}`);
          } catch (error: any) {
            errors.push(error.message);
          }
        }
        errors.push(await stub.sayHello().catch((error: Error) => error.message));
        return Response.json(errors);
      },
    },
    { namespaces },
  );
  const errors = JSON.parse(router.route({}).respond.body) as string[];
  assert.match(errors.pop() as string, /stub.sayHello\(\) in a Worker is not supported: send a request/);
  assert.equal(errors.length, attempts({}).length);
  for (const error of errors) assert.match(error, /is not supported: a Worker can return what stub.fetch\(\) gives/);
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
