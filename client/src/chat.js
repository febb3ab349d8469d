// @ts-check
/**
 * A chat room as a page needs it: its messages in order and each once, whatever happens to the connection, and
 * messages of one's own that are not lost on the way.
 *
 * Every connection opens with a `history` frame. All that must be right after a reconnect is decided there and in
 * this order: what was missed comes in, what it shows to be stored is settled, and only what is left is sent again.
 */

import { listenForFrames } from "./frame-listener.js";
import { MAX_CONTENT_UNITS, fitContent } from "./content.js";
import { listenerOf, userOf } from "./credentials.js";
import { chatEndpoints } from "./endpoints.js";
import { Emitter } from "./emitter.js";
import { explainRefusal, getJson } from "./http.js";
import { PendingMessages, SendError } from "./pending-messages.js";
import { errorOfAnswer } from "./post-errors.js";
import { ProtocolError, parseFrame, readChatFrame, readMessagesPage, readPosted } from "./protocol.js";
import { afterHistory } from "./resend.js";
import { RoomSocket, TIMING } from "./room-socket.js";
import { Timeline } from "./timeline.js";
import { TYPING_EVERY_MS, TypingUsers } from "./typing.js";

/** How many messages a page of older ones holds. */
const PAGE = 50;

/** What a server shows of a room that it does not resume. */
const HISTORY = 50;

/**
 * @typedef {import("./protocol.js").ChatMessage} ChatMessage
 * @typedef {import("./protocol.js").ChatFrame} ChatFrame
 * @typedef {import("./protocol.js").ChatCommand} ChatCommand
 * @typedef {import("./protocol.js").PostMessageBody} PostMessageBody
 * @typedef {import("./protocol.js").HistoryFrame} HistoryFrame
 * @typedef {import("./protocol.js").ErrorFrame} ErrorFrame
 * @typedef {import("./room-socket.js").RoomSocketOptions} RoomSocketOptions
 * @typedef {import("./room-socket.js").StateEvent} StateEvent
 * @typedef {import("./typing.js").TypingUser} TypingUser
 *
 * @typedef {Object} ChatOptions
 * @property {string | URL} baseUrl Such as `/api/realtime`.
 * @property {string} roomId
 * @property {string} [userId] One's own, where the credentials do not tell. Otherwise it is learned from the first
 *   message sent.
 * @property {RoomSocketOptions["credentials"]} [credentials]
 * @property {RoomSocketOptions["transport"]} [transport]
 * @property {number} [pendingLimit] How many messages may wait to be stored.
 * @property {RoomSocketOptions["timing"]} [timing]
 * @property {RoomSocketOptions["WebSocket"]} [WebSocket]
 *
 * @typedef {Object} ChatEvents
 * @property {StateEvent} state
 * @property {{ added: readonly ChatMessage[], from: "history" | "live" | "older" }} messages
 * @property {{}} pending The list of pending messages has changed.
 * @property {{ clientId: string, message: ChatMessage }} stored A pending message is now this one. Before `messages`.
 * @property {{}} resync More was missed than the server could show: the list now begins anew with the latest messages.
 * @property {{}} typing
 * @property {TypingUser} joined
 * @property {TypingUser} left
 * @property {ErrorFrame} error The server refused something that we said.
 */

/** @extends {Emitter<{ [Type in keyof ChatEvents]: ChatEvents[Type] }>} */
export class Chat extends Emitter {
  #options;
  #endpoints;
  #socket;
  #timeline = new Timeline();
  #pending;
  #typing;
  #userId;
  /** A history has come over this connection, so what we send now cannot be in it. */
  #historyArrived = false;
  /** A history has come at all, so there is something to resume. */
  #hasHistory = false;
  /** Which numbering of the room our `seq`s belong to, where the server says so. @type {string | undefined} */
  #incarnation;
  /** When a history last left a gap: what first left before then may have been stored unseen. Unix milliseconds. */
  #lastGapAt = -Infinity;
  #hasOlder = false;
  /** @type {Promise<number> | undefined} */
  #loading;
  #typingSentAt = -Infinity;

