// @ts-check
import { describe, expect, test } from "vitest";
import { hueOf, initialOf } from "../../src/view/people.js";

describe("the hue of a user", () => {
  test("is one of eight, and all are used alike", () => {
    const counts = Array.from({ length: 8 }, () => 0);
    for (let number = 0; number < 800; number += 1) {
      const hue = hueOf(`user-${number}`);
      counts[hue] = (counts[hue] ?? NaN) + 1;
    }
    expect(counts).toHaveLength(8);
    expect(Math.min(...counts)).toBeGreaterThan(50);
    expect(Math.max(...counts)).toBeLessThan(150);
  });

  test("stays with the user, on every page and in every version", () => {
    expect(["ana", "bo", "cy", "名前"].map(hueOf)).toEqual([6, 1, 2, 6]);
  });
});

test.each([
  ["ana", "A"],
  ["  bo", "B"],
  ["élise", "É"],
  ["e\u0301lise", "E\u0301"],
  ["👩‍🚀 Cy", "👩‍🚀"],
  ["名前", "名"],
  ["", "?"],
  ["   ", "?"],
])("the initial of %j is %j", (name, initial) => {
  expect(initialOf(name)).toBe(initial);
});
