// @ts-check
/** Messages that wait for a connection, in order, up to a limit. */

/**
 * The messages that a full queue drops. `refuse-newest`: it keeps the oldest, and the caller learns that the queue is
 * full. `drop-oldest`: for data that is soon out of date, such as a position.
 * @typedef {"refuse-newest" | "drop-oldest"} QueuePolicy
 *
 * @typedef {string | ArrayBuffer} Data
 */

export class SendQueue {
  /** @type {{ data: Data, bytes: number }[]} */
  #waiting = [];
  #bytes = 0;
  #limits;
  #policy;

  /**
   * @param {{ count: number, bytes: number }} limits The most messages and the most bytes that may wait.
   * @param {QueuePolicy} policy
   */
  constructor(limits, policy) {
    this.#limits = limits;
    this.#policy = policy;
  }

  /** Bytes in the queue. */
  get bytes() {
    return this.#bytes;
  }

  /**
   * @param {Data} data
   * @returns {boolean} False if the queue is full.
   */
  push(data) {
    const bytes = sizeOf(data);
    if (bytes > this.#limits.bytes || this.#limits.count < 1) return false;
    while (!this.#hasRoomFor(bytes)) {
      if (this.#policy === "refuse-newest") return false;
      this.#bytes -= this.#waiting.shift()?.bytes ?? 0;
    }
    this.#waiting.push({ data, bytes });
    this.#bytes += bytes;
    return true;
  }

  /** Empties the queue. */
  drain() {
    this.#bytes = 0;
    return this.#waiting.splice(0).map(({ data }) => data);
  }

  /** @param {number} bytes */
  #hasRoomFor(bytes) {
    return this.#waiting.length < this.#limits.count && this.#bytes + bytes <= this.#limits.bytes;
  }
}

/**
 * @param {Data} data
 * @returns {number} Bytes on the wire.
 */
export function sizeOf(data) {
  return typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
}
