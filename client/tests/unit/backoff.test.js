// @ts-check
import { expect, test } from "vitest";
import { backoffDelay } from "../../src/backoff.js";

test("the longest wait doubles with each failure up to 30 s", () => {
  const waits = [0, 1, 2, 3, 4, 5, 6, 7, 50, 5_000].map((failures) => backoffDelay(failures, 1));
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000]);
});

test("the whole span is left to chance, down to no wait at all", () => {
  const chances = [0, 0.25, 0.5, 0.75, 1];
  expect(chances.map((chance) => backoffDelay(0, chance))).toEqual([0, 125, 250, 375, 500]);
  expect(chances.map((chance) => backoffDelay(20, chance))).toEqual([0, 7_500, 15_000, 22_500, 30_000]);
});

test("a wait is a whole number of milliseconds", () => {
  expect(backoffDelay(0, 0.12345)).toBe(62);
});

test("the first and the longest wait can be chosen", () => {
  const waits = [0, 1, 2, 3, 4].map((failures) => backoffDelay(failures, 1, 100, 1_000));
  expect(waits).toEqual([100, 200, 400, 800, 1_000]);
});
