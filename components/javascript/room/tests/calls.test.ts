/** Calls of clients, and the checks of `is` and of other libraries. */
import assert from "node:assert/strict";
import test from "node:test";

import { call, ClientError, everyone, is, Room, roomOf, type Socket, storage } from "../../testing/outer/kit.js";
import type { CallsOf } from "../src/index.js";

class Game extends Room {
  override calls = {
    move: call(is.object({ at: is.integer({ min: 0, max: 8 }) }), (caller, { at }) => {
      if (storage.get(`field:${at}`) !== undefined) throw new ClientError("taken", `field ${at} is taken`);
      storage.put(`field:${at}`, caller.user.name);
      everyone.except(caller).send({ type: "moved", at });
      return { fields: storage.list().length };
    }),
    nothing: call(is.anything(), () => {}),
    breaks: call(is.anything(), () => {
      storage.put("broken", true);
      throw new Error("a bug");
    }),
    late: call(is.anything(), () => {
      storage.put("late", true);
      throw new ClientError("late", "too late");
    }),
    async: call(is.anything(), async () => 1),
  };

  override message(_: Socket, said: unknown): void {
    everyone.send({ type: "heard", said });
  }
}

const two = () => {
  const room = roomOf(Game);
  return { room, ana: room.connect("ana"), bo: room.connect("bo") };
};

test("only the caller gets the answer", () => {
  const { room, ana, bo } = two();
  room.send(ana, { type: "call", id: "c1", name: "move", args: { at: 4 } });
  room.hibernate();
  room.send(ana, { type: "call", id: "c2", name: "nothing" });
  assert.deepEqual(ana.takeJson(), [
    { type: "answer", id: "c1", value: { fields: 1 } },
    { type: "answer", id: "c2", value: null },
  ]);
  assert.deepEqual(bo.takeJson(), [{ type: "moved", at: 4 }]);
});

test("errors are answers to the caller alone, with a code and a text", () => {
  const { room, ana, bo } = two();
  room.send(bo, { type: "call", id: "b", name: "move", args: { at: 4 } });
  ana.takeJson();
  bo.takeJson();
  const error = (frame: object) => {
    room.send(ana, frame);
    return ana.takeJson()[0];
  };
  const answer = (code: string, message: string) => ({ type: "answer", id: "c", error: { code, message } });
  const move = { type: "call", id: "c", name: "move" };
  assert.deepEqual(error({ ...move, args: { at: 4 } }), answer("taken", "field 4 is taken"));
  assert.deepEqual(error({ ...move, args: { at: 9 } }), answer("bad_args", "at must be 0 to 8"));
  assert.deepEqual(error(move), answer("bad_args", "at must be a whole number"));
  assert.deepEqual(error({ ...move, name: "dance" }), answer("unknown_call", 'there is no call "dance"'));
  assert.deepEqual(error({ ...move, name: "toString" }), answer("unknown_call", 'there is no call "toString"'));
  for (const frame of [
    { type: "call", name: "move" },
    { ...move, id: "" },
    { ...move, id: "x".repeat(129) },
    { ...move, name: 5 },
  ]) {
    const { type, code } = error({ ...frame, clientId: "c9" });
    assert.deepEqual([type, code], ["error", "bad_call"]);
  }
  assert.deepEqual(bo.takeJson(), []);
});

test("a call that fails is undone, and so is one that is refused behind a change", () => {
  const { room, ana } = two();
  for (const [name, pattern] of [
    ["breaks", /a bug/],
    ["late", /ClientError came behind a change/],
    ["async", /calls.async returned a promise/],
  ] as const) {
    assert.throws(() => room.send(ana, { type: "call", id: "c", name }), pattern);
  }
  assert.equal(room.world.storage.size, 0);
  assert.deepEqual(ana.takeJson(), []);
});

test("a room without calls hears such a frame as a message", () => {
  class Plain extends Room {
    override message(sender: Socket, said: unknown): void {
      sender.send(said);
    }
  }
  const room = roomOf(Plain);
  const ana = room.connect("ana");
  room.send(ana, { type: "call", id: "c", name: "x" });
  assert.deepEqual(ana.takeJson(), [{ type: "call", id: "c", name: "x" }]);
});

test("a schema of another library checks messages", () => {
  class Standard extends Room {
    override hears = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value: any) =>
          typeof value.n === "number"
            ? { value: { n: value.n * 2 } }
            : { issues: [{ message: "must be a number", path: ["n"] }, { message: "and nothing else" }] },
      },
    };

    override message(sender: Socket, said: unknown): void {
      sender.send(said);
    }
  }
  const room = roomOf(Standard);
  const ana = room.connect("ana");
  room.send(ana, { n: 2 });
  room.send(ana, {});
  assert.deepEqual(ana.takeJson(), [
    { n: 4 },
    { type: "error", code: "bad_message", message: "n: must be a number; and nothing else" },
  ]);
});

