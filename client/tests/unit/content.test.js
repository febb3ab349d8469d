// @ts-check
import { expect, test } from "vitest";
import { MAX_CONTENT_UNITS, fitContent } from "../../src/content.js";

test("a text that fits is unchanged", () => {
  expect(fitContent("")).toBe("");
  expect(fitContent("x".repeat(2_000))).toHaveLength(2_000);
  expect(fitContent(`${"x".repeat(1_998)}😀`)).toBe(`${"x".repeat(1_998)}😀`);
});

test("content is cut to 2,000 UTF-16 code units", () => {
  expect(MAX_CONTENT_UNITS).toBe(2_000);
  expect(fitContent("x".repeat(2_001))).toBe("x".repeat(2_000));
  expect(fitContent("😀".repeat(1_001))).toBe("😀".repeat(1_000));
});

test("a surrogate pair at the limit is dropped, not cut", () => {
  expect(fitContent(`${"x".repeat(1_999)}😀`)).toBe("x".repeat(1_999));
  expect(fitContent("a😀", 2)).toBe("a");
});

test("half a surrogate pair is replaced anywhere", () => {
  expect(fitContent("a\uD83Db")).toBe("a\uFFFDb");
  expect(fitContent("\uDE00")).toBe("\uFFFD");
  expect(fitContent("a\uD83D")).toBe("a\uFFFD");
  expect(fitContent("a\uD83D", 2)).toBe("a\uFFFD");
  expect(fitContent("😀\uD83D😀")).toBe("😀\uFFFD😀");
});
