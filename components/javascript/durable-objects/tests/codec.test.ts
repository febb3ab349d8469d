/** The codec of the engine, in Rust, beside the reference in `testing/clone`. */
import assert from "node:assert/strict";
import test from "node:test";

import { isEngine } from "../../testing/outer/engine.js";
import { Lab } from "../../testing/outer/objects.js";
import type { isDeepEqual as IsDeepEqual } from "../../testing/realm/assert.js";
import type { Random as AnyRandom, valueOf as anyValueOf } from "../../testing/tests/random-values.js";

interface Codec {
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

declare const codec: Codec;
declare const reference: Codec;
declare const Random: typeof AnyRandom;
declare const valueOf: typeof anyValueOf;
declare const isDeepEqual: typeof IsDeepEqual;

const onlyInTheEngine = isEngine ? {} : { skip: "only with --engine" };

const seed = Number(process.env["DORMOUSE_TEST_SEED"] ?? Date.now());

test("the engine writes and reads values as the reference does", onlyInTheEngine, () => {
  const lab = new Lab();
  for (let turn = 0; turn < 30; turn++) {
    const differences = lab.run((_, seed) => {
      const random = new Random(seed);
      const found: string[] = [];
      for (let round = 0; round < 20; round++) {
        const value = valueOf(random);
        const bytes = codec.encode(value);
        const expected = reference.encode(value);
        const hex = (bytes: Uint8Array) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        if (hex(bytes) !== hex(expected)) found.push(`round ${round}: ${hex(bytes)} instead of ${hex(expected)}`);
        else if (!isDeepEqual(codec.decode(bytes), value)) found.push(`round ${round}: the engine reads another value`);
        else if (!isDeepEqual(reference.decode(bytes), value)) found.push(`round ${round}: the reference does`);
      }
      return found;
    }, seed + turn);
    assert.deepEqual(differences, [], `DORMOUSE_TEST_SEED=${seed}, turn ${turn}`);
  }
});

test("damaged bytes are an error or another value for the engine, and never end the turn", onlyInTheEngine, () => {
  const lab = new Lab();
  for (let turn = 0; turn < 30; turn++) {
    lab.run((_, seed) => {
      const random = new Random(seed);
      for (let round = 0; round < 20; round++) {
        const bytes = codec.encode(valueOf(random));
        for (let changes = 1 + random.below(3); changes > 0; changes--) {
          bytes[random.below(bytes.length)] = random.below(256);
        }
        try {
          codec.encode(codec.decode(bytes.subarray(0, bytes.length - random.below(2))));
        } catch (error) {
          if (!(error instanceof Error)) throw new Error(`round ${round}: ${String(error)} was thrown`);
        }
      }
    }, seed + turn);
  }
});
