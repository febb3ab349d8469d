// @ts-check
import { describe, expect, test } from "vitest";
import { Palette, hueOf, initialOf } from "../../src/view/people.js";

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

describe("the colours of a room", () => {
  test("are different ones for as many users as there are colours", () => {
    for (let room = 0; room < 200; room += 1) {
      const palette = new Palette();
      const hues = Array.from({ length: 8 }, (_, user) => palette.hueOf(`user ${room} ${user}`));
      expect(new Set(hues).size).toBe(8);
    }
  });

  test("are the preferred ones if they are free, and stay", () => {
    const palette = new Palette();
    // Both prefer the same colour.
    expect([hueOf("ana"), hueOf("名前")]).toEqual([6, 6]);
    expect([palette.hueOf("ana"), palette.hueOf("名前")]).toEqual([6, 7]);
    for (let user = 0; user < 50; user += 1) palette.hueOf(`user ${user}`);
    expect([palette.hueOf("名前"), palette.hueOf("ana")]).toEqual([7, 6]);
  });

  test("are given out evenly where there are more users", () => {
    const palette = new Palette();
    const counts = Array.from({ length: 8 }, () => 0);
    for (let user = 0; user < 80; user += 1) {
      const hue = palette.hueOf(`user ${user}`);
      counts[hue] = (counts[hue] ?? NaN) + 1;
    }
    expect(counts).toEqual(Array(8).fill(10));
  });

  test("of the users who were not shown for longest are forgotten", () => {
    const palette = new Palette();
    palette.hueOf("ana");
    palette.hueOf("名前");
    for (let user = 0; user < 499; user += 1) {
      palette.hueOf(`user ${user}`);
      palette.hueOf("名前");
    }
    expect(palette.hueOf("名前")).toBe(7);
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
