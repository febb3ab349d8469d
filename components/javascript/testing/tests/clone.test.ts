/** The reference implementation of the clone format. */
import assert from "node:assert/strict";
import test from "node:test";

import { decode } from "../clone/decode.js";
import { encode } from "../clone/encode.js";
import { isDeepEqual } from "../realm/assert.js";
import { Random, valueOf } from "./random-values.js";

const version = (value: unknown): number | undefined => encode(value)[0];

test("plain data is JSON, so that a dump can be read", () => {
  const value = { text: 'a"é\ud800', list: [1, 1.5, true, null], "": {} };
  assert.equal(new TextDecoder().decode(encode(value)), `\x01${JSON.stringify(value)}`);
  assert.deepEqual([...encode(new Uint8Array([1, 2]))], [0, 1, 2]);
});

test("what JSON would lose is tagged", () => {
  const shared = {};
  const sparse = [1, , 3];
  const named = Object.assign([1], { name: "x" });
  for (const value of [undefined, -0, NaN, Infinity, 1n, new Date(), [undefined], { a: undefined }, sparse, named]) {
    assert.equal(version(value), 2, String(value));
  }
  assert.equal(version([shared, shared]), 2);
  assert.equal(version([{}, {}]), 1);
});

test("the format is fixed", () => {
  for (const [value, bytes] of [
    [undefined, "_"],
    [[1n, -0, undefined], "a\x03I\x011N\0\0\0\0\0\0\0\x80_"],
    [{ a: undefined, b: "\ud800" }, "o\x02S\x01a_S\x01bW\x02\x00\xd8"],
    [new Map([["k", new Set([true, null])]]), "m\x01S\x01ks\x02T0"],
    [/a/gi, "x\x01a\x02gi"],
    [new Uint16Array([258]), "v\x04\x02\x02\x01"],
    [new ArrayBuffer(1), "b\x01\x00"],
    [Object("s"), "pS\x01s"],
  ] as const) {
    assert.equal(Buffer.from(encode(value)).toString("latin1"), `\x02${bytes}`);
  }
});

test("identity and cycles survive", () => {
  const shared = { n: 1 };
  const list: unknown[] = [shared, shared];
  list.push(list);
  const copy = decode(encode(list)) as any[];
  assert.equal(copy[0], copy[1]);
  assert.equal(copy[2], copy);
});

test("an instance of a class becomes a plain object, and what has no clone is refused", () => {
  class Point {
    x = 1;
    move() {}
  }
  assert.deepEqual(decode(encode(new Point())), { x: 1 });
  for (const value of [() => {}, Symbol("s"), Promise.resolve(), new WeakMap(), { f() {} }, [new URL("http://a/")]]) {
    assert.throws(() => encode(value), { name: "DataCloneError", code: 25, message: /could not be cloned\.$/ });
  }
});

test("an error keeps its class, name, message, stack and cause", () => {
  class OwnError extends Error {
    override name = "OwnError";
  }
  const error = new RangeError("far", { cause: new OwnError("near") });
  const copy = decode(encode(error)) as RangeError;
  assert.ok(copy instanceof RangeError);
  assert.deepEqual([copy.message, copy.stack], [error.message, error.stack]);
  assert.deepEqual([(copy.cause as Error).name, (copy.cause as Error).message], ["OwnError", "near"]);
});

test("a property named __proto__ stays a property", () => {
  const value = JSON.parse('{"__proto__":{"x":1}}');
  for (const copy of [decode(encode(value)), decode(encode([value, 1n])) as any].map((one) => one[0] ?? one)) {
    assert.deepEqual(Object.keys(copy), ["__proto__"]);
    assert.equal(copy.x, undefined);
  }
});

test("a value that is nested too deeply is refused, and deep JSON is tagged", () => {
  const nested = (depth: number) => {
    let value: unknown = 1;
    for (let at = 0; at < depth; at++) value = [value];
    return value;
  };
  assert.deepEqual([version(nested(101)), version(nested(102))], [1, 2]);
  assert.ok(isDeepEqual(decode(encode(nested(500))), nested(500)));
  assert.throws(() => encode(nested(501)), { name: "DataCloneError" });
});

test("any cloneable value comes back equal", () => {
  const seed = Number(process.env["DORMOUSE_TEST_SEED"] ?? Date.now());
  const random = new Random(seed);
  for (let round = 0; round < 1_000; round++) {
    const value = valueOf(random);
    const bytes = encode(value);
    const copy = decode(bytes);
    assert.ok(isDeepEqual(value, copy), `DORMOUSE_TEST_SEED=${seed}, round ${round}`);
    assert.deepEqual(encode(copy), bytes, `DORMOUSE_TEST_SEED=${seed}, round ${round}: the bytes differ`);
  }
});

test("damaged bytes are an error or another value, and never end the program", () => {
  const seed = Number(process.env["DORMOUSE_TEST_SEED"] ?? Date.now());
  const random = new Random(seed);
  for (let round = 0; round < 2_000; round++) {
    const bytes = encode(valueOf(random));
    for (let changes = 1 + random.below(3); changes > 0; changes--) {
      bytes[random.below(bytes.length)] = random.below(256);
    }
    try {
      decode(bytes.subarray(0, bytes.length - random.below(2)));
    } catch (error) {
      assert.ok(error instanceof Error, `DORMOUSE_TEST_SEED=${seed}, round ${round}`);
    }
  }
});
