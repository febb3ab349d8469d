/** The events of a room, and what it can do in them. */
import assert from "node:assert/strict";
import test from "node:test";

import {
  access,
  ClientError,
  type Close,
  context,
  everyone,
  is,
  List,
  Refusal,
  type Request,
  Response,
  Room,
  roomOf,
  type Socket,
  storage,
  type Timer,
  timers,
} from "../../testing/outer/kit.js";
import { onlyInMemory } from "../../testing/outer/engine.js";
import { TurnFailure } from "../../testing/outer/instance.js";
import { Refused } from "../../testing/outer/test-room.js";

type Counts = { says: number; state: { count: number } };

class Counter extends Room<Counts> {
  count = this.storage.get("count") ?? 0;

  override connect(_: Request, socket: Socket<number>): void {
    socket.send(this.count);
  }

  override message(sender: Socket<number>): void {
    this.storage.put("count", ++this.count);
    this.everyone.except(sender).send(this.count);
  }

  override request(): unknown {
    return { count: this.count };
  }
}

test("a room sends, stores and answers, and survives hibernation and a restart", () => {
  const room = roomOf(Counter);
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  room.send(ana, "1");
  room.hibernate();
  room.send(bo, "1");
  assert.deepEqual(
    [ana.takeJson(), bo.takeJson()],
    [
      [0, 2],
      [0, 1],
    ],
  );
  room.restart();
  assert.deepEqual(room.json(), { count: 2 });
  assert.equal(room.request().headers["content-type"], "application/json");
});

test("the ping of the protocol is answered without the room, and in another spelling by it", () => {
  const room = roomOf(Counter);
  const ana = room.connect("ana");
  room.hibernate();
  room.send(ana, '{"type":"ping"}');
  assert.equal(room.isAwake, false);
  room.send(ana, '{ "type": "ping" }');
  assert.deepEqual(ana.takeReceived().slice(1), ['{"type":"pong"}', '{"type":"pong"}']);
});

test("a throw undoes the turn, and the next event finds the room as it was", () => {
  class Fragile extends Room<{ state: { a: number } }> {
    hits = 0;

    override message(sender: Socket, said: string): void {
      this.hits++;
      storage.put("a", (storage.get("a") ?? 0) + 1);
      timers.after("later", 1000);
      sender.send("done");
      sender.attachment = "x";
      if (said === "fail") throw new Error("a bug");
    }

    override request(): unknown {
      return [this.hits, storage.get("a") ?? null, timers.all().length];
    }
  }
  const room = roomOf(Fragile);
  const ana = room.connect("ana");
  room.send(ana, '"go"');
  assert.throws(() => room.send(ana, '"fail"'), new TurnFailure("Error: a bug"));
  assert.deepEqual([room.json(), ana.takeJson()], [[0, 1, 1], ["done"]]);
});

test("a Refusal turns a client or a request down, and nothing else happens", () => {
  class Guarded extends Room {
    override connect(request: Request, socket: Socket): void {
      storage.put("seen", socket.user.name);
      if (request.query.get("key") !== "open sesame") throw new Refusal(403, "say the word");
    }

    override request(request: Request): unknown {
      if (request.user === undefined) throw new Refusal(401, "who are you?");
      const said = request.json() as { n: number };
      if (!(said.n > 0)) throw new ClientError("too_low", "n must be above 0");
      return new Response(201, { n: said.n });
    }
  }
  const room = roomOf(Guarded);
  assert.throws(() => room.connect("ana"), new Refused(403, "say the word"));
  assert.equal(room.world.storage.size, 0);
  room.connect("ana", { query: "key=open+sesame" });
  assert.equal(room.world.storage.size, 1);
  const anonymous = room.request({ user: null });
  assert.equal(anonymous.headers["content-type"], "application/problem+json");
  assert.deepEqual(JSON.parse(anonymous.text), {
    type: "about:blank",
    title: "Unauthorized",
    status: 401,
    detail: "who are you?",
  });
  assert.equal(room.json({ body: "{" }).code, "bad_json");
  assert.deepEqual([room.json({ body: '{"n":0}' }).code, room.json({ body: '{"n":1}' })], ["too_low", { n: 1 }]);
  assert.equal(room.request({ body: '{"n":1}' }).status, 201);
});

