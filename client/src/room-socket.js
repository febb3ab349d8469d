// @ts-check
/**
 * One socket into one room, kept open for as long as its owner wants it: start reading here.
 *
 *            open()                opened
 *   closed ─────────▶ connecting ─────────▶ open
 *     ▲                ▲      │              │
 *     │ close(), or    │      ▼ failed       │ lost
 *     │ refused       the wait is over       │
 *     └───────────── waiting ◀───────────────┘
 *
 * It knows when to connect, to wait and to give up, and whether over a WebSocket or an event stream; not what the frames
 * say. What was missed in between is for the layer above, which puts the last thing it saw into `url`.
 */

import { FIRST_CEILING_MS, LAST_CEILING_MS, backoffDelay, waitAfter } from "./backoff.js";
import { CloseCode, afterClose, fitReason, hintedDelay, mayCloseWith } from "./close-codes.js";
import { Connection } from "./connection.js";
import { forRequest, forUpgrade, isSameToken } from "./credentials.js";
import { Emitter } from "./emitter.js";
import { watchPage } from "./page-signals.js";
import { Renewal } from "./renewal.js";
import { SharedStream, canShare } from "./shared-stream.js";
import { SendQueue, sizeOf } from "./send-queue.js";
import { isBlocked, shouldExplain, nextTransport } from "./transport.js";
import { transportMemoryFor } from "./transport-memory.js";

/** How long a connection must last before its past failures are forgotten, ms: a room that fails at once is no success. */
const STABLE_MS = 5_000;

/** How often a server may leave a ping unanswered, never having answered one, before we take it that it knows none. */
const UNKNOWN_PINGS = 2;

const NO_WEB_SOCKET =
  "there is no WebSocket here, as in Node before 22: pass one in the option `WebSocket`, such as that of the package `ws`, " +
  'or where the room has `events` choose `transport: "events"`';

/** How much may wait to be sent, in the queue or in the browser. */
const QUEUE = Object.freeze({ count: 100, bytes: 1024 * 1024 });

/** @type {Readonly<Timing>} */
export const TIMING = Object.freeze({
  connectTimeoutMs: 10_000,
  pingAfterMs: 20_000,
  answerTimeoutMs: 10_000,
  streamTimeoutMs: 45_000,
  stableAfterMs: STABLE_MS,
  firstBackoffMs: FIRST_CEILING_MS,
  maxBackoffMs: LAST_CEILING_MS,
});

