// @ts-check
import { describe, expect, test } from "vitest";
import { CONNECTION_TEXTS, canRetryNow, connectionStatusOf, typingText } from "../../src/view/words.js";

describe("the status of a connection", () => {
  test.each(
    /** @type {const} */ ([
      ["open", undefined, "open"],
      ["connecting", undefined, "opening"],
      ["waiting", 1006, "waiting"],
      ["waiting", 1013, "waiting"],
      ["waiting", 1001, "returning"],
      ["closed", undefined, "closed"],
      ["closed", 4403, "forbidden"],
      ["closed", 4401, "signed-out"],
      ["closed", 1008, "closed"],
    ]),
  )("%s after %s is %s", (state, code, plight) => {
    expect(connectionStatusOf({ state, close: code === undefined ? undefined : { code, reason: "" } })).toBe(plight);
  });

  test("has a different text for each state", () => {
    expect(Object.keys(CONNECTION_TEXTS)).toEqual([
      "open",
      "opening",
      "returning",
      "waiting",
      "forbidden",
      "signed-out",
      "closed",
    ]);
    expect(new Set(Object.values(CONNECTION_TEXTS)).size).toBe(7);
    expect(Object.isFrozen(CONNECTION_TEXTS)).toBe(true);
  });
});

describe("the reader can connect at once", () => {
  test("if it is closed, or waits for more than two seconds", () => {
    expect(canRetryNow({ state: "closed" }, 0)).toBe(true);
    expect(canRetryNow({ state: "waiting", retryAt: 12_001 }, 10_000)).toBe(true);
  });

  test("but not if it is open or connects within two seconds", () => {
    expect(canRetryNow({ state: "waiting", retryAt: 12_000 }, 10_000)).toBe(false);
    expect(canRetryNow({ state: "waiting" }, 0)).toBe(false);
    expect(canRetryNow({ state: "open", retryAt: 99_999 }, 0)).toBe(false);
    expect(canRetryNow({ state: "connecting" }, 0)).toBe(false);
  });
});

test.each([
  [["Ana"], "Ana is typing"],
  [["Ana", "Bo"], "Ana and Bo are typing"],
  [["Ana", "Bo", "Cy"], "Ana, Bo and Cy are typing"],
  [["Ana", "Bo", "Cy", "Di"], "Several people are typing"],
])("%j gives: %s", (names, words) => {
  expect(typingText(names)).toBe(words);
});
