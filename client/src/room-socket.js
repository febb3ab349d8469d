// @ts-check
/**
 * One socket to one room. It stays open until its owner closes it. Start reading here.
 *
 *            open()                opened
 *   closed ─────────▶ connecting ─────────▶ open
 *     ▲                ▲      │              │
 *     │ close(), or    │      ▼ failed       │ lost
 *     │ refused       the wait is over       │
 *     └───────────── waiting ◀───────────────┘
 *
 * It knows when to connect, to wait and to give up, and whether to use a WebSocket or an event stream. It does not know
 * what the frames mean. The layer above asks for missed messages: it puts the last one that it saw into `url`.
 */

import { CallError, Calls } from "./calls.js";
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

/** After this time a connection counts as stable and past failures are forgotten, ms: an early failure still counts. */
const STABLE_MS = 5_000;

/** A server that left this many pings unanswered, and never answered one, is taken not to support pings. */
const UNKNOWN_PINGS = 2;

const NO_WEB_SOCKET =
  "this environment has no global WebSocket (Node has none before 22): pass one in the option `WebSocket`, such as that " +
  'of the package `ws`, or choose `transport: "events"` if the room has `events`';

/** The most that may wait to be sent, in the queue or in the browser. */
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
 * @property {Close} [close] While waiting or closed: why the last connection ended. Absent if its owner closed it.
 * @property {boolean} [isUnshared] Over events only. True: tabs of this browser cannot share a stream, because it has
 *   no `BroadcastChannel` or no Web Locks (as on a page without HTTPS). Each tab then uses its own connections, and a
 *   browser opens only six over HTTP/1.1.
 *
 * @typedef {Object} Timing All in milliseconds.
 * @property {number} connectTimeoutMs The longest time for one attempt: 10 s.
 * @property {number} pingAfterMs After this time without a frame the client sends a ping: 20 s.
 * @property {number} answerTimeoutMs The longest wait for a pong, for the answer to a new token, and for the first
 *   frame of a room: 10 s.
 * @property {number} streamTimeoutMs After this time without a byte an event stream is lost: 45 s. The server sends
 *   something every 25 s.
 * @property {number} stableAfterMs A connection that lasts this long clears past failures: 5 s.
 * @property {number} firstBackoffMs The longest first wait: 500 ms. Each failure doubles it.
 * @property {number} maxBackoffMs The longest wait: 30 s.
 *
 * @typedef {Object} RoomSocketOptions
 * @property {string | URL | (() => string | URL)} url A function is called before each attempt. `http` and `https`
 *   become `ws` and `wss`.
 * @property {(asked: import("./credentials.js").CredentialsRequest) => Promise<Credentials> | Credentials}
 *   [credentials] Called before each attempt. `refused`: the server refused the last credentials; if the same come
 *   again, the socket closes. `expiring`: the token of an open WebSocket is about to expire, and a new one replaces it.
 * @property {boolean} [renew] False: a token is not renewed on an open WebSocket. Default: true. The frame is
 *   `{"type":"identity","token":"…"}`; a Dormouse server does not pass it to the room.
 * @property {(credentials: Credentials) => Promise<Close | undefined>} [explain] Asks over HTTP why attempts fail
 *   before they open, because a browser hides the status of a refused upgrade. Rejects if the server cannot be reached.
 * @property {EventsOptions} [events] How to connect without WebSockets. Default: not at all.
 * @property {TransportChoice} [transport] Default `auto`: events only where WebSockets are blocked.
 * @property {boolean} [reconnect] False: a lost connection is not opened again. Default: true.
 * @property {boolean} [probe] False: the client never sends a ping to a silent server. Default: true. The ping is
 *   `{"type":"ping"}`, and a Dormouse server answers `{"type":"pong"}`.
 * @property {number} [queueLimit] How many messages may wait for a connection. Default: 100; at most 1 MiB in all.
 * @property {QueuePolicy} [queuePolicy] Which messages a full queue drops. Default: it refuses the newest.
 * @property {Partial<Timing>} [timing]
 * @property {typeof WebSocket} [WebSocket] For an environment without a global `WebSocket`.
 *
 * @typedef {Object} EventsOptions
 * @property {string | URL | (() => string | URL)} url Of the event stream. A function is called before each attempt.
 * @property {(data: Data) => Post | undefined} post Turns a message into a request. `undefined`: the message is
 *   dropped.
 * @property {(data: Data, answer: Answer) => void} answered Receives the answer to a request. Statuses that only mean
 *   that the server is down or that the credentials are invalid end the connection instead.
 * @property {(credentials: Credentials) => string | undefined} [shared] Names the user, in a room that sends all tabs
 *   of one user the same after their first message: these tabs then share one stream. `undefined`: each tab has its
 *   own.
 *
 * @typedef {{ state: StateEvent, message: string | ArrayBuffer }} RoomSocketEvents
 */

/** @extends {Emitter<RoomSocketEvents>} */
export class RoomSocket extends Emitter {
  #options;
  #timing;
  #queue;
  #renewal;
  #calls = new Calls((frame) => this.#state === "open" && this.send(frame) === "sent");
  /** @type {State} */
  #state = "closed";
  /** @type {number | undefined} */
  #retryAt;
  /** @type {Close | undefined} */
  #close;

  /** Only the newest attempt may change the state: results of an older one are stale. */
  #attempt = Symbol();
  /** @type {Connection | SharedStream | undefined} */
  #connection;
  /** The credentials of this connection or of the last attempt. @type {Credentials} */
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
  /** The next attempt tests whether events get through where WebSockets do not. */
  #isTrial = false;
  /** How often in a row a WebSocket received nothing while the server answered over HTTP. */
  #blockedEvidence = 0;

