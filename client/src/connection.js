// @ts-check
/**
 * One WebSocket, from dialling to its one ending. It knows when a connection is dead (it did not open in time, or
 * stayed silent after a ping) and nothing of what comes after: the next attempt is RoomSocket's business.
 */

import { CloseCode } from "./close-codes.js";

/** Answered by the server itself, letter for letter, so that asking does not wake a room. */
const PING = '{"type":"ping"}';
const PONG = '{"type":"pong"}';

/**
 * @typedef {Object} Ending
 * @property {number} code
 * @property {string} reason
 * @property {boolean} opened It had been open.
 * @property {"closed" | "late" | "silent"} cause `late`: not open in time. `silent`: no answer to a ping.
 *
 * @typedef {Object} ConnectionTiming
 * @property {number} connectMs How long an attempt may take.
 * @property {number} quietMs After how long without a frame we ask whether anybody is there.
 * @property {number} answerMs How long the answer to that may take.
 *
 * @typedef {Object} ConnectionListener
 * @property {() => void} open
 * @property {(data: string | ArrayBuffer) => void} message
 * @property {() => void} pong
 * @property {(ending: Ending) => void} end Called once at most, and last.
 */

export class Connection {
  #ws;
  #timing;
  #listener;
  #probing;
  #opened = false;
  #asked = false;
  #heardAt = 0;
  /** The one deadline there is at a time: to open, to be heard from, or to answer. @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;

  /**
   * @param {WebSocket} ws
   * @param {ConnectionTiming} timing
   * @param {boolean} probing False for a server that does not answer pings.
   * @param {ConnectionListener} listener
   */
  constructor(ws, timing, probing, listener) {
    this.#ws = ws;
    this.#timing = timing;
    this.#probing = probing;
    this.#listener = listener;
    ws.binaryType = "arraybuffer";
    // A close follows every error and says more. It stays in place to the end: outside browsers an error that nobody
    // listens for ends the process.
    ws.onerror = () => {};
    ws.onopen = () => this.#open();
    ws.onmessage = (event) => this.#hear(event.data);
    ws.onclose = (event) => this.#end({ code: event.code, reason: event.reason, cause: "closed" });
    this.#arm(timing.connectMs, () =>
      this.#end({ code: CloseCode.lost, reason: "did not open in time", cause: "late" }),
    );
  }

  get bufferedAmount() {
    return this.#ws.bufferedAmount;
  }

  /** @param {string | ArrayBuffer} data */
  send(data) {
    this.#ws.send(data);
  }

  /** Ask whether the other side is there, unless that is being asked already. */
  probe() {
    if (!this.#probing || !this.#opened || this.#asked) return;
    this.#asked = true;
    this.#ws.send(PING);
    this.#arm(this.#timing.answerMs, () =>
      this.#end({ code: CloseCode.lost, reason: "no answer to a ping", cause: "silent" }),
    );
  }

  /**
   * Leave it without an ending.
   *
   * @param {number} [code]
   * @param {string} [reason]
   */
  close(code, reason) {
    clearTimeout(this.#deadline);
    this.#ws.onopen = this.#ws.onmessage = this.#ws.onclose = null;
    this.#ws.close(code, reason);
  }

  #open() {
    this.#opened = true;
    this.#heardAt = performance.now();
    this.#listenFor(this.#timing.quietMs);
    this.#listener.open();
  }

  /** @param {string | ArrayBuffer} data */
  #hear(data) {
    this.#heardAt = performance.now();
    if (this.#asked) {
      this.#asked = false;
      this.#listenFor(this.#timing.quietMs);
    }
    if (data === PONG) this.#listener.pong();
    else this.#listener.message(data);
  }

  /**
   * The deadline is set once and then moved on when it is met, which spares a busy room a timer for every frame.
   *
   * @param {number} ms
   */
  #listenFor(ms) {
    this.#arm(ms, () => {
      const left = this.#timing.quietMs - (performance.now() - this.#heardAt);
      if (left > 0) this.#listenFor(left);
      else this.probe();
    });
  }

  /** @param {Pick<Ending, "code" | "reason" | "cause">} ending */
  #end(ending) {
    this.close();
    this.#listener.end({ ...ending, opened: this.#opened });
  }

  /**
   * @param {number} ms
   * @param {() => void} then
   */
  #arm(ms, then) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(then, ms);
  }
}
