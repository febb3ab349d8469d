/** Calls of clients, and the checks of `is` and of other libraries. */
import assert from "node:assert/strict";
import test from "node:test";

import { call, ClientError, everyone, is, Room, roomOf, type Socket, storage } from "../../testing/outer/kit.js";

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