/**
 * @typedef {import("./credentials.js").Credentials} Credentials
 * @typedef {import("./close-codes.js").Close} Close
 * @typedef {import("./connection.js").Ending} Ending
 * @typedef {import("./send-queue.js").Data} Data
 * @typedef {import("./send-queue.js").QueuePolicy} QueuePolicy
 * @typedef {import("./transport.js").Transport} Transport
 * @typedef {import("./transport.js").TransportChoice} TransportChoice
 * @typedef {import("./post-queue.js").Post} Post
 * @typedef {import("./post-queue.js").Answer} Answer
 * @typedef {"connecting" | "open" | "waiting" | "closed"} State
 *
 * @typedef {Object} StateEvent
 * @property {State} state
 * @property {State} previous
 * @property {number} [retryAt] While waiting: when the next attempt is due, in Unix milliseconds.
 * @property {Close} [close] While waiting or closed: what ended the last connection. Absent, where its owner closed it.
 * @property {boolean} [isUnshared] Over events only. True: this browser lets tabs share no stream (it has no Web Locks, as on a
 *   page without HTTPS, or no `BroadcastChannel`), so each tab takes connections of its own, of which there are six over HTTP/1.1.
 *
 * @typedef {Object} Timing All in milliseconds.
 * @property {number} connectTimeoutMs How long an attempt may take: 10 s.
 * @property {number} pingAfterMs After how long without a frame the server is asked whether it is there: 20 s.
 * @property {number} answerTimeoutMs How long the answer to that may take, the one to a new token, and the first word of a room:
 *   10 s.
 * @property {number} streamTimeoutMs After how long without a sign an event stream is lost: 45 s. The server gives one every 25 s.
 * @property {number} stableAfterMs How long a connection must last before past failures are forgotten: 5 s.
 * @property {number} firstBackoffMs The longest first wait; each failure doubles it: 500 ms.
 * @property {number} maxBackoffMs The longest wait of all: 30 s.
 *
 * @typedef {Object} RoomSocketOptions
 * @property {string | URL | (() => string | URL)} url Asked before each attempt. `http` and `https` become `ws` and `wss`.
 * @property {(asked: import("./credentials.js").CredentialsRequest) => Promise<Credentials> | Credentials} [credentials] Asked before
 *   each attempt; `refused` where the last answer was turned down, and the same answer again would end the matter. Also
 *   before a token expires by which a WebSocket is open, with `expiring`: a new one then takes its place.
 * @property {boolean} [renew] False: a token is not renewed on an open WebSocket. True where nothing is said; the frame is
 *   `{"type":"identity","token":"…"}`, which a Dormouse server keeps to itself.
 * @property {(credentials: Credentials) => Promise<Close | undefined>} [explain] Asked over HTTP when attempts fail before
 *   they open, because a browser hides the status of a refused upgrade. A promise that is broken says that nobody answers.
 * @property {EventsOptions} [events] How to do without WebSockets; where nothing is said, nobody does.
 * @property {TransportChoice} [transport] `auto`, where nothing is said: events only where WebSockets are blocked.
 * @property {boolean} [reconnect] False: a connection that is lost is not tried again. True where nothing is said.
 * @property {boolean} [probe] False: a silent server is never asked whether it is there. True where nothing is said;
 *   the question is `{"type":"ping"}`, and the answer that a Dormouse server gives is `{"type":"pong"}`.
 * @property {number} [queueLimit] How many may wait for a connection, 100 where nothing is said; 1 MiB in all.
 * @property {QueuePolicy} [queuePolicy] What gives way when that is full: the newest, where nothing is said.
 * @property {Partial<Timing>} [timing]
 * @property {typeof WebSocket} [WebSocket] For a place that has none of its own.
 *
 * @typedef {Object} EventsOptions
 * @property {string | URL | (() => string | URL)} url Of the event stream. Asked before each attempt.
 * @property {(data: Data) => Post | undefined} post What is said, as a request; nothing, where it is not worth one.
 * @property {(data: Data, answer: Answer) => void} answered What became of it. Statuses that only say that the server is
 *   not there, or that the credentials are no good, end the connection instead.
 * @property {(credentials: Credentials) => string | undefined} [shared] Who listens, where the room tells all tabs of one
 *   user the same after their first message: they then read one stream together. Nothing: each has its own.
 *
 * @typedef {{ state: StateEvent, message: string | ArrayBuffer }} RoomSocketEvents
 */

/** @extends {Emitter<RoomSocketEvents>} */
export class RoomSocket extends Emitter {
  #options;
  #timing;
  #queue;
  #renewal;
  /** @type {State} */
  #state = "closed";
  /** @type {number | undefined} */
  #retryAt;
  /** @type {Close | undefined} */
  #close;

  /** Only the newest attempt may speak: what an older one still had under way is stale. */
  #attempt = Symbol();
  /** @type {Connection | SharedStream | undefined} */
  #connection;
  /** Those by which it is connected, or was tried last. @type {Credentials} */
  #credentials;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #waitTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #stableTimer;
  /** @type {(() => void) | undefined} */
  #unwatch;

  /** Since the last stable connection. */
  #failures = 0;
  /** @type {{ credentials: Credentials } | undefined} */
  #refused;
  /** @type {Transport} */
  #transport = "websocket";
  #eventsAreAbsent = false;
  /** The next attempt is to show whether events get through where WebSockets do not. */
  #isTrial = false;
  /** How often in a row nothing was heard over a WebSocket while the server answered over HTTP. */
  #blockedEvidence = 0;

  /** The server chose how long to wait; nothing that happens on the page knows better. */
  #waitIsHinted = false;

  /** @type {"unknown" | "yes" | "no"} */
  #answersPings = "unknown";
  #unansweredPings = 0;