test("the checks of is accept and refuse by their limits", () => {
  class Checks extends Room {
    override request(): unknown {
      const inner = is.object({ a: is.optional(is.integer()), b: is.list(is.oneOf("x", 2, null), { max: 2 }) });
      const checks: Record<string, (value: unknown) => unknown> = {
        text: is.text({ min: 2, max: 3 }),
        number: is.number({ min: -1.5, max: 2 }),
        integer: is.integer({ max: 5 }),
        boolean: is.boolean(),
        inner: is.object({ inner }),
      };
      const results: unknown[] = [];
      for (const [name, value] of JSON.parse(storage.get("cases"))) {
        try {
          results.push(checks[name]!(value));
        } catch (error: any) {
          results.push(`! ${error.message}`);
        }
      }
      return results;
    }
  }
  const cases: [string, unknown, unknown][] = [
    ["text", "ab", "ab"],
    ["text", "a", "! it must have 2 to 3 characters"],
    ["text", null, "! it must be a text"],
    ["number", 2, 2],
    ["number", 2.1, "! it must be -1.5 to 2"],
    ["number", "2", "! it must be a number"],
    ["integer", 5, 5],
    ["integer", 1.5, "! it must be a whole number"],
    ["integer", 6, "! it must be at most 5"],
    ["boolean", false, false],
    ["boolean", 0, "! it must be true or false"],
    ["inner", { inner: { b: [2, null], c: 1 } }, { inner: { b: [2, null] } }],
    ["inner", { inner: { a: 1, b: [] } }, { inner: { a: 1, b: [] } }],
    ["inner", { inner: { a: "1", b: [] } }, "! inner.a must be a whole number"],
    ["inner", { inner: { b: ["x", "y"] } }, '! inner.b.1 must be one of "x",2,null'],
    ["inner", { inner: { b: ["x", "x", "x"] } }, "! inner.b must have at most 2 elements"],
    ["inner", { inner: { b: {} } }, "! inner.b must be a list"],
    ["inner", [], "! it must be an object"],
    ["inner", {}, "! inner must be an object"],
  ];
  const room = roomOf(Checks);
  const json = JSON.stringify(JSON.stringify(cases.map(([name, value]) => [name, value])));
  room.world.storage.set("cases", `\x01${json}`);
  assert.deepEqual(
    room.json(),
    cases.map(([, , expected]) => expected),
  );
});

class Purse extends Room {
  override calls = {
    pay: call(is.object({ cents: is.integer({ min: 1 }) }), (caller, { cents }) => {
      const left: number = (storage.get("left") ?? 100) - cents;
      if (left < 0) throw new ClientError("too_little", `${cents - (left + cents)} cents are missing`);
      storage.put("left", left);
      return { left, by: caller.user.name };
    }),
    left: call(is.anything(), () => (storage.get("left") as number | undefined) ?? 100, { readOnly: true }),
    lies: call(is.anything(), () => storage.put("left", 0), { readOnly: true }),
    talks: call(is.anything(), () => "x".repeat(70_000)),
  };

  override request(): unknown {
    return storage.list().map(([key]) => key);
  }
}

const pay = (id: string, cents: number, name = "pay") => ({ type: "call", id, name, args: { cents }, once: true });

test("a call that is sent again runs once and gets the same answer", () => {
  const room = roomOf(Purse);
  const [ana, bo] = [room.connect("ana"), room.connect("bo")];
  const answer = (id: string, left: number, by: string) => ({ type: "answer", id, value: { left, by } });
  room.send(ana, pay("c1", 30));
  room.hibernate();
  room.send(ana, pay("c1", 30));
  assert.deepEqual(ana.takeJson(), [answer("c1", 70, "ana"), answer("c1", 70, "ana")]);
  room.restart();
  const again = room.connect("ana");
  room.send(again, pay("c1", 30));
  assert.deepEqual(again.takeJson(), [answer("c1", 70, "ana")]);
  // An id is the user's own.
  const other = room.connect("bo");
  room.send(other, pay("c1", 30));
  assert.deepEqual(other.takeJson(), [answer("c1", 40, "bo")]);
  assert.deepEqual(bo.takeJson(), []);
  // Without `once` it runs each time, and the library's records are not among the room's keys.
  room.send(other, { ...pay("c1", 10), once: false });
  assert.deepEqual(other.takeJson(), [answer("c1", 30, "bo")]);
  assert.deepEqual(room.json(), ["left"]);
});

test("the id of a call means one call, and a refusal is judged again", () => {
  const room = roomOf(Purse);
  const ana = room.connect("ana");
  const error = (frame: object) => {
    room.send(ana, frame);
    return ana.takeJson()[0].error?.code;
  };
  assert.equal(error(pay("c1", 101)), "too_little");
  assert.equal(error(pay("c1", 100)), undefined);
  assert.equal(error(pay("c1", 100, "talks")), "id_reused");
  assert.equal(error(pay("c2", 1, "talks")), undefined);
  assert.equal(error(pay("c2", 1, "talks")), "answer_not_kept");
});

test("a call that only reads stores nothing, and may not change anything", () => {
  const room = roomOf(Purse);
  const ana = room.connect("ana");
  room.send(ana, pay("c1", 1, "left"));
  assert.deepEqual(ana.takeJson(), [{ type: "answer", id: "c1", value: 100 }]);
  assert.equal(room.world.storage.size, 0);
  assert.throws(() => room.send(ana, pay("c2", 1, "lies")), /the call lies is readOnly, and it made a change/);
});

test("answers are kept for ten minutes and then removed", () => {
  const room = roomOf(Purse);
  const ana = room.connect("ana");
  for (let n = 0; n < 10; n += 1) room.send(ana, pay(`c${n}`, 1));
  room.advance(10 * 60_000 - 1);
  room.send(ana, pay("c0", 1));
  assert.equal(ana.takeJson().at(-1).value.left, 99);
  room.advance(10 * 60_000 + 1);
  for (let n = 0; n < 3; n += 1) room.send(ana, pay(`d${n}`, 1));
  // Those three, and `left`.
  assert.equal(room.world.storage.size, 4);
});

test("a client has the types of the calls of a room", () => {
  type Client = CallsOf<Purse>;
  const pays: Client["pay"] = ({ cents }) => ({ left: cents, by: "ana" });
  // @ts-expect-error: cents is a number.
  const wrong = () => pays({ cents: "1" });
  const left: number = pays({ cents: 1 }).left;
  assert.deepEqual([left, typeof wrong], [1, "function"]);
});
