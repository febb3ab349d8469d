/** An object's life: construction, requests, errors. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { TurnFailure } from "../../testing/outer/instance.js";
import { roomOf } from "../../testing/outer/objects.js";
import { Refused } from "../../testing/outer/test-room.js";

class Counter extends DurableObject {
  count = 0;

  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env as never);
    ctx.blockConcurrencyWhile(async () => {
      this.count = (await ctx.storage.get("count")) ?? 0;
    });
  }

  override async fetch(request: Request): Promise<Response> {
    const { method } = request;
    if (method === "POST") {
      this.count += Number(await request.text());
      await this.ctx.storage.put("count", this.count);
    }
    return Response.json({ count: this.count, id: this.ctx.id.name, path: new URL(request.url).pathname });
  }
}

test("a request is answered, and its writes survive hibernation", () => {
  const room = roomOf(Counter);
  assert.deepEqual(room.json({ path: "/a/b" }), { count: 0, id: "room", path: "/a/b" });
  assert.equal(room.json({ body: "3" }).count, 3);
  room.hibernate();
  assert.equal(room.json({ body: "4" }).count, 7);
});

test("a request has method, headers, query, body and the verified user", () => {
  class Echo extends DurableObject {
    override async fetch(request: Request): Promise<Response> {
      const { searchParams } = new URL(request.url);
      const { user } = request as Request & { user?: { id: string; name: string } };
      const headers = { "x-own": String(request.headers.get("x-mine")), "content-type": "text/plain" };
      const body = [request.method, searchParams.get("a"), user?.name ?? "nobody", await request.text()].join();
      return new Response(body, { status: 418, headers });
    }
  }
  const room = roomOf(Echo);
  const answer = room.request({ method: "PUT", query: "a=%C3%A9", body: "x", headers: { "x-mine": "y" } });
  assert.deepEqual(answer, {
    status: 418,
    headers: { "content-type": "text/plain", "x-own": "y" },
    text: "PUT,é,Ana,x",
  });
  assert.equal(room.request({ user: null }).text, "GET,,nobody,");
});

test("identity writes the verified user into the query, in place of what a client wrote there", () => {
  class Query extends DurableObject {
    override async fetch(request: Request): Promise<Response> {
      return new Response([...new URL(request.url).searchParams].map((pair) => pair.join("=")).join("&"));
    }
  }
  const room = roomOf(Query, { identity: { query: { userId: "id", userName: "name" } } });
  const query = "userId=eve&a=1&userName=Eve&userId=x";
  assert.equal(room.request({ query, user: { id: "7", name: "Ana & Bo" } }).text, "a=1&userId=7&userName=Ana & Bo");
  assert.equal(room.request({ query, user: null }).text, "a=1");
  assert.equal(room.request({ query, user: null, caller: "TEST/other" }).text, query);
  assert.equal(room.request({}).text, "userId=ana&userName=Ana");
});

test("the constructor's gate ends before the first event", () => {
  class Gated extends DurableObject {
    steps: string[] = [];

    constructor(ctx: DurableObjectState, env: unknown) {
      super(ctx, env as never);
      void ctx.blockConcurrencyWhile(async () => {
        for (let at = 0; at < 50; at++) await ctx.storage.get("x");
        this.steps.push("gate");
        await ctx.blockConcurrencyWhile(async () => void this.steps.push("nested"));
      });
      this.steps.push("constructor");
    }

    override fetch(): Response {
      return new Response(this.steps.join());
    }
  }
  assert.equal(roomOf(Gated).request().text, "constructor,gate,nested");
});

test("blockConcurrencyWhile may be nested 64 deep", () => {
  class Nested extends DurableObject {
    async nest(depth: number): Promise<unknown> {
      return depth === 0 ? "deep" : this.ctx.blockConcurrencyWhile(() => this.nest(depth - 1));
    }

    override async fetch(request: Request): Promise<Response> {
      return new Response(String(await this.nest(Number(await request.text())).catch((error) => error.message)));
    }
  }
  assert.equal(roomOf(Nested).request({ body: "64" }).text, "deep");
  assert.throws(() => roomOf(Nested).request({ body: "65" }), /nested too deeply/);
});

test("a gate that throws makes the object anew, and the turn writes nothing", () => {
  class Broken extends DurableObject {
    hits = 0;

    override async fetch(request: Request): Promise<Response> {
      this.hits++;
      if (request.method === "POST") {
        await this.ctx.storage.put("a", 1);
        await this.ctx.blockConcurrencyWhile(async () => Promise.reject(new Error("no"))).catch(() => {});
      }
      return Response.json([this.hits, (await this.ctx.storage.get("a")) ?? null]);
    }
  }
  const room = roomOf(Broken);
  room.request();
  assert.throws(() => room.request({ body: "x" }), new TurnFailure("Error: no"));
  assert.deepEqual(room.json(), [1, null]);
});

test("a gate that waits for a timer fails the turn", () => {
  class Slow extends DurableObject {
    override async fetch(): Promise<Response> {
      await this.ctx.blockConcurrencyWhile(() => new Promise((resolve) => setTimeout(resolve, 10)));
      return new Response();
    }
  }
  assert.throws(() => roomOf(Slow).request(), /did not end within its turn/);
});

test("abort() undoes the turn, also if the error is caught", () => {
  class Aborting extends DurableObject {
    override async fetch(request: Request): Promise<Response> {
      if (request.method === "GET") return Response.json((await this.ctx.storage.get("a")) ?? null);
      await this.ctx.storage.put("a", 1);
      try {
        this.ctx.abort("out of order");
      } catch {}
      return new Response("fine");
    }
  }
  const room = roomOf(Aborting);
  assert.throws(() => room.request({ body: "x" }), /out of order/);
  assert.equal(room.isAwake, false);
  assert.equal(room.json(), null);
});

test("waitUntil holds the turn until nothing moves any more, and logs failures", () => {
  class Background extends DurableObject {
    override async fetch(request: Request): Promise<Response> {
      if (request.method === "GET") return Response.json((await this.ctx.storage.get("steps")) ?? null);
      this.ctx.waitUntil(this.work());
      this.ctx.waitUntil(Promise.reject(new Error("lost")));
      return new Response("at once");
    }

    async work(): Promise<void> {
      for (let at = 1; at <= 20; at++) await this.ctx.storage.put("steps", at);
    }
  }
  const room = roomOf(Background);
  assert.equal(room.request({ body: "x" }).text, "at once");
  room.hibernate();
  assert.equal(room.json(), 20);
  assert.deepEqual(room.world.logged, ["ERROR waitUntil(): Error: lost"]);
});

class Failing extends DurableObject {
  hits = 0;

  override async fetch(request: Request): Promise<Response> {
    this.hits++;
    await this.ctx.storage.put("hits", this.hits);
    if (request.method === "POST") throw new TypeError("a bug");
    return Response.json([this.hits, await this.ctx.storage.get("hits")]);
  }
}

test("a handler that throws is logged, and keeps memory and writes", () => {
  const room = roomOf(Failing);
  assert.deepEqual(room.request({ body: "x" }), { status: 500, headers: TEXT, text: "the room failed" });
  assert.deepEqual(room.json(), [2, 2]);
  assert.deepEqual(room.world.logged, ["ERROR fetch(): TypeError: a bug"]);
});

const TEXT = { "content-type": "text/plain;charset=UTF-8" };

test('with onError: "rollback" a handler that throws undoes its turn', () => {
  const room = roomOf(Failing, { onError: "rollback" });
  room.request();
  assert.throws(() => room.request({ body: "x" }), new TurnFailure("TypeError: a bug"));
  room.hibernate();
  assert.deepEqual(room.json(), [1, 1]);
});

test("a constructor that throws fails the event, and the next event tries again", () => {
  class Fragile extends DurableObject {
    constructor(ctx: DurableObjectState, env: unknown) {
      super(ctx, env as never);
      if (ctx.storage.kv.get("fixed") === undefined) throw new Error("not yet");
    }

    override fetch(): Response {
      return new Response("up");
    }
  }
  const room = roomOf(Fragile);
  assert.throws(() => room.request(), new TurnFailure("Error: not yet"));
  room.world.storage.set("fixed", "\x01true");
  assert.equal(room.request().text, "up");
});

test("a request that waits for a later turn gets 503 and a line in the log", () => {
  class Late extends DurableObject {
    override async fetch(): Promise<Response> {
      await this.ctx.storage.put("a", 1);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await this.ctx.storage.put("b", 2);
      return new Response("late");
    }
  }
  const room = roomOf(Late);
  assert.equal(room.request().status, 503);
  assert.match(room.world.logged[0] as string, /ERROR fetch\(\) waits for a later event/);
  room.advance(1000); // what was let go goes on
  assert.deepEqual([...room.world.storage.keys()], ["a", "b"]);
});

test("a class without fetch answers 501, and a wrong answer is a 500", () => {
  class Silent extends DurableObject {}
  assert.equal(roomOf(Silent).request().status, 501);
  class Wrong extends DurableObject {
    override fetch(request: Request): Response {
      return request.method === "GET" ? ("text" as never) : new Response(null, { status: 101 });
    }
  }
  const room = roomOf(Wrong);
  assert.equal(room.request().status, 500);
  assert.equal(room.request({ body: "x" }).status, 500);
  assert.match(room.world.logged.join(), /returned no Response.*101 answers no upgrade/);
});

test("a class need not extend DurableObject", () => {
  class Plain {
    constructor(private ctx: DurableObjectState) {}

    async fetch(): Promise<Response> {
      return new Response(this.ctx.id.name);
    }
  }
  assert.equal(roomOf(Plain).request().text, "room");
});

test("env has variables, and the operator's config has precedence", () => {
  class Configured extends DurableObject {
    override fetch(): Response {
      const env = this.env as Record<string, unknown>;
      return Response.json([env["GREETING"], env["LIMITS"], env["ABSENT"] ?? null, "GREETING" in env, "KV" in env]);
    }
  }
  const room = roomOf(Configured, { vars: { GREETING: "hello", LIMITS: { max: 3 } } });
  assert.deepEqual(room.json(), ["hello", { max: 3 }, null, true, false]);
  room.world.config.set("GREETING", "good day");
  assert.equal(room.json()[0], "good day");
});

test("a client without a socket gets the response, and the turn and the memory are kept", () => {
  class Guarded extends DurableObject {
    asked = 0;

    override async fetch(request: Request): Promise<Response> {
      const { searchParams } = new URL(request.url);
      await this.ctx.storage.put("seen", true);
      switch (searchParams.get("how")) {
        case "text":
          return new Response("members only", { status: 403, headers: { "x-asked": String(++this.asked) } });
        case "ok": {
          const [, socket] = Object.values(new WebSocketPair());
          this.ctx.acceptWebSocket(socket as WebSocket);
          return new Response(`no socket, ${this.ctx.getWebSockets().length}`);
        }
        case "count":
          return new Response(String(this.ctx.getWebSockets().length));
        case "unaccepted":
          return new Response(null, { status: 101, webSocket: new WebSocketPair()[0] });
        default:
          throw new Error("a bug");
      }
    }
  }
  const room = roomOf(Guarded);
  const refused = (how: string) => {
    try {
      room.connect("ana", { query: `how=${how}` });
      return assert.fail("accepted");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const asked = error.headers.find(([name]) => name === "x-asked")?.[1] ?? "";
      return `${error.status} ${error.message}${asked}`;
    }
  };
  assert.equal(refused("text"), "403 members only1");
  assert.equal(refused("text"), "403 members only2");
  assert.equal(refused("ok"), "200 no socket, 1");
  assert.equal(room.request({ query: "how=count" }).text, "0");
  assert.equal(refused("unaccepted"), "500 the room failed");
  assert.equal(refused("throw"), "500 the room failed");
  assert.equal(room.world.sockets.size, 0);
  assert.equal(room.world.storage.size, 1);
  assert.match(room.world.logged.join("\n"), /101 needs `webSocket: pair\[0\]`[^]*a bug/);
});
