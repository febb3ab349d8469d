/** Alarms, `setTimeout`, and handlers that go on in a later turn. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { onlyInMemory } from "../../testing/outer/engine.js";
import { roomOf } from "../../testing/outer/objects.js";

class Clock extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const { storage } = this.ctx;
    const [verb, argument] = (await request.text()).split(" ");
    if (verb === "set") await storage.setAlarm(Date.now() + Number(argument));
    if (verb === "date") await storage.setAlarm(new Date(Date.now() + Number(argument)));
    if (verb === "delete") await storage.deleteAlarm();
    if (verb === "undo") {
      await storage.transaction(async (txn) => {
        await txn.deleteAlarm();
        txn.rollback();
      });
    }
    if (verb === "fail") await storage.put("failures", Number(argument));
    const alarm = await storage.getAlarm();
    return Response.json({ in: alarm === null ? null : alarm - Date.now(), rang: (await storage.get("rang")) ?? [] });
  }

  override async alarm(info?: AlarmInvocationInfo): Promise<void> {
    const { storage } = this.ctx;
    const failures = (await storage.get<number>("failures")) ?? 0;
    const hidden = await storage.getAlarm();
    const rang = (await storage.get<unknown[]>("rang")) ?? [];
    await storage.put("rang", [...rang, [info?.isRetry, info?.retryCount, Date.now() - info!.scheduledTime, hidden]]);
    if ((info?.retryCount ?? 0) < failures) throw new Error("not now");
    if (failures < 0) await storage.setAlarm(Date.now() + 50);
  }
}

test("an alarm fires at its time, once, and while the room sleeps", () => {
  const room = roomOf(Clock);
  assert.equal(room.json({ body: "set 1000" }).in, 1000);
  room.hibernate();
  room.advance(999);
  assert.deepEqual(room.json({ body: "read" }), { in: 1, rang: [] });
  room.hibernate();
  room.advance(1);
  assert.deepEqual(room.json({ body: "read" }), { in: null, rang: [[false, 0, 0, null]] });
});

test("an alarm is replaced, deleted and put back by a transaction", () => {
  const room = roomOf(Clock);
  room.json({ body: "set 1000" });
  assert.equal(room.json({ body: "date 500" }).in, 500);
  assert.equal(room.json({ body: "undo" }).in, 500);
  assert.equal(room.json({ body: "delete" }).in, null);
  room.advance(10_000);
  assert.deepEqual(room.json({ body: "read" }).rang, []);
});

test("an alarm that throws is undone and tried again", onlyInMemory, () => {
  const room = roomOf(Clock);
  room.json({ body: "fail 2" });
  room.json({ body: "set 10" });
  room.advance(60_000);
  assert.deepEqual(room.json({ body: "read" }).rang, [[true, 2, 0, null]]);
  assert.equal(room.world.logged.filter((line) => line.includes("not now")).length, 2);
});

test("an alarm may set the next one", () => {
  const room = roomOf(Clock);
  room.json({ body: "fail -1" });
  room.json({ body: "set 10" });
  room.advance(125);
  assert.equal(room.json({ body: "read" }).rang.length, 3);
});

test("bad alarms are refused", () => {
  class Without extends DurableObject {
    override async fetch(): Promise<Response> {
      const errors = [];
      for (const time of [0, -1, NaN, Date.now() + 1]) {
        errors.push(await this.ctx.storage.setAlarm(time).catch((error) => error.message));
      }
      return Response.json(errors);
    }
  }
  const [zero, negative, nan, without] = roomOf(Without).json();
  for (const message of [zero, negative, nan]) assert.match(message, /alarm time <= 0/);
  assert.match(without, /must have an alarm\(\) handler/);
});

/** Evaluates what it gets, and keeps a list in memory and one in storage. */
class Timers extends DurableObject {
  steps: string[] = [];
  ids: number[] = [];

  override async fetch(request: Request): Promise<Response> {
    const source = await request.text();
    const value = await (0, eval)(`(async ({ object, ctx }) => { ${source} })`)({ object: this, ctx: this.ctx });
    return Response.json(value ?? this.steps);
  }

  async step(name: string): Promise<void> {
    this.steps.push(name);
    await this.ctx.storage.put(name, true);
  }
}

test("setTimeout runs its callback in a later turn, whose writes are kept", () => {
  const room = roomOf(Timers);
  room.json({ body: `setTimeout((a, b) => object.step(a + b), 100, "x", "y")` });
  room.advance(99);
  assert.deepEqual(room.json({ body: "" }), []);
  room.advance(1);
  assert.deepEqual(room.json({ body: "" }), ["xy"]);
  assert.ok(room.world.storage.has("xy"));
  assert.equal(room.world.timers.size, 0);
});

