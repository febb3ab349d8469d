// @ts-check
import { expect, test } from "vitest";
import { parseFrame } from "../../src/protocol.js";

test("a frame is an object with a type", () => {
  expect(parseFrame('{"type":"typing","userId":"bo"}')).toEqual({ type: "typing", userId: "bo" });
});

test.each(["", "hello", "{", "null", "7", "[]", "{}", '{"type":7}', '"type"'])("%j is not a frame", (data) => {
  expect(parseFrame(data)).toBeUndefined();
});

test("bytes are not a frame", () => {
  expect(parseFrame(new TextEncoder().encode('{"type":"typing"}').buffer)).toBeUndefined();
});
