// @ts-check
/**
 * Remembers which transports work to a server. All rooms of a page share it, because a network that blocks one of them
 * blocks all. A reload of the page forgets it.
 */

import { BLOCKED_MS } from "./transport.js";

export class TransportMemory {
  #worked = false;
  #blockedUntil = -Infinity;

  /** A WebSocket has worked, and none has been found blocked since. */
  get worked() {
    return this.#worked;
  }

  /** WebSockets are not tried before this time, Unix milliseconds: a sleeping laptop may wake in another network. */
  get blockedUntil() {
    return this.#blockedUntil;
  }

  /** A WebSocket received something. */
  socketWorks() {
    this.#worked = true;
    this.#blockedUntil = -Infinity;
  }

  /** An event stream received something where WebSockets had failed. */
  onlyEventsWork() {
    this.#worked = false;
    this.#blockedUntil = Date.now() + BLOCKED_MS;
  }
}

/** By origin. A page knows few servers. @type {Map<string, TransportMemory>} */
const memories = new Map();

/** @param {URL} url Any address of the server. */
export function transportMemoryFor({ origin }) {
  const memory = memories.get(origin) ?? new TransportMemory();
  memories.set(origin, memory);
  return memory;
}
