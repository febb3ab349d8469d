// @ts-check
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, vi } from "vitest";

/** Every test of a file begins with a fresh clock, and with the longest wait that chance allows. */
export function useFakeTime() {
  beforeEach(() => {
    vi.useFakeTimers();
    // Newer versions of Node have locks, and tests with locks bring their own.
    vi.stubGlobal("navigator", undefined);
    vi.spyOn(Math, "random").mockReturnValue(1);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
    vi.unstubAllGlobals();
  });
}

/**
 * Time passes, and between any two timers the promises are kept.
 *
 * @param {number} ms
 */
export async function pass(ms) {
  const end = Date.now() + ms;
  setTimeout(() => {}, ms);
  await promises();
  while (Date.now() < end) {
    vi.advanceTimersToNextTimer();
    await promises();
  }
  vi.advanceTimersByTime(0);
  await promises();
}

async function promises() {
  for (let turn = 0; turn < 12; turn += 1) await null;
}

/** A page around the code under test, and what may happen to it. */
export function fakePage() {
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("document", document);
  return {
    /** How many listeners there are. */
    get ears() {
      const types = ["online", "offline", "pageshow", "visibilitychange"];
      return [page, document].flatMap((target) => types.flatMap((type) => getEventListeners(target, type))).length;
    },
    online: () => page.dispatchEvent(new Event("online")),
    offline: () => page.dispatchEvent(new Event("offline")),
    /** @param {boolean} persisted It was kept whole while the reader was elsewhere. */
    show: (persisted) => page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted })),
    /** @param {"visible" | "hidden"} state */
    becomes(state) {
      document.visibilityState = state;
      document.dispatchEvent(new Event("visibilitychange"));
    },
  };
}

/**
 * The errors that reach nobody but the console.
 *
 * @returns {unknown[]}
 */
export function reportedErrors() {
  /** @type {unknown[]} */
  const errors = [];
  vi.stubGlobal("queueMicrotask", (/** @type {() => void} */ report) => {
    try {
      report();
    } catch (error) {
      errors.push(error);
    }
  });
  return errors;
}

/**
 * @param {(url: URL, request: RequestInit) => Response | Promise<Response>} answer
 */
export function fakeFetch(answer) {
  const fetch = vi.fn(async (/** @type {string} */ url, /** @type {RequestInit} */ request = {}) =>
    answer(new URL(url), request),
  );
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

/**
 * A token that says who it stands for. Its signature is for the server to look at.
 *
 * @param {unknown} claims
 */
export function jwt(claims) {
  return `${base64url({ alg: "HS256" })}.${base64url(claims)}.c2lnbmVk`;
}

/** @param {unknown} value */
function base64url(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/**
 * Collects what happens.
 *
 * @param {{ on: (type: any, listener: (event: any) => void) => unknown }} emitter
 * @param {string} type
 * @returns {any[]}
 */
export function eventsOf(emitter, type) {
  /** @type {any[]} */
  const events = [];
  emitter.on(type, (event) => events.push(event));
  return events;
}
