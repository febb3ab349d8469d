// @ts-check
/**
 * From the bytes of an event stream to its events, as the HTML standard reads them: however the bytes are cut, the
 * events are the same. It knows nothing of what an event means, and asks nobody for more bytes.
 */

/**
 * How long one event may be, in UTF-16 units. The longest frame that a Dormouse server sends has 1 MiB; a stream that
 * goes beyond twice that is none of its own, and must not fill the memory of the page.
 */
export const MAX_EVENT_LENGTH = 2 * 1024 * 1024;

/** A line ends with any of the three, and all may occur in one stream. */
const LINE_END = /\r\n|\n|\r/;

/**
 * @typedef {Object} StreamEvent
 * @property {string} type `message`, where the stream names none.
 * @property {string} data
 * @property {string} id The last one that the stream gave, with this event or before it; empty at first.
 */

export class EventParser {
  #decoder = new TextDecoder(); // it takes the byte order mark away, and joins characters that were cut
  /** What came after the last line end. */
  #rest = "";
  /** The last line ended with a CR: an LF that comes next belongs to it. */
  #endedWithCr = false;
  #longest;

  #type = "";
  /** @type {string[]} */
  #data = [];
  #length = 0;
  #id = "";
  /** @type {StreamEvent[]} */
  #events = [];

  /** How long to wait before the next attempt, ms, where the stream has said so. @type {number | undefined} */
  retryMs;

  /** @param {number} [longest] */
  constructor(longest = MAX_EVENT_LENGTH) {
    this.#longest = longest;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {StreamEvent[]} Those that are complete with these bytes.
   * @throws {RangeError} An event is too long; the stream cannot be read any further.
   */
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#endedWithCr && text.startsWith("\n")) text = text.slice(1);
    else if (text === "") return []; // a part of a character: what was last still is
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

  /** @param {string} more What is to be kept beside the event so far. */
  #measure(more) {
    if (this.#length + more.length > this.#longest) throw new RangeError("an event of the stream is too long");
  }
}
