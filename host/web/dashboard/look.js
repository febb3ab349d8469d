// @ts-check
/** Looks at the server that the operator asks for, beside the repeated ones of `poll.js`. */

import { banner, poll } from "./poll.js";

/** @param {unknown} error */
export function told(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Looks once, and tells in the banner if that fails.
 *
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} look
 */
export async function lookNow(signal, look) {
  try {
    await look();
    if (!signal.aborted) banner();
  } catch (error) {
    if (!signal.aborted) banner(told(error));
  }
}

/**
 * Looks now, and then every so often while a box is ticked.
 *
 * @param {number} everyMs
 * @param {AbortSignal} signal
 * @param {HTMLInputElement} box
 * @param {() => Promise<void>} look
 */
export function lookWhile(everyMs, signal, box, look) {
  let isFirst = true;
  void poll(everyMs, signal, async () => {
    if (isFirst || box.checked) await look();
    isFirst = false;
  });
}

/**
 * Wraps a look at a list, so that an answer that was overtaken by a later one is dropped.
 *
 * @template Answer
 * @param {() => Promise<Answer>} ask
 * @param {(answer: Answer) => void} show
 */
export function newest(ask, show) {
  let latest = 0;
  return async () => {
    const request = (latest += 1);
    const answer = await ask();
    if (request === latest) show(answer);
  };
}
