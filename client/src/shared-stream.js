// @ts-check
/**
 * One event stream for all tabs of one user. The tab that holds a lock is the leader: it reads the stream and forwards
 * it to the others over a channel. Another tab opens its own stream only for the first message, which depends on what
 * that tab has seen, and then follows the leader. When the leader closes, the browser gives the lock to the next tab,
 * which opens a stream where it stopped. The others fetch a first message again, so they miss nothing.
 *
 *                     lock is free                     lock comes
 *        contending ───────────────▶ leading ◀──────────────────────── following
 *             │                                                            ▲
 *             └────────── lock is taken, and the leader has a stream ──────┘
 *
 * RoomSocket uses it like a `Connection`. Each tab sends its own POSTs. Without locks or channels, or in a room that
 * sends each stream something else, each tab reads its own stream.
 */

import { CloseCode } from "./close-codes.js";
import { EventStream } from "./event-stream.js";
import { PostQueue } from "./post-queue.js";
import { locksAreRefused, takeSlot, webLocks } from "./stream-slots.js";
import { randomId } from "./uuid.js";

/** How much of the leader's stream a tab keeps while it fetches its own first message, UTF-16 units. */
const MAX_BACKLOG = 2 * 1024 * 1024;

/**
 * @typedef {import("./connection.js").Ending} Ending
 * @typedef {import("./connection.js").ConnectionListener} ConnectionListener
 * @typedef {import("./event-stream.js").StreamContext} StreamContext
 * @typedef {import("./event-stream.js").StreamTiming & import("./post-queue.js").PostTiming} SharedTiming
 * @typedef {import("./send-queue.js").Data} Data
 * @typedef {{ url: string, headers: Record<string, string> }} StreamRequest
 *
 * @typedef {Object} Sharing
 * @property {string | undefined} name The same in every tab that may share the stream. `undefined`: it is not shared.
 * @property {StreamRequest} first The request for the first stream.
 * @property {() => Promise<StreamRequest>} again The request for each later one, which resumes from what was seen.
 *
 * Messages between tabs. `epoch` names one stream of one leader: between two epochs messages may be missing.
 * @typedef {{ is: "asking", isDoubt: boolean }
 *   | { is: "connecting" | "open" | "alive", epoch: string }
 *   | { is: "message", epoch: string, data: string }
 *   | { is: "end", epoch: string, code: number, reason: string }} TabMessage
 */

/** Whether tabs of this browser can share a stream. */
export function canShare() {
  return webLocks() !== undefined && typeof BroadcastChannel === "function";
}

export class SharedStream {
  #sharing;
  #timing;
  #context;
  #listener;
  #posts;
  /** @type {BroadcastChannel | undefined} */
  #channel;
  /** The open stream: the leader's, or a follower's until its first message. @type {EventStream | undefined} */
  #source;
  /** Releases the turn to fetch a first message. @type {(() => void) | undefined} */
  #turn;
  #isLeader = false;
  /** The leader's stream that we read or follow. @type {string | undefined} */
  #epoch;
  /** The leader's stream has received its first message, so others can follow it. */
  #isLeading = false;
  /** The leader's messages while our own first message is on the way. @type {string[] | undefined} */
  #backlog;
  #backlogLength = 0;
  #wasUsed = false;
  #opened = false;
  #received = false;
  #isOver = false;
  /** The leader was asked whether it is alive. */
  #isAsking = false;
  /** When the leader last sent something, Unix milliseconds: that clock goes on while a laptop sleeps. */
  #receivedAt = 0;
  #leaving = new AbortController();
  /** Releases the leader's lock and the stream slot. @type {(() => void)[]} */
  #releases = [];
  /**
   * A follower's current deadline: for the leader to answer, or to send something.
   * @type {ReturnType<typeof setTimeout> | undefined}
   */
  #deadline;

  /**
   * @param {Sharing} sharing
   * @param {SharedTiming} timing
   * @param {StreamContext} context
   * @param {ConnectionListener} listener
   */
  constructor(sharing, timing, context, listener) {
    this.#sharing = sharing;
    this.#timing = timing;
    this.#context = context;
    this.#listener = listener;
    this.#posts = new PostQueue(timing, { ...context, failed: (close) => this.#end({ ...close, cause: "closed" }) });
    if (sharing.name === undefined || !canShare()) {
      void this.#read();
    } else {
      this.#channel = new BroadcastChannel(sharing.name);
      this.#channel.onmessage = ({ data }) => this.#receiveFromTab(data);
      this.#contend(sharing.name);
    }
  }

  get bufferedAmount() {
    return this.#posts.bytes;
  }

  /** @param {Data} data */
  send(data) {
    this.#posts.push(data);
  }