  /** @param {ChatOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#endpoints = chatEndpoints(options.baseUrl, options.roomId);
    this.#userId = options.userId;
    this.#pending = new PendingMessages(options.pendingLimit ?? 100, () => this.emit("pending", {}));
    this.#typing = new TypingUsers(() => this.emit("typing", {}));
    this.#socket = new RoomSocket({
      url: () => this.#resuming(this.#endpoints.socket),
      credentials: options.credentials && ((asked) => this.#requestCredentials(asked)),
      explain: (credentials) => explainRefusal(`${this.#endpoints.messages}?limit=1`, credentials),
      events: {
        url: () => this.#resuming(this.#endpoints.events),
        shared: (credentials) => listenerOf(credentials, options.userId),
        post: (data) => this.#asPost(parseFrame(data)),
        answered: (data, answer) => this.#answered(parseFrame(data), answer),
      },
      transport: options.transport,
      timing: options.timing,
      WebSocket: options.WebSocket,
    });
    this.#socket.on("state", (event) => this.#stateChanged(event));
    listenForFrames(this.#socket, {
      room: options.roomId,
      read: readChatFrame,
      firstFrame: "history",
      firstFrameTimeoutMs: options.timing?.answerTimeoutMs ?? TIMING.answerTimeoutMs,
      onFrame: (frame) => this.#receive(frame),
    });
  }

  get roomId() {
    return this.#options.roomId;
  }

  /** One's own user, as far as it is known. */
  get userId() {
    return this.#userId;
  }

  get state() {
    return this.#socket.state;
  }

  get snapshot() {
    return this.#socket.snapshot;
  }

  /** Over what it is connected, or was tried last: `events` where WebSockets are blocked. */
  get transport() {
    return this.#socket.transport;
  }

  /** Oldest first. The same array until it changes, like `pending`. */
  get messages() {
    return this.#timeline.messages;
  }

  /** One's own messages that are not stored yet, in the order of writing. They belong below `messages`. */
  get pending() {
    return this.#pending.messages;
  }

  get typing() {
    return this.#typing.users;
  }

  /** Whether `loadOlder` may find something. */
  get hasOlder() {
    return this.#hasOlder;
  }

  /** Whether a first history has come: until then an empty list says nothing about the room. */
  get hasHistory() {
    return this.#hasHistory;
  }

  open() {
    this.#socket.open();
  }

  /** Leave. What is pending fails, and can be tried again after another `open`. */
  close() {
    this.#socket.close();
  }

  reconnect() {
    this.#socket.reconnect();
  }

  /**
   * @param {string} content Cut to 2,000 UTF-16 code units, as the server does.
   * @returns {Promise<ChatMessage>} Kept once the server has stored it, broken with a `SendError`. Its codes `empty`,
   *   `too-many` and `not-connected` say that the message was not taken at all; otherwise it stays among `pending`.
   */
  send(content) {
    return withHandledRejection(() => {
      if (content.trim() === "") throw new SendError("empty", "there is nothing to send");
      if (this.state === "closed") throw new SendError("not-connected", "not connected to the room");
      const { clientId, stored } = this.#pending.add(fitContent(content, MAX_CONTENT_UNITS));
      this.#typingSentAt = -Infinity;
      this.#transmit(clientId);
      return stored;
    });
  }

  /**
   * @param {string} clientId Of a failed message.
   * @returns {Promise<ChatMessage>}
   */
  retry(clientId) {
    return withHandledRejection(() => {
      if (this.state === "closed") throw new SendError("not-connected", "not connected to the room");
      const stored = this.#pending.retry(clientId);
      if (!stored) throw new SendError("discarded", "no such message has failed");
      this.#transmit(clientId);
      return stored;
    });
  }

  /** @param {string} clientId */
  discard(clientId) {
    this.#pending.discard(clientId);
  }

