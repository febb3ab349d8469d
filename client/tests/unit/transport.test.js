// @ts-check
import { describe, expect, test } from "vitest";
import { isBlocked, shouldExplain, nextTransport } from "../../src/transport.js";

/** @param {Partial<Parameters<typeof nextTransport>[0]>} [known] */
const next = (known) =>
  nextTransport({
    wanted: "auto",
    hasWebSocket: true,
    events: "given",
    isTrial: false,
    blockedUntil: 0,
    now: 1_000,
    ...known,
  });

describe("the next connection", () => {
  test("is a WebSocket by default", () => {
    expect(next()).toBe("websocket");
  });

  test("is a stream in a trial and while WebSockets are blocked", () => {
    expect(next({ isTrial: true })).toBe("events");
    expect(next({ blockedUntil: 1_001 })).toBe("events");
    expect(next({ blockedUntil: 1_000 })).toBe("websocket");
  });

  test("is a stream where there are no WebSockets at all", () => {
    expect(next({ hasWebSocket: false })).toBe("events");
  });

  test("is the wanted one", () => {
    expect(next({ wanted: "events" })).toBe("events");
    expect(next({ wanted: "websocket", isTrial: true, blockedUntil: 2_000, hasWebSocket: false })).toBe("websocket");
  });

  test("is a WebSocket if no events are configured", () => {
    for (const wanted of /** @type {const} */ (["auto", "websocket", "events"])) {
      expect(next({ events: "unknown", wanted, isTrial: true, hasWebSocket: false })).toBe("websocket");
    }
  });

  test("is a WebSocket if there are no streams", () => {
    expect(next({ events: "absent", isTrial: true, blockedUntil: 2_000 })).toBe("websocket");
    expect(next({ events: "absent", hasWebSocket: false })).toBe("events");
    expect(next({ events: "absent", wanted: "events" })).toBe("events");
  });
});

/** @typedef {import("../../src/connection.js").Ending} Ending */

const NEVER_OPEN = /** @type {const} */ ({ code: 1006, opened: false, received: false, cause: "closed" });

describe("with events", () => {
  /** @param {Partial<Ending>} ending @param {number} failures */
  const asks = (ending, failures) => shouldExplain({ ...NEVER_OPEN, ...ending }, failures, true);

  test("it asks after a second failure or a first timeout", () => {
    expect(asks({}, 0)).toBe(false);
    expect(asks({}, 1)).toBe(true);
    expect(asks({ cause: "late" }, 0)).toBe(true);
    expect(asks({ opened: true, cause: "mute" }, 0)).toBe(true);
  });

  test("it asks after a connection that was cut before any frame", () => {
    expect(asks({ opened: true }, 1)).toBe(true);
  });

  test("it does not ask after frames, or a close by the server", () => {
    expect(asks({ opened: true, received: true }, 3)).toBe(false);
    expect(asks({ opened: true, received: true, cause: "silent" }, 3)).toBe(false);
    expect(asks({ opened: true, code: 1013 }, 3)).toBe(false);
    expect(asks({ opened: true, code: 4401 }, 3)).toBe(false);
  });
});

describe("without events", () => {
  /** @param {Partial<Ending>} ending @param {number} failures */
  const asks = (ending, failures) => shouldExplain({ ...NEVER_OPEN, ...ending }, failures, false);

  test("it asks only after the second failure before opening", () => {
    expect(asks({}, 0)).toBe(false);
    expect(asks({}, 1)).toBe(true);
    expect(asks({ cause: "late" }, 0)).toBe(false);
    expect(asks({ opened: true }, 1)).toBe(false);
  });
});

test("one blocked attempt is enough, three after a working one", () => {
  expect([0, 1].map((signs) => isBlocked(signs, false))).toEqual([false, true]);
  expect([1, 2, 3].map((signs) => isBlocked(signs, true))).toEqual([false, false, true]);
});