  /** Checks the stream, because the network may be gone. */
  probe() {
    if (this.#isOver || !this.#opened) return;
    if (this.#source) return this.#source.probe();
    if (Date.now() - this.#receivedAt >= this.#timing.streamTimeoutMs) return this.#lose("silent for too long");
    this.#isAsking = true;
    this.#broadcast({ is: "asking", isDoubt: true });
    this.#arm(this.#timing.answerTimeoutMs, () => this.#lose("the leading tab does not answer"));
  }

  /** Closes without calling `end`. */
  close() {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    this.#posts.close();
    this.#closeSource();
    this.#channel?.close();
    this.#leaving.abort();
    // The lock comes last, because the tab that gets it opens a stream at once.
    for (const release of this.#releases.splice(0)) release();
  }

  /** @param {string} name Of the lock. */
  #contend(name) {
    const locks = /** @type {LockManager} */ (webLocks());
    const { signal } = this.#leaving;
    const lead = () => this.#lead();
    const lockLost = () => this.#isOver || this.#lose("another tab leads now");
    const steal = () => void locks.request(name, { steal: true }, lead).catch(lockLost);
    const follow = () => {
      void locks.request(name, { signal }, lead).catch(lockLost);
      this.#broadcast({ is: "asking", isDoubt: false });
      // A tab that a phone has frozen keeps its lock but reads nothing, so the lock is taken from it.
      this.#arm(this.#timing.answerTimeoutMs, steal);
    };
    const first = locks.request(name, { ifAvailable: true }, (lock) => {
      if (this.#isOver) return undefined;
      return lock ? lead() : follow();
    });
    first.catch((error) => (error?.name === "AbortError" ? lockLost() : this.#unshare()));
  }

  /** The browser refuses locks to this page, so it reads its own stream. */
  #unshare() {
    locksAreRefused();
    this.#channel?.close();
    this.#channel = undefined;
    if (!this.#isOver) void this.#read();
  }

  /** @returns {Promise<void>} Resolves when this tab stops leading, which releases the lock. */
  #lead() {
    if (this.#isOver) return Promise.resolve();
    clearTimeout(this.#deadline);
    this.#isLeader = true;
    this.#epoch = randomId();
    this.#backlog = undefined;
    this.#closeSource();
    this.#broadcast({ is: "connecting", epoch: this.#epoch });
    void this.#read();
    return new Promise((resolve) => void this.#releases.push(() => resolve()));
  }

  /** Reads our own stream until it ends. */
  async #read() {
    const slot = await takeSlot(new URL(this.#sharing.first.url).origin);
    if (slot && this.#isOver) return slot();
    if (!slot) return this.#isOver || this.#lose("the browser has no connection left for another event stream");
    this.#releases.unshift(slot); // released before the lock, because the next leader needs a slot too
    const request = await this.#request();
    if (request) this.#source = this.#stream(request, (data) => this.#forward(data));
  }

  /**
   * Forwards the leader's messages to the other tabs. Not the first one: it depends on what this tab had seen.
   *
   * @param {string} data
   */
  #forward(data) {
    const epoch = this.#epoch;
    if (epoch === undefined) {
      this.#listener.message(data);
    } else if (this.#isLeading) {
      this.#broadcast({ is: "message", epoch, data });
      this.#listener.message(data);
    } else {
      this.#isLeading = true;
      this.#broadcast({ is: "open", epoch });
      this.#listener.message(data);
    }
  }

  /** @param {TabMessage} message */
  #receiveFromTab(message) {
    if (this.#isLeader) {
      const epoch = this.#epoch;
      if (message.is !== "asking" || epoch === undefined) return;
      this.#broadcast({ is: this.#isLeading ? "open" : "connecting", epoch });
      if (message.isDoubt) this.#source?.probe();
      return;
    }
    switch (message.is) {
      case "connecting":
        // Within this time the leader's stream opens or ends, and the leader says which.
        return this.#arm(this.#timing.connectTimeoutMs + this.#timing.answerTimeoutMs, () =>
          this.#lose("the stream did not open in time"),
        );
      case "open":
      case "alive":
        return this.#follow(message.epoch);
      case "message":
        return this.#follow(message.epoch, message.data);
      case "end":
        if (this.#epoch === undefined || this.#epoch === message.epoch) this.#endWith(message);
    }
  }

  /**
   * The leader is alive and has sent this.
   *
   * @param {string} epoch
   * @param {string} [data]
   */
  #follow(epoch, data) {
    this.#receivedAt = Date.now();
    if (epoch !== this.#epoch) {
      this.#epoch = epoch;
      this.#backlog = [];
      this.#backlogLength = 0;
      clearTimeout(this.#deadline);
      void this.#fetchFirstMessage(epoch);
    } else if (this.#isAsking && !this.#backlog) {
      this.#watchSilence(this.#timing.streamTimeoutMs);
    }
    this.#isAsking = false;
    if (data === undefined) return;
    if (!this.#backlog) return this.#listener.message(data);
    this.#backlog.push(data);
    this.#backlogLength += data.length;
    if (this.#backlogLength > MAX_BACKLOG) this.#lose("too many messages came while the tab joined");
  }

  /**
   * Fetches our own first message over a stream that ends with it. One tab at a time, because connections are few.
   *
   * @param {string} epoch
   */
  async #fetchFirstMessage(epoch) {
    this.#closeSource();
    const release = await this.#acquireTurn();
    const isStale = () => this.#isOver || this.#isLeader || this.#epoch !== epoch;
    if (isStale()) return release();
    this.#turn = release;
    const request = await this.#request();
    if (!request || isStale()) return;
    this.#source = this.#stream(request, (data) => {
      this.#closeSource();
      const backlog = this.#backlog ?? [];
      this.#backlog = undefined;
      this.#watchSilence(this.#timing.streamTimeoutMs);
      for (const each of [data, ...backlog]) {
        // A listener may have closed this, or the leader may have changed.
        if (!isStale()) this.#listener.message(each);
      }
    });
  }

  /** Closes the open stream and releases its turn. */
  #closeSource() {
    this.#source?.close();
    this.#source = undefined;
    this.#turn?.();
    this.#turn = undefined;
  }

  /** @returns {Promise<() => void>} Resolves when it is this tab's turn to fetch a first message; call it after. */
  #acquireTurn() {
    const { origin } = new URL(this.#sharing.first.url);
    const { connectTimeoutMs, answerTimeoutMs } = this.#timing;
    return new Promise((resolve) => {
      const locks = /** @type {LockManager} */ (webLocks());
      // A tab that holds the turn for longer than a stream may take is frozen, so this tab stops waiting for it.
      const late = AbortSignal.timeout(connectTimeoutMs + answerTimeoutMs);
      const signal = AbortSignal.any([this.#leaving.signal, late]);
      const asked = locks.request(
        `dormouse first message ${origin}`,
        { signal },
        () => new Promise((release) => resolve(() => release(undefined))),
      );
      asked.catch(() => resolve(() => {}));
    });
  }

  /** @returns {Promise<StreamRequest | undefined>} `undefined` if this is closed. */
  async #request() {
    const wasUsed = this.#wasUsed;
    this.#wasUsed = true;
    try {
      const request = wasUsed ? await this.#sharing.again() : this.#sharing.first;
      return this.#isOver ? undefined : request;
    } catch (error) {
      if (!this.#isOver) this.#lose(`no credentials: ${error}`);
      return undefined;
    }
  }

  /**
   * @param {StreamRequest} request
   * @param {(data: string) => void} onMessage
   */
  #stream(request, onMessage) {
    const { ask } = this.#context;
    // It sends nothing itself: POSTs outlive this stream.
    const silent = { post: () => undefined, answered: () => {}, credentials: async () => undefined, ask };
    return new EventStream(request, this.#timing, silent, {
      open: () => {
        if (this.#opened) return;
        this.#opened = true;
        this.#listener.open();
      },
      firstData: () => {
        if (this.#received) return;
        this.#received = true;
        this.#listener.firstData();
      },
      alive: () => {
        if (this.#isLeading) this.#broadcast({ is: "alive", epoch: /** @type {string} */ (this.#epoch) });
      },
      message: (data) => onMessage(/** @type {string} */ (data)),
      pong: () => {},
      end: (ending) => this.#end(ending),
    });
  }

  /**
   * The leader's stream has ended, and so has ours. The reason is true for all tabs, except for an expired token: each
   * tab has its own.
   *
   * @param {{ code: number, reason: string }} ending
   */
  #endWith({ code, reason }) {
    this.#end({ code: code === CloseCode.unauthorized ? CloseCode.lost : code, reason, cause: "closed" });
  }

  /** @param {string} reason */
  #lose(reason) {
    this.#end({ code: CloseCode.lost, reason, cause: "silent" });
  }

  /** @param {Pick<Ending, "code" | "reason" | "cause">} ending */
  #end(ending) {
    if (this.#isOver) return;
    const { code, reason, cause } = ending;
    if (this.#isLeader) this.#broadcast({ is: "end", epoch: /** @type {string} */ (this.#epoch), code, reason });
    this.close();
    this.#listener.end({ code, reason, cause, opened: this.#opened, received: this.#received });
  }

  /** @param {TabMessage} message */
  #broadcast(message) {
    this.#channel?.postMessage(message);
  }

  /**
   * Sets the deadline once and moves it when it is reached: a busy room then needs no timer for each message.
   *
   * @param {number} ms
   */
  #watchSilence(ms) {
    this.#arm(ms, () => {
      const left = this.#timing.streamTimeoutMs - (Date.now() - this.#receivedAt);
      if (left > 0) this.#watchSilence(left);
      else this.#lose("silent for too long");
    });
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