test("a callback without a delay runs at the end of its turn", () => {
  const room = roomOf(Timers);
  const body = `
    setTimeout(() => object.step("timeout"));
    setTimeout(() => object.step("second"), 0);
    clearTimeout(setTimeout(() => object.step("cleared"), 0));
    queueMicrotask(() => object.step("microtask"));
    await object.step("sync");`;
  room.json({ body });
  assert.deepEqual(room.json({ body: "" }), ["sync", "microtask", "timeout", "second"]);
  assert.ok(room.world.storage.has("second"));
});

test("awaiting a callback without a delay stays in the turn", () => {
  const room = roomOf(Timers);
  const body = `
    for (let at = 0; at < 20; at++) await new Promise((resolve) => setTimeout(resolve, 0));
    await scheduler.wait(0);
    return "done"`;
  assert.equal(room.json({ body }), "done");
});

test("setInterval repeats until it is cleared", () => {
  const room = roomOf(Timers);
  room.json({ body: `object.ids.push(setInterval(() => object.step("tick"), 50))` });
  room.advance(175);
  assert.equal(room.json({ body: "" }).length, 3);
  room.json({ body: "clearInterval(object.ids[0])" });
  room.advance(1000);
  assert.equal(room.json({ body: "" }).length, 3);
});

test("closures are gone with their instance, and their timers do nothing", () => {
  const room = roomOf(Timers);
  room.json({ body: `setTimeout(() => object.step("x"), 100); setInterval(() => object.step("y"), 100)` });
  room.hibernate();
  room.advance(500);
  assert.deepEqual(room.json({ body: "" }), []);
  assert.equal(room.world.timers.size, 0);
  assert.deepEqual(room.world.logged, []);
});

test("more timers than a room may have are refused", () => {
  const room = roomOf(Timers);
  const body = `
    for (let at = 0; at < 1000; at++) setTimeout(() => {}, 1000 + at);
    try { setTimeout(() => {}, 1000) } catch (error) { return error.name + ": " + error.message }`;
  assert.match(room.json({ body }), /^RangeError: setTimeout\(\): the room has 1,000 timers already/);
});

test("a callback that throws is logged, or undone with onError: rollback", onlyInMemory, () => {
  const source = `setTimeout(() => { object.step("x"); throw new Error("a bug") }, 10)`;
  const kept = roomOf(Timers);
  kept.json({ body: source });
  kept.advance(10);
  assert.deepEqual(kept.json({ body: "" }), ["x"]);
  assert.deepEqual(kept.world.logged, ["ERROR a callback of setTimeout(): Error: a bug"]);
  const undone = roomOf(Timers, { onError: "rollback" });
  undone.json({ body: source });
  undone.advance(10);
  assert.equal(undone.world.storage.size, 0);
});

/** Answers after a delay, as with an await that is no storage on Cloudflare. */
class Slow extends DurableObject {
  waiting: ((text: string) => void)[] = [];

  override fetch(): Response {
    const pair = new WebSocketPair();
    this.ctx.acceptWebSocket(pair[1]);
    return new Response(null, { status: 101, webSocket: pair[0] });
  }

  override async webSocketMessage(ws: WebSocket, message: string): Promise<void> {
    if (message === "wait") {
      ws.send("begun");
      await this.ctx.storage.put("begun", true);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ws.send("ended");
      await this.ctx.storage.put("ended", true);
      if (this.waiting.length > 0) throw new Error("too late");
    } else if (message === "next") {
      ws.send(await new Promise<string>((resolve) => this.waiting.push(resolve)));
    } else {
      for (const resolve of this.waiting.splice(0)) resolve(message);
      ws.send("other");
    }
  }
}

test("a handler that waits for a timer is let go, others run meanwhile, and it goes on", () => {
  const room = roomOf(Slow);
  const ana = room.connect("ana");
  room.send(ana, "wait");
  assert.deepEqual(ana.takeReceived(), ["begun"]);
  assert.ok(room.world.storage.has("begun"));
  room.send(ana, "x");
  assert.deepEqual(ana.takeReceived(), ["other"]);
  room.advance(1000);
  assert.deepEqual(ana.takeReceived(), ["ended"]);
  assert.ok(room.world.storage.has("ended"));
  assert.deepEqual(room.world.logged, []);
});

test("a handler that fails after its turn is logged", () => {
  const room = roomOf(Slow);
  const ana = room.connect("ana");
  room.send(ana, "wait");
  room.send(ana, "next");
  room.advance(1000);
  assert.match(room.world.logged.join(), /webSocketMessage\(\) failed after its turn: Error: too late/);
});

test("a handler that waits for another event is said to, and goes on in it", () => {
  const room = roomOf(Slow);
  const ana = room.connect("ana");
  room.send(ana, "next");
  assert.match(room.world.logged[0] as string, /^WARN webSocketMessage\(\) waits for something/);
  room.send(ana, "here");
  assert.deepEqual(ana.takeReceived().sort(), ["here", "other"]);
});