  /** Call it on every keystroke; the others are told now and then. */
  notifyTyping() {
    const now = performance.now();
    if (this.state !== "open" || now - this.#typingSentAt < TYPING_EVERY_MS) return;
    this.#typingSentAt = now;
    this.#sendCommand({ type: "typing" });
  }

  /** @returns {Promise<number>} How many older messages were found. */
  loadOlder() {
    return (this.#loading ??= this.#loadOlder().finally(() => (this.#loading = undefined)));
  }

  async #loadOlder() {
    if (!this.#hasOlder) return 0;
    const first = this.#timeline.messages[0];
    const url = new URL(this.#endpoints.messages);
    if (first?.seq !== undefined) url.search = `before=${first.seq}&limit=${PAGE}`;
    const credentials = await this.#options.credentials?.({ refused: false });
    const page = readMessagesPage(await getJson(url, credentials));
    // A resync came in between, so the page no longer ends where the list begins.
    if (first !== this.#timeline.messages[0]) return 0;
    // A server without `before` answers with the same latest messages each time: one look shows all there is to see.
    this.#hasOlder = page.hasMore ?? false;
    const isOlder = (/** @type {ChatMessage} */ { seq }) =>
      seq === undefined || first?.seq === undefined || seq < first.seq;
    const count = this.#timeline.prepend(page.messages.filter(isOlder));
    const added = this.messages.slice(0, count);
    // It may show that what was in doubt is stored; by its `clientId` only, since the same words may be old ones of ours.
    for (const message of added) this.#settle(message, false);
    this.emit("messages", { added, from: "older" });
    return count;
  }

  /** @param {string} endpoint */
  #resuming(endpoint) {
    const url = new URL(endpoint);
    const since = this.#timeline.size === 0 ? 0 : this.#timeline.lastSeq;
    if (this.#hasHistory && since !== undefined) {
      url.searchParams.set("since", String(since));
      if (this.#incarnation !== undefined) url.searchParams.set("incarnation", this.#incarnation);
    }
    return url;
  }

  /** @param {StateEvent} event */
  #stateChanged(event) {
    if (event.state !== "open") {
      this.#historyArrived = false;
      this.#pending.stopTimers();
      this.#typing.clear();
    }
    if (event.state === "closed") {
      for (const { clientId } of this.pending) {
        this.#pending.fail(clientId, new SendError("closed", "the connection was closed"));
      }
    }
    this.emit("state", event);
  }

  /** @param {ChatFrame} frame */
  #receive(frame) {
    switch (frame.type) {
      case "history":
        return this.#applyHistory(frame);
      case "message":
        this.#checkNoGap(frame.message);
        this.#typing.remove(frame.message.userId);
        return this.#addMessages([frame.message], "live");
      case "typing":
        return this.#typing.add(frame);
      case "user_joined":
        return this.emit("joined", frame);
      case "user_left":
        this.#typing.remove(frame.userId);
        return this.emit("left", frame);
      case "error":
        if (frame.clientId) this.#pending.fail(frame.clientId, new SendError(frame.code, frame.message));
        return this.emit("error", frame);
    }
  }

  /**
   * The next message has the next number. Where it has not, something was lost on the way: it comes with the history of
   * the next connection, and this message too.
   *
   * @param {ChatMessage} message
   * @throws {ProtocolError}
   */
  #checkNoGap({ seq }) {
    const last = this.#timeline.size === 0 ? 0 : this.#timeline.lastSeq;
    if (!this.#historyArrived || seq === undefined || last === undefined || seq <= last + 1) return;
    throw new ProtocolError(`message ${seq} came after message ${last}`);
  }

  /** @param {HistoryFrame} history */
  #applyHistory(history) {
    const isComplete = !this.#hasHistory || this.#isGapless(history);
    const storesOnce = history.resumed !== undefined || history.messages.some(({ seq }) => seq !== undefined);
    const now = Date.now();
    if (!isComplete) {
      this.#lastGapAt = now;
      this.#timeline.replace([]);
      this.emit("resync", {});
    }
    if (!this.#hasHistory || !isComplete) this.#hasOlder = mayHaveOlder(history.messages);
    this.#hasHistory = true;
    this.#incarnation = history.incarnation;
    this.#addMessages(history.messages, "history");

    // Not before, so that what a listener says takes its place behind what waits; and whoever heard it may have left.
    this.#historyArrived = this.state === "open";
    for (const { clientId, state, sentAt } of this.pending) {
      if (state === "failed") continue;
      const nothingMissed = sentAt === undefined || sentAt > this.#lastGapAt;
      if (afterHistory({ sentAt, now, isComplete: nothingMissed, storesOnce }) === "send") this.#transmit(clientId);
      else this.#pending.fail(clientId, new SendError("unsure", "it may or may not have been stored"));
    }
  }

  /**
   * Whether this history leaves no gap behind what we have.
   *
   * @param {HistoryFrame} history
   */
  #isGapless({ messages, resumed, incarnation }) {
    // The same numbers name other messages now, so what we show may be there no more.
    if (this.#incarnation !== undefined && incarnation !== undefined && incarnation !== this.#incarnation) return false;
    const [first] = messages;
    const last = this.#timeline.lastSeq;
    if (resumed && first?.seq !== undefined && last !== undefined && first.seq > last + 1) return false;
    if (resumed !== undefined) return resumed;
    return this.#timeline.size === 0
      ? messages.length < HISTORY
      : messages.some((message) => this.#timeline.has(message));
  }

  /**
   * @param {readonly ChatMessage[]} messages
   * @param {"history" | "live"} from
   */
  #addMessages(messages, from) {
    const { firstSeq } = this.#timeline;
    const added = messages.filter((message) => this.#timeline.add(message));
    const isNew = new Set(added);
    if (firstSeq !== undefined && this.#timeline.firstSeq !== firstSeq) this.#hasOlder = true; // the oldest were let go
    // Also what was known: the echo of a retry is a message that we may have seen before.
    for (const message of messages) this.#settle(message, isNew.has(message));
    if (added.length > 0 || from === "history") this.emit("messages", { added, from });
  }

  /**
   * @param {ChatMessage} message
   * @param {boolean} isNew
   */
  #settle(message, isNew) {
    const own = this.pending.find((pending) => isEchoOf(pending, message, this.#userId, isNew));
    if (!own) return;
    this.#userId = message.userId;
    this.emit("stored", { clientId: own.clientId, message });
    this.#pending.settle(own.clientId, message);
  }

  /** @param {string} clientId */
  #transmit(clientId) {
    const content = this.pending.find((pending) => pending.clientId === clientId)?.content;
    if (content === undefined || !this.#historyArrived) return;
    if (this.#sendCommand({ type: "message", content, clientId }) === "rejected") {
      this.#pending.fail(clientId, new SendError("overflow", "too much is on its way already"));
    } else if (this.transport === "events") {
      this.#pending.posted(clientId);
    } else {
      this.#pending.sent(clientId);
    }
  }

  /**
   * What we say where there is no WebSocket. That somebody types is not worth a request.
   *
   * @param {ChatCommand | undefined} command
   */
  #asPost(command) {
    if (command?.type !== "message") return undefined;
    const { content, clientId } = command;
    return { url: this.#endpoints.messages, body: /** @type {PostMessageBody} */ ({ content, clientId }) };
  }

  /**
   * @param {ChatCommand | undefined} command
   * @param {import("./post-queue.js").Answer} answer
   */
  #answered(command, answer) {
    const clientId = command?.type === "message" ? command.clientId : undefined;
    if (clientId === undefined) return;
    if (answer.status >= 400) return this.#receive(errorOfAnswer(answer, clientId));
    const message = messageOf(answer);
    // What others have said before it comes over the stream, and it behind them: taking it now would leave a gap.
    const isNext = message?.seq !== undefined && message.seq <= (this.#timeline.lastSeq ?? 0) + 1;
    if (message && isNext) this.#addMessages([message], "live");
    else this.#pending.sent(clientId);
  }

  /** @param {ChatCommand} command */
  #sendCommand(command) {
    return this.#socket.send(JSON.stringify(command));
  }

  /** @param {{ refused: boolean }} asked */
  async #requestCredentials(asked) {
    const credentials = await this.#options.credentials?.(asked);
    this.#userId ??= userOf(credentials)?.userId;
    return credentials;
  }
}

/**
 * A promise that nobody has to look at: what fails is shown among `pending` as well, so an ignored failure is no
 * mistake to be reported on the console.
 *
 * @param {() => Promise<ChatMessage>} start
 * @returns {Promise<ChatMessage>}
 */
function withHandledRejection(start) {
  const promise = new Promise((resolve) => resolve(start()));
  promise.catch(() => {});
  return promise;
}

/**
 * Whether a stored message is the pending one. Where the server hands no `clientId` back (it gives no `seq` either),
 * it is the first of ours that says the same.
 *
 * @param {import("./pending-messages.js").PendingMessage} pending
 * @param {ChatMessage} message
 * @param {string | undefined} userId
 * @param {boolean} isNew
 */
function isEchoOf(pending, message, userId, isNew) {
  if (message.seq !== undefined || message.clientId !== undefined) return message.clientId === pending.clientId;
  if (userId !== undefined && message.userId !== userId) return false;
  return isNew && pending.sentAt !== undefined && message.content === pending.content;
}

/**
 * @param {import("./post-queue.js").Answer} answer
 * @returns {ChatMessage | undefined} Nothing, where it gives none or no sound one: then it comes over the stream.
 */
function messageOf({ body }) {
  try {
    return readPosted(body);
  } catch (error) {
    console.error(`dormouse: protocol error in the answer to a message: ${error}`);
    return undefined;
  }
}

/** @param {readonly ChatMessage[]} history */
function mayHaveOlder(history) {
  const seq = history[0]?.seq;
  return seq === undefined ? history.length >= HISTORY : seq > 1;
}
