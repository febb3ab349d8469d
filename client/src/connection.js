// @ts-check
/**
 * One WebSocket, from its opening to its single end. It detects a dead connection: one that did not open in time, never
 * received anything, or got no answer to a ping. It does not reconnect; RoomSocket does. `event-stream.js` has the same
 * interface, for networks that block WebSockets.
 */

import { CloseCode } from "./close-codes.js";

/** `WebSocket.OPEN`: not every environment has the global. */
const OPEN = 1;

/** The server itself answers exactly this text, so a ping does not wake a room. */
const PING = '{"type":"ping"}';
const PONG = '{"type":"pong"}';

/**
 * @typedef {Object} Ending
 * @property {number} code
 * @property {string} reason
 * @property {boolean} opened It was open.
 * @property {boolean} received Something was received.
 * @property {"closed" | "late" | "mute" | "silent" | "absent"} cause `late`: it did not open in time. `mute`: it
 *   opened, and nothing was ever received. `silent`: no answer to a ping, or an event stream without a byte for too
 *   long. `absent`: the server has no event stream here.
 *
 * @typedef {Object} ConnectionTiming
 * @property {number} connectTimeoutMs The longest time for one attempt.
 * @property {number} pingAfterMs After this time without a frame the client sends a ping.
 * @property {number} answerTimeoutMs The longest wait for the pong, and for the first frame of a room that speaks
 *   first.
 *
 * @typedef {Object} PeerTraits What the client knows about the server.
 * @property {boolean} answersPings False: the server does not answer pings.
 * @property {boolean} speaksFirst The room sends the first frame. If none comes, the network swallows frames.
 *
 * @typedef {Object} ConnectionListener
 * @property {() => void} open
 * @property {() => void} firstData The first data of any kind has come. Called before it is passed on.
 * @property {(data: string | ArrayBuffer) => void} message
 * @property {() => void} pong
 * @property {() => void} [alive] An event stream received a sign of life without an event.
 * @property {(ending: Ending) => void} end Called at most once, and last.
 */

export class Connection {
  #ws;
  #timing;
  #listener;
  #peer;
  #opened = false;
  #received = false;
  #asked = false;
  #receivedAt = 0;
  /** The current deadline: to open, to receive, or to get a pong. @type {ReturnType<typeof setTimeout> | undefined} */
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
    // A close event follows every error and says more. This handler is never removed: outside browsers an error without
    // a listener ends the process.
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
    // A closing socket accepts no data and warns on the console. This message is lost like those on the wire; the layer
    // above settles both after the next connection.
    if (this.#ws.readyState > OPEN) return;
    this.#ws.send(data);
  }

  /** Sends a ping, unless one is unanswered. */
  probe() {
    if (!this.#peer.answersPings || !this.#opened || this.#asked) return;
    this.#asked = true;
    this.send(PING);
    this.#arm(this.#timing.answerTimeoutMs, () =>
      this.#end({ code: CloseCode.lost, reason: "no answer to a ping", cause: "silent" }),
    );
  }

  /**
   * Closes without calling `end`.
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
    this.#receivedAt = performance.now();
    if (this.#peer.speaksFirst) this.#awaitFirstFrame();
    else this.#watchSilence(this.#timing.pingAfterMs);
    this.#listener.open();
  }

  /** @param {string | ArrayBuffer} data */
  #receive(data) {
    this.#receivedAt = performance.now();
    if (this.#asked || (this.#peer.speaksFirst && !this.#received)) {
      this.#asked = false;
      this.#watchSilence(this.#timing.pingAfterMs);
    }
    if (!this.#received) {
      this.#received = true;
      this.#listener.firstData();
    }
    if (data === PONG) this.#listener.pong();
    else this.#listener.message(data);
  }

  #awaitFirstFrame() {
    this.#arm(this.#timing.answerTimeoutMs, () =>
      this.#end({ code: CloseCode.lost, reason: "no first frame in time", cause: "mute" }),
    );
  }

  /**
   * Sets the deadline once and moves it when it is reached: a busy room then needs no timer for each frame.
   *
   * @param {number} ms
   */
  #watchSilence(ms) {
    this.#arm(ms, () => {
      const left = this.#timing.pingAfterMs - (performance.now() - this.#receivedAt);
      if (left > 0) this.#watchSilence(left);
      else this.probe();
    });
  }

  /** @param {Pick<Ending, "code" | "reason" | "cause">} ending */
  #end(ending) {
    this.close();
    this.#listener.end({ ...ending, opened: this.#opened, received: this.#received });
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
