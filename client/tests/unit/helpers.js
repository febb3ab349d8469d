// @ts-check
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, vi } from "vitest";

/** Every test of a file starts with a fresh clock, and with the longest random wait. */
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
 * Lets time pass, and resolves promises between timers.
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

/** A page around the code under test, and its events. */
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
    /** @param {boolean} persisted It was restored from the back/forward cache. */
    show: (persisted) => page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted })),
    /** @param {"visible" | "hidden"} state */
    becomes(state) {
      document.visibilityState = state;
      document.dispatchEvent(new Event("visibilitychange"));
    },
  };
}

/**
 * Errors that only reach the console.
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
 * A token for a user. Only a server would check its signature.
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
 * Collects events.
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
