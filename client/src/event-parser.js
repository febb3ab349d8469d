// @ts-check
/**
 * Parses the bytes of an event stream into events, as the HTML standard requires: the result does not depend on how the
 * bytes are split. It does not know what an event means, and reads no bytes itself.
 */

/**
 * The longest event, in UTF-16 units. The longest frame of a Dormouse server has 1 MiB. A stream with an event of twice
 * that comes from elsewhere, and must not fill the page's memory.
 */
export const MAX_EVENT_LENGTH = 2 * 1024 * 1024;

/** Any of the three ends a line, and one stream may mix them. */
const LINE_END = /\r\n|\n|\r/;

/**
 * @typedef {Object} StreamEvent
 * @property {string} type `message` if the stream names none.
 * @property {string} data
 * @property {string} id The latest one in the stream, from this event or an earlier one; empty at first.
 */

export class EventParser {
  #decoder = new TextDecoder(); // removes the byte order mark, and joins characters that were split
  /** The text after the last line end. */
  #rest = "";
  /** The last line ended with CR: an LF that follows belongs to it. */
  #endedWithCr = false;
  #longest;

  #type = "";
  /** @type {string[]} */
  #data = [];
  #length = 0;
  #id = "";
  /** @type {StreamEvent[]} */
  #events = [];

  /** The wait before the next attempt, ms, if the stream named one. @type {number | undefined} */
  retryMs;

  /** @param {number} [longest] */
  constructor(longest = MAX_EVENT_LENGTH) {
    this.#longest = longest;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {StreamEvent[]} The events that these bytes complete.
   * @throws {RangeError} An event is too long; the stream cannot be read further.
   */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#endedWithCr && text.startsWith("\n")) text = text.slice(1);
    else if (text === "") return []; // part of a character: the state stays as it is
    this.#endedWithCr = text.endsWith("\r");
    const lines = text.split(LINE_END);
    const last = lines.pop() ?? "";
    for (const line of lines) {
      this.#line(this.#rest + line);
      this.#rest = "";
    }
    this.#rest += last;
    this.#measure(this.#rest);
    return this.#events.splice(0);
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    switch (field) {
      case "event":
        this.#measure(value);
        this.#type = value;
        return;
      case "data":
        this.#measure(value);
        this.#length += value.length + 1;
        this.#data.push(value);
        return;
      case "id":
        this.#measure(value);
        if (!value.includes("\0")) this.#id = value;
        return;
      case "retry":
        if (/^\d+$/.test(value)) this.retryMs = Number(value);
    }
  }

  #dispatch() {
    if (this.#data.length > 0) {
      this.#events.push({ type: this.#type || "message", data: this.#data.join("\n"), id: this.#id });
    }
    this.#type = "";
    this.#data = [];
    this.#length = 0;
  }

  /** @param {string} more To be kept with the event so far. */
  #measure(more) {
    if (this.#length + more.length > this.#longest) throw new RangeError("an event of the stream is too long");
  }
}
