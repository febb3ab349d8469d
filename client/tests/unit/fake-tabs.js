// @ts-check
/** Fake Web Locks and channels, which the tabs of one browser share. */

import { vi } from "vitest";

/**
 * @typedef {Object} Waiting
 * @property {string} name
 * @property {(lock: object | null) => unknown} run
 * @property {(value: unknown) => void} done
 * @property {(error: unknown) => void} fail
 */

export class FakeLocks {
  /** @type {Map<string, { owner: object, fail: (error: unknown) => void }>} */
  #held = new Map();
  /** @type {Waiting[]} */
  #queue = [];
  /** Every request fails, as in a sandboxed frame. */
  areRefused = false;

  /**
   * @param {string} name
   * @param {{ ifAvailable?: boolean, steal?: boolean, signal?: AbortSignal }} options
   * @param {(lock: object | null) => unknown} run
   */
  request = (name, { ifAvailable, steal, signal }, run) =>
    new Promise((resolve, reject) => {
      if (this.areRefused) return reject(new DOMException("not here", "SecurityError"));
      if (signal?.aborted) return reject(signal.reason);
      const waiting = { name, run, done: resolve, fail: reject };
      if (steal) {
        this.#held.get(name)?.fail(new DOMException("stolen", "AbortError"));
        this.#held.delete(name);
        return this.#grant(waiting);
      }
      if (!this.#held.has(name)) return this.#grant(waiting);
      if (ifAvailable) return queueMicrotask(async () => resolve(await run(null)));
      this.#queue.push(waiting);
      signal?.addEventListener("abort", () => {
        if (!this.#queue.includes(waiting)) return;
        this.#queue = this.#queue.filter((other) => other !== waiting);
        reject(signal.reason);
      });
    });

  /** @param {string} part Of the name. */
  held(part) {
    return [...this.#held.keys()].filter((name) => name.includes(part)).length;
  }

  /** @param {Waiting} waiting */
  #grant({ name, run, done, fail }) {
    const owner = {};
    this.#held.set(name, { owner, fail });
    void Promise.resolve()
      .then(() => run({ name }))
      .then(done, fail)
      .then(() => {
        if (this.#held.get(name)?.owner !== owner) return;
        this.#held.delete(name);
        const next = this.#queue.find((other) => other.name === name);
        this.#queue = this.#queue.filter((other) => other !== next);
        if (next) this.#grant(next);
      });
  }
}

/** @returns {{ locks: FakeLocks, words: any[] }} `words`: every message of a channel. */
export function fakeTabs() {
  const locks = new FakeLocks();
  /** @type {Set<Channel>} */
  const channels = new Set();
  /** @type {any[]} */
  const words = [];
  class Channel {
    /** @type {((event: { data: unknown }) => void) | undefined} */
    onmessage;
    /** @param {string} name */
    constructor(name) {
      this.name = name;
      channels.add(this);
    }

    /** @param {unknown} data */
    postMessage(data) {
      const copy = structuredClone(data);
      words.push(copy);
      for (const other of channels) {
        if (other === this || other.name !== this.name) continue;
        void Promise.resolve().then(() => channels.has(other) && other.onmessage?.({ data: copy }));
      }
    }

    close() {
      channels.delete(this);
    }
  }
  vi.stubGlobal("navigator", { locks });
  vi.stubGlobal("BroadcastChannel", Channel);
  return { locks, words };
}