  /** @param {RoomSocketOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this.#queue = new SendQueue(
      { ...QUEUE, count: options.queueLimit ?? QUEUE.count },
      options.queuePolicy ?? "refuse-newest",
    );
    const hooks = {
      ask: () => this.#askForCredentials({ refused: false, expiring: true }),
      send: (/** @type {string} */ frame) => this.#connection?.send(frame),
      renewed: (/** @type {Credentials} */ credentials) => (this.#credentials = credentials),
    };
    this.#renewal = new Renewal(hooks, this.#timing.answerTimeoutMs);
  }

  get state() {
    return this.#state;
  }

  /** Over what it is connected, or was tried last. */
  get transport() {
    return this.#transport;
  }

  /** @returns {StateEvent} What a listener that comes late has missed. */
  get snapshot() {
    return { state: this.#state, previous: this.#state, retryAt: this.#retryAt, close: this.#close, ...this.#sharing };
  }

  /** Bytes that have not yet left: in the queue, and in the browser. */
  get bufferedAmount() {
    return this.#queue.bytes + (this.#connection?.bufferedAmount ?? 0);
  }

  open() {
    if (this.#state !== "closed") return;
    this.#failures = this.#blockedEvidence = 0;
    this.#refused = undefined;
    this.#isTrial = false;
    this.#unwatch = watchPage({ back: () => this.#pageIsBack(), doubt: () => this.#connection?.probe() });
    this.#connect();
  }

  /**
   * Close for good; `open` begins anew. What waits to be sent is dropped.
   *
   * @param {number} [code] 1000, or 3000 to 4999, as browsers have it.
   * @param {string} [reason] Cut to 123 bytes of UTF-8, which is what a close can carry.
   * @throws {RangeError} For any other code. Then nothing has happened, and the socket is what it was.
   */
  close(code = 1000, reason = "") {
    if (!mayCloseWith(code)) throw new RangeError(`a socket is closed with 1000 or 3000 to 4999, and not with ${code}`);
    const connection = this.#connection;
    this.#connection = undefined;
    try {
      connection?.close(code, fitReason(String(reason)));
    } finally {
      this.#stop(undefined);
    }
  }

  /** Connect now, whatever was under way. */
  reconnect() {
    if (this.#state === "closed") return this.open();
    this.#connection?.close();
    this.#connection = undefined;
    this.#connect();
  }

  /**
   * What came over this connection cannot be right: leave it, and try another one after the backoff.
   *
   * @param {string} fault
   */
  failProtocol(fault) {
    if (this.#state !== "open") return;
    this.#connection?.close();
    this.#connection = undefined;
    this.#connectionLost({ code: CloseCode.protocolError, reason: `protocol error: ${fault}` });
  }

  /**
   * @param {Data} data
   * @returns {"sent" | "queued" | "rejected"} `rejected`: too much waits already, or the socket is closed. Nothing was
   *   kept. `sent` says that it left, not that it arrived.
   */
  send(data) {
    if (this.#state === "closed") return "rejected";
    if (this.#state !== "open") return this.#queue.push(data) ? "queued" : "rejected";
    if (this.bufferedAmount > 0 && this.bufferedAmount + sizeOf(data) > QUEUE.bytes) return "rejected";
    this.#connection?.send(data);
    return "sent";
  }

  async #connect() {
    const attempt = this.#startAttempt();
    /** @type {Credentials} */
    let credentials;
    try {
      credentials = await this.#askForCredentials();
    } catch (error) {
      if (attempt === this.#attempt) this.#connectionLost({ code: CloseCode.lost, reason: `no credentials: ${error}` });
      return;
    }
    if (attempt !== this.#attempt) return;
    if (this.#refused && isSameToken(this.#refused.credentials, credentials)) {
      return this.#stop({ code: CloseCode.unauthorized, reason: "no fresh credentials" });
    }
    this.#openConnection(attempt, credentials);
  }

  #startAttempt() {
    clearTimeout(this.#waitTimer);
    clearTimeout(this.#stableTimer);
    this.#renewal.stop();
    const attempt = (this.#attempt = Symbol());
    this.#setState("connecting"); // whoever hears it may close, and then this attempt is stale already
    return attempt;
  }

  /**
   * @param {import("./credentials.js").CredentialsRequest} [asked]
   * @returns {Promise<Credentials>}
   */
  async #askForCredentials(asked = { refused: this.#refused !== undefined }) {
    const { credentials } = this.#options;
    return credentials && this.#withTimeout(credentials(asked));
  }

  /**
   * @template Answer
   * @param {Promise<Answer> | Answer} answer
   * @returns {Promise<Answer>}
   */
  async #withTimeout(answer) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    /** @type {Promise<never>} */
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("not given in time")), this.#timing.connectTimeoutMs);
    });
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * @param {symbol} attempt
   * @param {Credentials} credentials
   */
  #openConnection(attempt, credentials) {
    /** @type {import("./connection.js").ConnectionListener} */
    const listener = {
      open: () => this.#opened(),
      heard: () => this.#transportWorks(),
      message: (data) => this.#renewal.handles(data) || this.emit("message", data),
      pong: () => (this.#answersPings = "yes"),
      end: (ending) => this.#ended(attempt, ending, this.#credentials),
    };
    this.#credentials = credentials;
    try {
      this.#transport = this.#nextTransport();
      this.#connection =
        this.#transport === "events" ? this.#stream(credentials, listener) : this.#socket(credentials, listener);
    } catch (error) {
      // Neither the URL nor the token gets better by trying again.
      return this.#stop({ code: CloseCode.policy, reason: String(error) });
    }
  }

  /** @returns {Transport} */
  #nextTransport() {
    const { events, transport = "auto" } = this.#options;
    return nextTransport({
      wanted: transport,
      hasWebSocket: this.#WebSocket !== undefined,
      events: events === undefined ? "unknown" : this.#eventsAreAbsent ? "absent" : "given",
      isTrial: this.#isTrial,
      blockedUntil: this.#transportMemory?.blockedUntil ?? 0,
      now: Date.now(),
    });
  }

  /**
   * @param {Credentials} credentials
   * @param {import("./connection.js").ConnectionListener} listener
   */
  #socket(credentials, listener) {
    const target = absolute(this.#options.url);
    target.protocol = target.protocol.replace(/^http/, "ws");
    const { url, protocols } = forUpgrade(target, credentials);
    const Socket = this.#WebSocket;
    if (Socket === undefined) throw new TypeError(NO_WEB_SOCKET);
    const ws = new Socket(url, protocols);
    const answersPings = this.#options.probe !== false && this.#answersPings !== "no";
    return new Connection(ws, this.#timing, { answersPings, speaksFirst: this.#canFallBack }, listener);
  }

  /**
   * @param {Credentials} credentials
   * @param {import("./connection.js").ConnectionListener} listener
   */
  #stream(credentials, listener) {
    const { url, post, answered, shared } = /** @type {EventsOptions} */ (this.#options.events);
    const target = http(url);
    // A ticket is good once, so each request takes one of its own; all else is good for as long as the stream.
    const isTicket = credentials != null && "ticket" in credentials;
    const each = async () => (isTicket ? this.#askForCredentials() : credentials);
    const { explain, probe } = this.#options;
    const ask = async () => (probe === false ? undefined : explain?.(credentials));
    const context = { post, answered, credentials: each, ask };
    const user = shared?.(credentials);
    const sharing = {
      name: user === undefined ? undefined : `dormouse ${target.origin}${target.pathname} ${user}`,
      first: forRequest(target, credentials),
      again: async () => forRequest(http(url), await each()),
    };
    return new SharedStream(sharing, this.#timing, context, listener);
  }

  get #WebSocket() {
    return this.#options.WebSocket ?? globalThis.WebSocket;
  }

  /** What is known of the way to the server. Only who could go another one needs to know. */
  get #transportMemory() {
    const { events } = this.#options;
    return events && transportMemoryFor(absolute(events.url));
  }

  /** @returns {Pick<StateEvent, "isUnshared">} */
  get #sharing() {
    const isShared = this.#options.events?.shared !== undefined;
    return this.#transport === "events" && isShared ? { isUnshared: !canShare() } : {};
  }

  get #canFallBack() {
    const { events, transport = "auto" } = this.#options;
    return events !== undefined && transport === "auto" && !this.#eventsAreAbsent;
  }

  /** Something came: so this is a way that works. */
  #transportWorks() {
    this.#blockedEvidence = 0;
    if (this.#transport === "websocket") this.#transportMemory?.socketWorks();
    else if (this.#isTrial) this.#transportMemory?.onlyEventsWork();
    this.#isTrial = false;
  }

  #opened() {
    const { credentials, renew } = this.#options;
    if (credentials && renew !== false && this.#transport === "websocket") this.#renewal.begin(this.#credentials);
    this.#stableTimer = setTimeout(() => {
      this.#failures = 0;
      this.#refused = undefined;
    }, this.#timing.stableAfterMs);
    // What was said first leaves first: before anything that a listener says on hearing of the new state.
    for (const data of this.#queue.drain()) this.#connection?.send(data);
    this.#setState("open");
  }

  /**
   * @param {symbol} attempt
   * @param {Ending} ending
   * @param {Credentials} credentials
   */
  #ended(attempt, ending, credentials) {
    this.#connection = undefined;
    this.#isTrial = false;
    this.#learnAboutPings(ending);
    if (ending.cause === "absent") this.#eventsAreAbsent = true;
    // An event stream that is refused says so itself.
    const explains = this.#transport === "websocket" && shouldExplain(ending, this.#failures, this.#canFallBack);
    this.#connectionLost(ending, credentials);
    if (explains && this.#state === "waiting") void this.#explain(attempt, credentials);
  }

  /**
   * The connection is gone, or never was: wait, ask for fresh credentials, or stop.
   *
   * @param {Close} close
   * @param {Credentials} [credentials] Those it was tried with.
   */
  #connectionLost({ code, reason }, credentials) {
    clearTimeout(this.#stableTimer);
    this.#renewal.stop();
    const close = { code, reason };
    switch (afterClose(code, this.#refused !== undefined)) {
      case "stop":
        return this.#stop(close);
      case "refresh-credentials":
        this.#refused = { credentials };
        // Without anybody to ask, fresh credentials will not come.
        return this.#options.credentials ? void this.#connect() : this.#stop(close);
      case "reconnect":
        return this.#options.reconnect === false ? this.#stop(close) : this.#wait(close);
    }
  }

  /** @param {Close} close */
  #wait(close) {
    const hint = hintedDelay(close.reason);
    const { firstBackoffMs, maxBackoffMs } = this.#timing;
    const backoff = backoffDelay(this.#failures, Math.random(), firstBackoffMs, maxBackoffMs);
    const delay = waitAfter(backoff, hint);
    this.#failures += 1;
    this.#waitIsHinted = delay > backoff;
    this.#retryAt = Date.now() + delay;
    this.#close = close;
    clearTimeout(this.#waitTimer);
    this.#waitTimer = setTimeout(() => this.#connect(), delay);
    this.#setState("waiting");
  }

  /** @param {Close | undefined} close Nothing, where the owner closed it. */
  #stop(close) {
    clearTimeout(this.#waitTimer);
    clearTimeout(this.#stableTimer);
    this.#renewal.stop();
    this.#attempt = Symbol();
    this.#unwatch?.();
    this.#queue.drain();
    this.#close = close;
    this.#setState("closed");
  }

  /**
   * @param {symbol} attempt
   * @param {Credentials} credentials
   */
  async #explain(attempt, credentials) {
    // Another attempt would end in the same way, after as long a time; so it waits for the answer.
    if (this.#canFallBack) clearTimeout(this.#waitTimer);
    let close;
    let answers = true;
    try {
      close = await this.#withTimeout(this.#options.explain?.(credentials));
    } catch {
      answers = false;
    }
    if (attempt !== this.#attempt || this.#state !== "waiting") return;
    this.#blockedEvidence = answers && !close ? this.#blockedEvidence + 1 : 0;
    if (close) {
      this.#failures -= 1; // the same failure, in other words
      this.#connectionLost(close, credentials);
    } else if (this.#canFallBack && isBlocked(this.#blockedEvidence, this.#transportMemory?.worked ?? false)) {
      this.#isTrial = true;
      void this.#connect();
    } else if (this.#canFallBack) {
      this.#waitTimer = setTimeout(() => this.#connect(), (this.#retryAt ?? 0) - Date.now());
    }
  }

  /** The network or the reader is back: whoever waits need not wait longer, whoever is connected wants to be sure. */
  #pageIsBack() {
    if (this.#state === "waiting" && !this.#waitIsHinted) void this.#connect();
    if (this.#state === "open") this.#connection?.probe();
  }

  /** @param {Ending} ending */
  #learnAboutPings({ cause }) {
    if (cause !== "silent" || this.#transport === "events" || this.#answersPings === "yes") return;
    this.#unansweredPings += 1;
    if (this.#unansweredPings >= UNKNOWN_PINGS) this.#answersPings = "no";
  }

  /** @param {State} state */
  #setState(state) {
    const previous = this.#state;
    if (state !== "waiting") this.#retryAt = undefined;
    if (state === "connecting" || state === "open") this.#close = undefined;
    this.#state = state;
    if (state !== previous || state === "waiting") {
      this.emit("state", { state, previous, retryAt: this.#retryAt, close: this.#close, ...this.#sharing });
    }
  }
}

/** @param {string | URL | (() => string | URL)} url */
function absolute(url) {
  return new URL(typeof url === "function" ? url() : url, globalThis.location?.href);
}

/** @param {string | URL | (() => string | URL)} url */
function http(url) {
  const target = absolute(url);
  target.protocol = target.protocol.replace(/^ws/, "http");
  return target;
}
