// @ts-check
/**
 * One event stream for all tabs of one user. The tab that holds a lock leads: it reads the stream and hands what it
 * hears to the others over a channel. Another tab opens a stream of its own only for the first message, which depends
 * on what that tab has seen, and then follows the leader. When the leader goes, the browser gives the lock to the next
 * tab, which opens a stream where it stopped; the others fetch a first message again, and so miss nothing.
 *
 *                     lock is free                     lock comes
 *        contending ───────────────▶ leading ◀──────────────────────── following
 *             │                                                            ▲
 *             └────────── lock is taken, and the leader has a stream ──────┘
 *
 * For RoomSocket it is the same as a `Connection`. Each tab posts for itself. Where there are no locks or no channels,
 * or the room tells each stream something else, it reads a stream of its own.
 */

import { CloseCode } from "./close-codes.js";
import { EventStream } from "./event-stream.js";
import { PostQueue } from "./post-queue.js";
import { locksAreRefused, takeSlot, webLocks } from "./stream-slots.js";
import { randomId } from "./uuid.js";

/** How much a tab keeps of what the leader says while its own first message is on the way, UTF-16 units. */
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
 * @property {string | undefined} name The same for every tab that may share the stream; nothing: it is not shared.
 * @property {StreamRequest} first The request for the first stream.
 * @property {() => Promise<StreamRequest>} again The request for each further one, after what was seen by then.
 *
 * What one tab says to the others. `epoch` names one stream of one leader: its numbers and the next one's have a gap.
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
  /** The stream that is read: the leader's, or a follower's until its first message. @type {EventStream | undefined} */
  #source;
  /** Gives back the turn for a first message. @type {(() => void) | undefined} */
  #turn;
  #isLeader = false;
  /** The leader's stream that we read or follow. @type {string | undefined} */
  #epoch;
  /** A leader's stream is in its room, so that others can follow it. */
  #isLeading = false;
  /** What the leader said while our own first message was on the way. @type {string[] | undefined} */
  #backlog;
  #backlogLength = 0;
  #wasUsed = false;
  #opened = false;
  #heard = false;
  #isOver = false;
  /** The leader was asked whether it is there. */
  #isAsking = false;
  /** When the leader was last heard, Unix milliseconds, which go on while a laptop sleeps. */
  #heardAt = 0;
  #leaving = new AbortController();
  /** Gives back the lock of the leader, and a place among the streams. @type {(() => void)[]} */
  #releases = [];
  /** A follower's one deadline: for the leader to answer, or to be heard. @type {ReturnType<typeof setTimeout> | undefined} */
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

  /** There is a doubt whether the stream still lives. */
  probe() {
    if (this.#isOver || !this.#opened) return;
    if (this.#source) return this.#source.probe();
    if (Date.now() - this.#heardAt >= this.#timing.streamTimeoutMs) return this.#lose("silent for too long");
    this.#isAsking = true;
    this.#broadcast({ is: "asking", isDoubt: true });
    this.#arm(this.#timing.answerTimeoutMs, () => this.#lose("the tab that reads the stream does not answer"));
  }

  /** Leave it without an ending. */
  close() {
    this.#isOver = true;
    clearTimeout(this.#deadline);
    this.#posts.close();
    this.#closeSource();
    this.#channel?.close();
    this.#leaving.abort();
    // The lock last: the tab that gets it opens a stream in the place of ours.
    for (const release of this.#releases.splice(0)) release();
  }

  /** @param {string} name Of the lock. */
  #contend(name) {
    const locks = /** @type {LockManager} */ (webLocks());
    const { signal } = this.#leaving;
    const lead = () => this.#lead();
    const lockLost = () => this.#isOver || this.#lose("another tab reads the stream now");
    const steal = () => void locks.request(name, { steal: true }, lead).catch(lockLost);
    const follow = () => {
      void locks.request(name, { signal }, lead).catch(lockLost);
      this.#broadcast({ is: "asking", isDoubt: false });
      // A tab that a phone has frozen keeps its locks and reads nothing.
      this.#arm(this.#timing.answerTimeoutMs, steal);
    };
    const first = locks.request(name, { ifAvailable: true }, (lock) => {
      if (this.#isOver) return undefined;
      return lock ? lead() : follow();
    });
    first.catch((error) => (error?.name === "AbortError" ? lockLost() : this.#unshare()));
  }

  /** The browser refuses locks to this page: it reads a stream of its own. */
  #unshare() {
    locksAreRefused();
    this.#channel?.close();
    this.#channel = undefined;
    if (!this.#isOver) void this.#read();
  }

  /** @returns {Promise<void>} Until it is over: so long the lock is held. */
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

  /** Read a stream of our own, to its end. */
  async #read() {
    const slot = await takeSlot(new URL(this.#sharing.first.url).origin);
    if (slot && this.#isOver) return slot();
    if (!slot) return this.#isOver || this.#lose("the browser has no connection left for another event stream");
    this.#releases.unshift(slot); // before the lock: whoever gets that needs a place too
    const request = await this.#request();
    if (request) this.#source = this.#stream(request, (data) => this.#forward(data));
  }

  /**
   * What the leader hears is for the others too, but for the first message, which depends on what this tab had seen.
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
        // Within this time it is open or has ended, and says so.
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
   * The leader lives, and has said this.
   *
   * @param {string} epoch
   * @param {string} [data]
   */
  #follow(epoch, data) {
    this.#heardAt = Date.now();
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
    if (this.#backlogLength > MAX_BACKLOG) this.#lose("too much was said while the tab joined");
  }

  /**
   * Our own first message, over a stream that ends with it. One tab at a time, since connections are few.
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
        // A listener may have left, or the leader may have changed.
        if (!isStale()) this.#listener.message(each);
      }
    });
  }

  /** Whatever was read is read no more, and a turn that it had is free. */
  #closeSource() {
    this.#source?.close();
    this.#source = undefined;
    this.#turn?.();
    this.#turn = undefined;
  }

  /** @returns {Promise<() => void>} The turn to open a stream for a first message, and to give it back. */
  #acquireTurn() {
    const { origin } = new URL(this.#sharing.first.url);
    const { connectTimeoutMs, answerTimeoutMs } = this.#timing;
    return new Promise((resolve) => {
      const locks = /** @type {LockManager} */ (webLocks());
      // A tab that holds it for longer than its stream may take is frozen, or as good as that.
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

  /** @returns {Promise<StreamRequest | undefined>} Nothing, where it is over. */
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
   * @param {(data: string) => void} heard
   */
  #stream(request, heard) {
    const { ask } = this.#context;
    // It says nothing itself: what is posted outlives it.
    const silent = { post: () => undefined, answered: () => {}, credentials: async () => undefined, ask };
    return new EventStream(request, this.#timing, silent, {
      open: () => {
        if (this.#opened) return;
        this.#opened = true;
        this.#listener.open();
      },
      heard: () => {
        if (this.#heard) return;
        this.#heard = true;
        this.#listener.heard();
      },
      alive: () => {
        if (this.#isLeading) this.#broadcast({ is: "alive", epoch: /** @type {string} */ (this.#epoch) });
      },
      message: (data) => heard(/** @type {string} */ (data)),
      pong: () => {},
      end: (ending) => this.#end(ending),
    });
  }

  /**
   * The leader's stream has ended, and so has ours. Why it ended is true for all tabs, but for a token that expired:
   * each tab has its own.
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
    this.#listener.end({ code, reason, cause, opened: this.#opened, heard: this.#heard });
  }

  /** @param {TabMessage} message */
  #broadcast(message) {
    this.#channel?.postMessage(message);
  }

  /**
   * The deadline is set once and then moved on when it is met, which spares a busy room a timer for every message.
   *
   * @param {number} ms
   */
  #watchSilence(ms) {
    this.#arm(ms, () => {
      const left = this.#timing.streamTimeoutMs - (Date.now() - this.#heardAt);
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
