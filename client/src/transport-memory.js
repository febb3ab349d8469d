// @ts-check
/**
 * What this page has learned of the way to a server: shared by all its rooms, since what blocks one of them blocks all,
 * and forgotten when the page is loaded anew.
 */

import { BLOCKED_MS } from "./transport.js";

export class TransportMemory {
  #worked = false;
  #blockedUntil = -Infinity;

  /** A WebSocket got through, and nothing since has spoken against it. */
  get worked() {
    return this.#worked;
  }

  /** Until when WebSockets are not tried: Unix milliseconds, since a laptop that sleeps may wake elsewhere. */
  get blockedUntil() {
    return this.#blockedUntil;
  }

  /** Something was heard over a WebSocket. */
  socketWorks() {
    this.#worked = true;
    this.#blockedUntil = -Infinity;
  }

  /** Something was heard over an event stream, where WebSockets had failed. */
  onlyEventsWork() {
    this.#worked = false;
    this.#blockedUntil = Date.now() + BLOCKED_MS;
  }
}

/** By origin; a page knows few servers. @type {Map<string, TransportMemory>} */
const memories = new Map();

/** @param {URL} url Any address of the server. */
export function transportMemoryFor({ origin }) {
  const memory = memories.get(origin) ?? new TransportMemory();
  memories.set(origin, memory);
  return memory;
}