test("messages are checked, and only the sender of a wrong one hears of it", () => {
  class Board extends Room<{ hears: { text: string }; says: string }> {
    override hears = is.object({ text: is.text({ max: 5 }) });

    override message(_: Socket, said: { text: string }): void {
      everyone.send(said.text);
    }
  }
  const room = roomOf(Board);
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  room.send(ana, { text: "hello", other: 1 });
  for (const wrong of ["{", '{"text":7}', '{"text":"longer"}', '"x"', '{"clientId":"c1"}']) room.send(ana, wrong);
  room.send(ana, new Uint8Array([1]));
  assert.deepEqual(bo.takeJson(), ["hello"]);
  assert.deepEqual(ana.takeJson(), [
    "hello",
    { type: "error", code: "bad_json", message: "the message is not JSON" },
    { type: "error", code: "bad_message", message: "text must be a text" },
    { type: "error", code: "bad_message", message: "text must have 1 to 5 characters" },
    { type: "error", code: "bad_message", message: "it must be an object" },
    { type: "error", code: "bad_message", message: "text must be a text", clientId: "c1" },
    { type: "error", code: "not_text", message: "this room takes text messages" },
  ]);
});

test("a ClientError behind a change fails the turn and says so", () => {
  class Late extends Room {
    override message(): void {
      storage.put("a", 1);
      throw new ClientError("too_late", "checked too late");
    }
  }
  const room = roomOf(Late);
  const ana = room.connect("ana");
  assert.throws(
    () => room.send(ana, "1"),
    /ClientError came behind a change of the turn \(storage\): checked too late/,
  );
  assert.equal(room.world.storage.size, 0);
});

test("an async handler is refused", () => {
  class Async extends Room {
    override async message(): Promise<void> {
      storage.put("a", 1);
    }
  }
  const room = roomOf(Async);
  const ana = room.connect("ana");
  assert.throws(() => room.send(ana, "1"), /message returned a promise: .* synchronous/);
});

test("everyone is narrowed by socket, user and tag", () => {
  class Narrow extends Room<{ attachment: { nick: string } }> {
    override connect(request: Request, socket: Socket): void {
      const tag = request.query.get("tag");
      if (tag !== null) socket.tags = [tag];
      socket.attachment = { nick: socket.user.name.toUpperCase() };
    }

    override message(sender: Socket, said: string): void {
      const { everyone } = this;
      const selections: Record<string, { count: number; send(message: unknown): void }> = {
        all: everyone,
        others: everyone.except(sender),
        otherUsers: everyone.exceptUser(sender.user.id),
        red: everyone.tagged("red"),
        otherRed: everyone.tagged("red").except(sender),
        ana: everyone.ofUser("ana"),
      };
      const selected = selections[said]!;
      selected.send(`${said} ${selected.count}`);
    }

    override bytes(sender: Socket, bytes: Uint8Array): void {
      sender.send(bytes.map((byte) => byte + 1));
    }

    override request(): unknown {
      return [...this.everyone].map(({ id, user, tags, attachment }) => [id, user.name, tags, attachment?.nick]);
    }
  }
  const room = roomOf(Narrow);
  const [red, ana, bo] = [room.connect("ana", { query: "tag=red" }), room.connect("ana"), room.connect("bo")];
  const heard = (said: string) => {
    room.send(red, JSON.stringify(said));
    return [red, ana, bo].map((client) => client.takeJson()[0] ?? "");
  };
  assert.deepEqual(heard("all"), ["all 3", "all 3", "all 3"]);
  assert.deepEqual(heard("others"), ["", "others 2", "others 2"]);
  assert.deepEqual(heard("otherUsers"), ["", "", "otherUsers 1"]);
  assert.deepEqual(heard("red"), ["red 1", "", ""]);
  assert.deepEqual(heard("otherRed"), ["", "", ""]);
  room.hibernate();
  assert.deepEqual(heard("ana"), ["ana 2", "ana 2", ""]);
  room.send(bo, new Uint8Array([1, 2]));
  assert.deepEqual(bo.takeReceived(), [[2, 3]]);
  assert.deepEqual(room.json(), [
    ["1", "ana", ["red"], "ANA"],
    ["2", "ana", [], "ANA"],
    ["3", "bo", [], "BO"],
  ]);
});

