// @ts-check
/** Repeats a look at the server while the page is shown, and tells in the banner when that fails. */

import { byId, fill } from "./dom.js";

/** Shows an error above the page; without a text it is removed. @param {string} [text] */
export function banner(text = "") {
  const element = byId("banner");
  if (element.textContent !== text) fill(element, text);
  element.hidden = text === "";
}

/**
 * Runs `look` now and then every so often, one at a time, until the signal is aborted. A tab in the background rests:
 * its session may end there, and the server is not asked for what nobody sees.
 *
 * @param {number} everyMs
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} look
 */
export async function poll(everyMs, signal, look) {
  while (!signal.aborted) {
    try {
      await look();
      if (!signal.aborted) banner();
    } catch (error) {
      if (signal.aborted) return;
      banner(error instanceof Error ? error.message : String(error));
    }
    await pause(everyMs, signal);
    while (document.hidden && !signal.aborted) await shown(signal);
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function shown(signal) {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
