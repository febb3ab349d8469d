// @ts-check
import { describe, expect, test } from "vitest";
import { CloseCode, afterClose, closeFromStatus, hintedDelay } from "../../src/close-codes.js";

describe("the step after a close", () => {
  test("a forbidden client does not reconnect", () => {
    expect(afterClose(CloseCode.forbidden, false)).toBe("stop");
    expect(afterClose(4403, true)).toBe("stop");
  });

  test("refused credentials are refreshed once", () => {
    expect(afterClose(4401, false)).toBe("refresh-credentials");
    expect(afterClose(4401, true)).toBe("stop");
  });

  test.each([1000, 1001, 1005, 1006, 1008, 1009, 1011, 1012, 1013, 4400, 4408, 4429, 4999])(
    "after %i one comes back",
    (code) => {
      expect(afterClose(code, false)).toBe("reconnect");
      expect(afterClose(code, true)).toBe("reconnect");
    },
  );

  test("the codes are those of the protocol and two local ones", () => {
    expect(Object.values(CloseCode)).toEqual([
      1001, 1002, 1006, 1008, 1009, 1011, 1012, 1013, 4400, 4401, 4403, 4408, 4429,
    ]);
    expect(Object.isFrozen(CloseCode)).toBe(true);
  });
});

describe("the hinted delay", () => {
  test.each([
    ["retry-after=5", 5_000],
    ["restarting; retry-after=0.25", 250],
    ["Retry-After=2, please", 2_000],
    ["retry-after=0", 0],
    ["retry-after=12.", 12_000],
  ])("%j is understood", (reason, ms) => {
    expect(hintedDelay(reason)).toBe(ms);
  });

  test.each([
    "",
    "going away",
    "retry-after=",
    "retry-after=soon",
    "retry-after=-1",
    "retry after=5",
    "xretry-after=5",
    "retry-after=1e9",
    "retry-after=0x10",
    "retry-after=5-10",
    "retry-after=1.2.3",
    "retry-after=NaN",
    "retry-after=Infinity",
  ])("%j is no hint", (reason) => {
    expect(hintedDelay(reason)).toBeUndefined();
  });

  test("a hint is cut at one hour", () => {
    expect(hintedDelay("retry-after=3600")).toBe(3_600_000);
    expect(hintedDelay("retry-after=3601")).toBe(3_600_000);
    expect(hintedDelay(`retry-after=${"9".repeat(400)}`)).toBe(3_600_000);
  });
});

describe("the close for an HTTP status", () => {
  test.each([
    [401, CloseCode.unauthorized],
    [403, CloseCode.forbidden],
    [429, CloseCode.rateLimited],
    [503, CloseCode.overloaded],
  ])("%i is %i", (status, code) => {
    expect(closeFromStatus(status, null)).toEqual({ code, reason: `HTTP ${status}` });
  });

  test("Retry-After becomes the hint of a close reason", () => {
    const close = closeFromStatus(503, "7");
    expect(hintedDelay(close?.reason ?? "")).toBe(7_000);
  });

  test("a Retry-After that holds a date is left alone", () => {
    expect(closeFromStatus(503, "Wed, 21 Oct 2026 07:28:00 GMT")).toEqual({
      code: CloseCode.overloaded,
      reason: "HTTP 503",
    });
  });

  test.each([200, 101, 302, 400, 404, 426, 500, 502])("%i explains nothing", (status) => {
    expect(closeFromStatus(status, "7")).toBeUndefined();
  });
});