test("a client that has left is known in close, and a socket can be closed", () => {
  class Doors extends Room {
    override message(sender: Socket): void {
      sender.send("bye");
      sender.close(4000, "enough");
    }

    override close(socket: Socket, close: Close): void {
      everyone.send([socket.user.name, close.code, close.reason, close.clean, everyone.count]);
    }
  }
  const room = roomOf(Doors);
  const [ana, bo, cem] = [room.connect("ana"), room.connect("bo"), room.connect("cem")];
  room.leave(bo);
  room.send(ana, "1");
  assert.deepEqual(ana.closed, { code: 4000, reason: "enough" });
  assert.deepEqual(cem.takeJson(), [
    ["bo", 1006, "", false, 2],
    ["ana", 4000, "enough", true, 1],
  ]);
});

test("timers fire by name with their payload, and a failed one is tried again", onlyInMemory, () => {
  class Clock extends Room {
    override message(_: Socket, said: { name: string; ms: number; payload?: unknown }): void {
      if (said.ms < 0) timers.cancel(said.name);
      else timers.after(said.name, said.ms, said.payload);
    }

    override timer(timer: Timer): void {
      if (timer.name === "fails" && timer.attempt < 2) throw new Error("not yet");
      everyone.send([timer.name, timer.payload ?? null, timer.attempt, timer.at <= context.now()]);
    }
  }
  const room = roomOf(Clock);
  const ana = room.connect("ana");
  room.send(ana, { name: "b", ms: 20, payload: { n: 1 } });
  room.send(ana, { name: "a", ms: 10 });
  room.send(ana, { name: "gone", ms: 5 });
  room.send(ana, { name: "gone", ms: -1 });
  room.send(ana, { name: "fails", ms: 30 });
  room.hibernate();
  room.advance(60_000);
  assert.deepEqual(ana.takeJson(), [
    ["a", null, 0, true],
    ["b", { n: 1 }, 0, true],
    ["fails", null, 2, true],
  ]);
});

test("a timer without a handler is tried again, so that a new version may handle it", onlyInMemory, () => {
  class Without extends Room {
    override message(): void {
      timers.at("x", new Date(context.now() + 5));
    }
  }
  const room = roomOf(Without);
  room.send(room.connect("ana"), "1");
  room.advance(6);
  assert.match(room.world.logged.join(), /the timer "x" is due, but the room has no timer\(\)/);
  assert.equal(room.world.timers.size, 1);
});

test("storage has typed keys, ranges and lists longer than a page", () => {
  class Store extends Room<{ state: { count: number; [note: `note:${string}`]: { text: string } } }> {
    override request(): unknown {
      const { storage } = this;
      storage.put("count", 3);
      storage.put("note:b", { text: "b" });
      storage.put("note:a", { text: "a" });
      const note = storage.get("note:a")?.text;
      const keys = (options: object) => storage.list(options).map(([key]) => key);
      const all = [keys({}), keys({ prefix: "note:" }), keys({ reverse: true, limit: 2 }), keys({ start: "note:b" })];
      const answer = [note, ...all, storage.delete("count"), storage.delete("count")];
      for (let at = 0; at < 1100; at++) storage.put(`note:${String(at).padStart(4, "0")}`, { text: "x" });
      return [...answer, storage.list().length, storage.list({ end: "note:a", reverse: true }).at(-1)?.[0]];
    }
  }
  assert.deepEqual(roomOf(Store).json(), [
    "a",
    ["count", "note:a", "note:b"],
    ["note:a", "note:b"],
    ["note:b", "note:a"],
    ["note:b"],
    true,
    false,
    1102,
    "note:0000",
  ]);
});

