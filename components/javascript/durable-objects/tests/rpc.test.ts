/** Namespaces, ids, stubs and RPC between rooms. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { onlyInMemory } from "../../testing/outer/engine.js";
import { Lab, roomOf, Subject, TestHost } from "../../testing/outer/objects.js";
import type { assert as Assert } from "../../testing/realm/assert.js";

/** The object that is called. */
class Account extends DurableObject {
  #secret = 7;
  field = () => "a field is no method";

  override async fetch(request: Request): Promise<Response> {
    const { user } = request as Request & { user?: { name: string } };
    const { pathname, search } = new URL(request.url);
    const body = await request.text();
    const caller = request.headers.get("dormouse-caller");
    return Response.json([request.method, pathname + search, body, user?.name, caller], { status: 201 });
  }

  async add(amount: number, note?: { at: Date; tags: Set<string> }): Promise<unknown> {
    const total = ((await this.ctx.storage.get<number>("total")) ?? 0) + amount;
    await this.ctx.storage.put("total", total);
    return note ? { total, ...note } : total;
  }

  nothing(): void {}

  secret(): number {
    return this.#secret;
  }

  async fail(kind: string): Promise<unknown> {
    await this.ctx.storage.put("failed", kind);
    if (kind === "type") throw new TypeError("wrong type");
    if (kind === "own") throw Object.assign(new Error("broke"), { name: "OutOfMoney" });
    if (kind === "text") throw "only a text";
    if (kind === "never") return new Promise(() => {});
    if (kind === "function") return () => {};
    if (kind === "class") return new (class Money {})();
    return this.ctx.abort("aborted");
  }

  async callBack(namespace: string, name: string): Promise<unknown> {
    return (this.env as any)[namespace].getByName(name).fetch("http://room/");
  }
}

const host = () => new TestHost({ LAB: Subject, ACCOUNTS: Account });
const lab = (testHost = host()) => new Lab(testHost.room("LAB", "lab"));

declare const inside: typeof Assert;

test("a stub calls methods with cloneable arguments and results", () => {
  const rooms = host();
  lab(rooms).run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const account = env.ACCOUNTS.getByName("ana");
    assert.equal(account.name, "ana");
    assert.equal(await account.add(3), 3);
    const note = { at: new Date(5), tags: new Set(["x"]) };
    assert.deepEqual(await env.ACCOUNTS.get(account.id).add(4, note), { total: 7, ...note });
    assert.equal(await account.nothing(), undefined);
    assert.equal(await account.secret(), 7);
    assert.equal(await env.ACCOUNTS.getByName("bo").add(1), 1);
  });
  assert.deepEqual([...rooms.rooms.keys()], ["LAB/lab", "ACCOUNTS/ana", "ACCOUNTS/bo"]);
});

test("an error of a method has its name and message, and is marked as remote", () => {
  const rooms = host();
  lab(rooms).run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const account = env.ACCOUNTS.getByName("ana");
    const error = await account.fail("type").catch((error: Error) => error);
    assert.ok(error instanceof TypeError);
    assert.deepEqual([error.message, (error as any).remote], ["wrong type", true]);
    await assert.rejects(account.fail("own"), { name: "OutOfMoney", message: "broke" });
    await assert.rejects(account.fail("text"), /only a text/);
    await assert.rejects(account.fail("never"), /fail\(\): the room gave no answer within its turn/);
    await assert.rejects(account.fail("abort"), /call of ACCOUNTS\/ana: failed/);
  });
  const account = rooms.room("ACCOUNTS", "ana");
  assert.ok(account.world.storage.get("failed")?.includes("never")); // as on Cloudflare, what was written stays
});

test("only methods of the class can be called", () => {
  lab().run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const account = env.ACCOUNTS.getByName("ana");
    for (const name of ["absent", "field", "constructor", "toString", "alarm", "hasOwnProperty", "ctx", "__proto__"]) {
      await assert.rejects(account[name](), new RegExp(`does not implement the method "${name}"`));
    }
  });
});

test("a client cannot call a method", () => {
  const room = host().room("ACCOUNTS", "ana");
  const answer = room.request({ path: "/.dormouse/rpc/add", body: "x" });
  assert.equal(answer.status, 201); // it reached fetch()
});

