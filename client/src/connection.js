// @ts-check
/**
 * One WebSocket, from dialling to its one ending. It knows when a connection is dead (it did not open in time, never
 * said anything, or stayed silent after a ping) and nothing of what comes after: the next attempt is RoomSocket's
 * business. Where WebSockets are blocked, `event-stream.js` has the same shape.
 */

import { CloseCode } from "./close-codes.js";

/** `WebSocket.OPEN`: that global is not everywhere. */
const OPEN = 1;

/** Answered by the server itself, letter for letter, so that asking does not wake a room. */
const PING = '{"type":"ping"}';
const PONG = '{"type":"pong"}';

/**
 * @typedef {Object} Ending
 * @property {number} code
 * @property {string} reason
 * @property {boolean} opened It had been open.
 * @property {boolean} heard Something had come over it.
 * @property {"closed" | "late" | "mute" | "silent" | "absent"} cause `late`: not open in time. `mute`: open, and nothing
 *   was ever said. `silent`: no answer to a ping, or an event stream without a sign of life. `absent`: the server knows
 *   no event stream here.
 *
 * @typedef {Object} ConnectionTiming
 * @property {number} connectTimeoutMs How long an attempt may take.
 * @property {number} pingAfterMs After how long without a frame we ask whether anybody is there.
 * @property {number} answerTimeoutMs How long the answer to that may take, and the first word of a room that speaks first.
 *
 * @typedef {Object} PeerTraits What is known of the other side.
 * @property {boolean} answersPings False: it does not answer pings.
 * @property {boolean} speaksFirst It speaks first. Where it does not, something swallows what it says.
 *
 * @typedef {Object} ConnectionListener
 * @property {() => void} open
 * @property {() => void} heard For the first time, by whatever came, and before it is told.
 * @property {(data: string | ArrayBuffer) => void} message
 * @property {() => void} pong
 * @property {() => void} [alive] A sign of life came over an event stream, and nothing with it.
 * @property {(ending: Ending) => void} end Called once at most, and last.
 */

export class Connection {
  #ws;
  #timing;
  #listener;
  #peer;
  #opened = false;
  #heard = false;
  #asked = false;
  #heardAt = 0;
  /** The one deadline there is at a time: to open, to be heard from, or to answer. @type {ReturnType<typeof setTimeout> | undefined} */
  #deadline;

  /**
   * @param {WebSocket} ws
   * @param {ConnectionTiming} timing
   * @param {PeerTraits} peer
   * @param {ConnectionListener} listener
   */
  constructor(ws, timing, peer, listener) {
    this.#ws = ws;
    this.#timing = timing;
    this.#peer = peer;
    this.#listener = listener;
    ws.binaryType = "arraybuffer";
    // A close follows every error and says more. It stays in place to the end: outside browsers an error that nobody
    // listens for ends the process.
    ws.onerror = () => {};
    ws.onopen = () => this.#open();
    ws.onmessage = (event) => this.#receive(event.data);
    ws.onclose = (event) => this.#end({ code: event.code, reason: event.reason, cause: "closed" });
    this.#arm(timing.connectTimeoutMs, () =>
      this.#end({ code: CloseCode.lost, reason: "did not open in time", cause: "late" }),
    );
  }

  get bufferedAmount() {
    return this.#ws.bufferedAmount;
  }

  /** @param {string | ArrayBuffer} data */
  send(data) {
    // One that is closing takes nothing more, and complains on the console. What was to go into it is as lost as what is
    // on its way: whoever must know finds out after the next connection.
    if (this.#ws.readyState > OPEN) return;
    this.#ws.send(data);
  }

  /** Ask whether the other side is there, unless that is being asked already. */
  probe() {
    if (!this.#peer.answersPings || !this.#opened || this.#asked) return;
    this.#asked = true;
    this.send(PING);
    this.#arm(this.#timing.answerTimeoutMs, () =>
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
    if (this.#peer.speaksFirst) this.#awaitFirstFrame();
    else this.#watchSilence(this.#timing.pingAfterMs);
    this.#listener.open();
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    this.#heardAt = performance.now();
    if (this.#asked || (this.#peer.speaksFirst && !this.#heard)) {
      this.#asked = false;
      this.#watchSilence(this.#timing.pingAfterMs);
    }
    if (!this.#heard) {
      this.#heard = true;
      this.#listener.heard();
    }
    if (data === PONG) this.#listener.pong();
    else this.#listener.message(data);
  }

  #awaitFirstFrame() {
    this.#arm(this.#timing.answerTimeoutMs, () =>
      this.#end({ code: CloseCode.lost, reason: "nothing was said", cause: "mute" }),
    );
  }

  /**
   * The deadline is set once and then moved on when it is met, which spares a busy room a timer for every frame.
   *
   * @param {number} ms
   */
  #watchSilence(ms) {
    this.#arm(ms, () => {
      const left = this.#timing.pingAfterMs - (performance.now() - this.#heardAt);
      if (left > 0) this.#watchSilence(left);
      else this.probe();
    });
  }

  /** @param {Pick<Ending, "code" | "reason" | "cause">} ending */
  #end(ending) {
    this.close();
    this.#listener.end({ ...ending, opened: this.#opened, heard: this.#heard });
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