test("a list numbers its entries and keeps the numbers", () => {
  class Notes extends Room {
    override request(): unknown {
      const notes = new List<string>("notes");
      const empty = [notes.lastNumber(), notes.newest(5)];
      for (const text of ["a", "b", "c"]) notes.push(text);
      notes.delete(1);
      notes.set(2, "B");
      new List("notes2").push("other");
      return [...empty, notes.lastNumber(), notes.newest(2), notes.after(2), notes.after(0, 1), notes.get(1) ?? null];
    }
  }
  assert.deepEqual(roomOf(Notes).json(), [
    0,
    [],
    3,
    [
      { number: 2, value: "B" },
      { number: 3, value: "c" },
    ],
    [{ number: 3, value: "c" }],
    [{ number: 2, value: "B" }],
    null,
  ]);
});

test("limits are errors with their numbers", () => {
  class Limits extends Room {
    override message(sender: Socket): void {
      const errors: string[] = [];
      const attempt = (run: () => unknown) => {
        try {
          run();
          errors.push("none");
        } catch (error: any) {
          errors.push(error.message);
        }
      };
      attempt(() => storage.put("", 1));
      attempt(() => storage.put("a", undefined));
      attempt(() => storage.put("a", new Uint8Array(2 << 20)));
      attempt(() => (sender.tags = Array.from({ length: 11 }, String)));
      attempt(() => (sender.attachment = "x".repeat(16_384)));
      attempt(() => sender.send("x".repeat(1 << 20)));
      attempt(() => sender.send(undefined));
      attempt(() => sender.close(1006));
      attempt(() => timers.after("", 1));
      attempt(() => timers.after("a", 1, "x".repeat(16_384)));
      attempt(() => timers.after("a", Number.NaN));
      attempt(() => timers.after("a", Infinity));
      attempt(() => timers.at("a", new Date("soon")));
      attempt(() => new Refusal(200, ""));
      sender.send(errors);
    }
  }
  const room = roomOf(Limits);
  const ana = room.connect("ana");
  room.send(ana, "1");
  const [errors] = ana.takeJson();
  for (const [at, pattern] of [
    /put\(""\): a key has 1 to 2,048 bytes/,
    /put\("a"\): undefined is no value/,
    /at most 2 MiB/,
    /at most 10 tags/,
    /16387 bytes; at most 16,384/,
    /at most 1 MiB/,
    /undefined cannot be sent/,
    /closes with 1000 to 1003, 1007 to 1014/,
    /timer "": a name has 1 to 256 bytes/,
    /payload has at most 16,384 bytes/,
    /timer "a": NaN is no time/,
    /timer "a": Infinity is no time/,
    /timer "a": NaN is no time/,
    /status of 400 to 599, not 200/,
  ].entries()) {
    assert.match(errors[at], pattern);
  }
});

test("the engine finds the hooks of a class that is the default export", onlyInMemory, () => {
  const entry =
    "const Default = class extends Room { request() { return 7 } }; Default[Symbol.for('dormouse.serve')](Default)";
  assert.equal(roomOf({ toString: () => `(() => { ${entry} })()` }).request().text, "7");
});

test("a room without handlers accepts clients and answers 404", () => {
  class Empty extends Room {}
  const room = roomOf(Empty);
  const ana = room.connect("ana");
  room.send(ana, "1");
  room.leave(ana);
  assert.equal(ana.takeJson()[0].code, "unknown_type");
  assert.equal(room.request().status, 404);
});

test("claims, permissions and configuration are there", () => {
  class Known extends Room {
    override request(): unknown {
      const { incarnation, name, namespace, wokenBy, config } = context;
      const here = [name(), namespace(), incarnation(), wokenBy(), config("limit") ?? null];
      return [...here, access.may("write"), access.may("admin"), access.claims()];
    }
  }
  const room = roomOf(Known);
  room.world.config.set("limit", "5");
  assert.deepEqual(room.json(), ["room", "TEST", "0000000000000001", "request", "5", true, false, {}]);
});