test("stub.fetch sends a whole request, and the answer can be read", () => {
  lab().run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const account = env.ACCOUNTS.getByName("ana");
    const answer = await account.fetch("https://any.host/a%20b?c=d", { method: "PUT", body: "x" });
    assert.equal(answer.status, 201);
    assert.deepEqual(await answer.json(), ["PUT", "/a%20b?c=d", "x", null, "LAB/lab"]);
    const user = { id: "7", name: "Bo" };
    const request = new Request("http://room/b", { method: "POST", body: "y", user } as never);
    assert.deepEqual(await (await account.fetch(request)).json(), ["POST", "/b", "y", "Bo", "LAB/lab"]);
  });
});

test("a failed call names the room, the reason and whether to try again", () => {
  lab().run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const circle = env.ACCOUNTS.getByName("ana").callBack("LAB", "lab");
    await assert.rejects(circle, /call of LAB\/lab: deadlock: the other room already waits/);
    const error = await env.ACCOUNTS.getByName("")
      .add(1)
      .catch((error: Error) => error);
    assert.match(error.message, /call of ACCOUNTS\/: no-such-room/);
    assert.equal(error.retryable, false);
    const failed = await env.ACCOUNTS.getByName("ana")
      .fail("abort")
      .catch((error: Error) => error);
    assert.deepEqual([failed.retryable, failed.overloaded], [true, false]);
  });
});

test("ids are names in 64 digits or more, and come back from their text", () => {
  lab().run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const ns = env.ACCOUNTS;
    for (const name of ["a", "x".repeat(31), "é🐭".repeat(5), "x".repeat(32), "x".repeat(300)]) {
      const id = ns.idFromName(name);
      const text = id.toString();
      assert.match(text, /^[0-9a-f]{64,}$/);
      assert.equal(text.length === 64, new TextEncoder().encode(name).length <= 31);
      const again = ns.idFromString(text);
      assert.ok(again.equals(id) && !again.equals(ns.idFromName("other")));
      assert.equal(again.name, name);
    }
    for (const text of ["", "00", "g".repeat(64), "05".repeat(32), "0".repeat(63), `01${"00".repeat(30)}61`]) {
      assert.throws(() => ns.idFromString(text), /Invalid Durable Object ID/);
    }
    const [one, other] = [ns.newUniqueId(), ns.newUniqueId({ jurisdiction: "eu" })];
    assert.ok(!one.equals(other));
    assert.equal(one.name, undefined);
    assert.match(one.toString(), /^[0-9a-f]{64}$/);
    assert.ok(ns.idFromString(one.toString()).equals(one));
    assert.equal(await ns.jurisdiction("eu").get(one, { locationHint: "weur" }).add(2), 2);
    assert.throws(() => ns.get("ana"), /no DurableObjectId/);
  });
});

test("an object knows its own id", onlyInMemory, () => {
  lab().run(async ({ env, ctx }) => {
    const assert = (globalThis as any).assert as typeof inside;
    assert.equal(ctx.id.name, "lab");
    assert.ok(ctx.id.equals(env.LAB.idFromName("lab")));
  });
});

test("what cannot be sent over RPC fails before it is sent", () => {
  const rooms = host();
  lab(rooms).run(async ({ env }) => {
    const assert = (globalThis as any).assert as typeof inside;
    const account = env.ACCOUNTS.getByName("ana");
    class Point {}
    class Target extends (globalThis as any).RpcTarget {}
    for (const [argument, pattern] of [
      [() => {}, /add\(\) with a function is not supported/],
      [{ deep: [new Map([["f", () => {}]])] }, /with a function/],
      [new Point(), /object of type "Point"/],
      [new Target(), /object of type "Target"/],
      [new Response("x"), /object of type "Response/],
      [account, /object of type "DurableObjectId"/],
      [new WebSocketPair()[0], /object of type "WebSocket"/],
    ] as [unknown, RegExp][]) {
      await assert.rejects(account.add(argument), pattern);
    }
    await assert.rejects(async () => account.total, /await stub.total is not supported/);
    await assert.rejects(account.fail("function"), /result with a function is not supported/);
    await assert.rejects(account.fail("class"), /object of type "Money"/);
  });
});

test("namespaces make a connected room, and others do not", onlyInMemory, () => {
  class Idle extends DurableObject {}
  assert.equal(roomOf(Idle).worldOfBundle(), "room");
  assert.equal(roomOf(Idle, { namespaces: { OTHERS: "OTHERS" } }).worldOfBundle(), "connected-room");
});