  /** The server chose the wait, so no event on the page shortens it. */
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

  /** The transport of this connection or of the last attempt. */
  get transport() {
    return this.#transport;
  }

  /** @returns {StateEvent} The current state, for a listener that was added late. */
  get snapshot() {
    return { state: this.#state, previous: this.#state, retryAt: this.#retryAt, close: this.#close, ...this.#sharing };
  }

  /** Bytes that are not yet sent: in the queue and in the browser. */
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
   * Closes until the next `open`. Messages that wait are dropped.
   *
   * @param {number} [code] 1000, or 3000 to 4999: browsers allow no other.
   * @param {string} [reason] Cut to 123 bytes of UTF-8, the most that a close frame can carry.
   * @throws {RangeError} For any other code. The socket then stays as it is.
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

  /** Connects now, in any state. */
  reconnect() {
    if (this.#state === "closed") return this.open();
    this.#connection?.close();
    this.#connection = undefined;
    this.#connect();
  }

  /**
   * The server broke the protocol: leaves this connection and opens another one after the backoff.
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
   * @returns {"sent" | "queued" | "rejected"} `rejected`: the queue is full or the socket is closed, and nothing was
   *   kept. `sent` means that the message left, not that it arrived.
   */
  send(data) {
    if (this.#state === "closed") return "rejected";
    if (this.#state !== "open") return this.#queue.push(data) ? "queued" : "rejected";
    if (this.bufferedAmount > 0 && this.bufferedAmount + sizeOf(data) > QUEUE.bytes) return "rejected";
    this.#connection?.send(data);
    return "sent";
  }

  /**
   * Calls the room, and returns its answer. A call that gets none when the connection ends is sent again on the next
   * one; the room runs it once. Up to 100 calls wait, also for a connection.
   *
   * @template {import("./calls.js").CallTypes} [Types=import("./calls.js").CallTypes]
   * @template {keyof Types & string} [Name=keyof Types & string]
   * @param {Name} name
   * @param {Parameters<Types[Name]>[0]} [args]
   * @param {import("./calls.js").CallOptions} [options]
   * @returns {Promise<ReturnType<Types[Name]>>} Rejects with a `CallError`.
   */
  call(name, args, options) {
    if (this.#state === "closed") return Promise.reject(new CallError("not_sent", "the socket is closed"));
    return /** @type {Promise<any>} */ (this.#calls.call(name, args, options));
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
    this.#setState("connecting"); // a listener may call close, which makes this attempt stale
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
      timer = setTimeout(() => reject(new Error("timed out")), this.#timing.connectTimeoutMs);
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
      firstData: () => this.#transportWorks(),
      message: (data) => this.#renewal.handles(data) || this.#calls.handles(data) || this.emit("message", data),
      pong: () => (this.#answersPings = "yes"),
      end: (ending) => this.#ended(attempt, ending, this.#credentials),
    };
    this.#credentials = credentials;
    try {
      this.#transport = this.#nextTransport();
      this.#connection =
        this.#transport === "events" ? this.#stream(credentials, listener) : this.#socket(credentials, listener);
    } catch (error) {
      // The URL or the token is invalid, so another attempt would fail in the same way.
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
    // A ticket is valid once, so each request needs a new one. All other credentials last as long as the stream.
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

  /** The transports that worked to this server. Without `events` there is no choice, so nothing is remembered. */
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

  /** Something was received, so this transport works. */
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
    // Queued messages leave before anything that a listener sends when it learns of the new state.
    for (const data of this.#queue.drain()) this.#connection?.send(data);
    this.#calls.opened((frame) => this.#connection?.send(frame));
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
    // A refused event stream carries its own status, so only WebSockets need an explanation.
    const explains = this.#transport === "websocket" && shouldExplain(ending, this.#failures, this.#canFallBack);
    this.#connectionLost(ending, credentials);
    if (explains && this.#state === "waiting") void this.#explain(attempt, credentials);
  }

  /**
   * The connection ended or never opened: waits, asks for fresh credentials, or stops.
   *
   * @param {Close} close
   * @param {Credentials} [credentials] Those of the attempt.
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
        // Without a `credentials` function there are no fresh credentials.
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

  /** @param {Close | undefined} close `undefined` if the owner closed it. */
  #stop(close) {
    clearTimeout(this.#waitTimer);
    clearTimeout(this.#stableTimer);
    this.#renewal.stop();
    this.#attempt = Symbol();
    this.#unwatch?.();
    this.#queue.drain();
    this.#close = close;
    this.#setState("closed");
    this.#calls.closed();
  }

  /**
   * @param {symbol} attempt
   * @param {Credentials} credentials
   */
  async #explain(attempt, credentials) {
    // Another attempt would take as long and fail in the same way, so it waits for the explanation.
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
      this.#failures -= 1; // the same failure, which is not counted twice
      this.#connectionLost(close, credentials);
    } else if (this.#canFallBack && isBlocked(this.#blockedEvidence, this.#transportMemory?.worked ?? false)) {
      this.#isTrial = true;
      void this.#connect();
    } else if (this.#canFallBack) {
      this.#waitTimer = setTimeout(() => this.#connect(), (this.#retryAt ?? 0) - Date.now());
    }
  }

  /** The network or the reader is back: reconnects if it waits, and checks the connection if it is open. */
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
