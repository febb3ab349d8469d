// @ts-check
/**
 * A chat room as a page needs it: its messages in order, each once, over any number of connections. The user's own
 * messages are not lost on the way.
 *
 * Every connection begins with a `history` frame, and the recovery after a reconnect happens there, in this order: add
 * the missed messages, settle the pending ones that they show as stored, send only the rest again.
 */

import { listenForFrames } from "./frame-listener.js";
import { MAX_CONTENT_UNITS, fitContent } from "./content.js";
import { listenerOf, userOf } from "./credentials.js";
import { chatEndpoints } from "./endpoints.js";
import { Emitter } from "./emitter.js";
import { explainRefusal, getJson, sendJson } from "./http.js";
import { MuteClock } from "./mute-clock.js";
import { PendingMessages, SendError } from "./pending-messages.js";
import { FORBIDDEN, MUTED, may, without } from "./permissions.js";
import { errorOfAnswer } from "./post-errors.js";
import { ProtocolError, parseFrame, readChatFrame, readDeleted, readMessagesPage, readPosted } from "./protocol.js";
import { afterHistory } from "./resend.js";
import { RoomSocket, TIMING } from "./room-socket.js";
import { Timeline } from "./timeline.js";
import { TYPING_EVERY_MS, TypingUsers } from "./typing.js";

/** How many older messages one request asks for. */
const PAGE = 50;

/** How many messages the server shows of a room that it does not resume. */
const HISTORY = 50;

/**
 * @typedef {import("./protocol.js").ChatMessage} ChatMessage
 * @typedef {import("./protocol.js").ChatFrame} ChatFrame
 * @typedef {import("./protocol.js").Deletion} Deletion
 * @typedef {import("./protocol.js").PostMuteBody} PostMuteBody
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
 * @property {string} [userId] The user's own id, if the credentials do not contain it. Otherwise it is learned from the
 *   first message that is sent.
 * @property {RoomSocketOptions["credentials"]} [credentials]
 * @property {RoomSocketOptions["transport"]} [transport]
 * @property {number} [pendingLimit] How many messages may wait to be stored. Default: 100.
 * @property {RoomSocketOptions["timing"]} [timing]
 * @property {RoomSocketOptions["WebSocket"]} [WebSocket]
 *
 * @typedef {Object} ChatEvents
 * @property {StateEvent} state
 * @property {{ added: readonly ChatMessage[], from: "history" | "live" | "older" }} messages
 * @property {{}} pending The list of pending messages has changed.
 * @property {{ clientId: string, message: ChatMessage }} stored A pending message was stored. Emitted before
 *   `messages`.
 * @property {{}} resync More was missed than the server could show: the list starts again with the latest messages.
 * @property {{}} typing
 * @property {TypingUser} joined
 * @property {TypingUser} left
 * @property {ErrorFrame} error The server refused a command of ours.
 * @property {{}} permissions What the user may do in the room has changed.
 * @property {{ message: ChatMessage }} deleted A moderator has deleted a message of the list. Its content is empty now.
 * @property {{}} muted The user's own mute has begun, changed or ended.
 */

/** @extends {Emitter<{ [Type in keyof ChatEvents]: ChatEvents[Type] }>} */
export class Chat extends Emitter {
  #options;
  #endpoints;
  #socket;
  #timeline = new Timeline();
  #pending;
  #typing;
  #mute = new MuteClock(() => this.emit("muted", {}));
  #userId;
  /**
   * All deletions before this message are known: it came in a frame of a connection. A message in the answer to a POST
   * may overtake a deletion.
   *
   * @type {number | undefined}
   */
  #receivedSeq;
  /** This connection has received its history, so a message sent from now on cannot be in it. */
  #historyArrived = false;
  /** A history was received on some connection, so there is something to resume. */
  #hasHistory = false;
  /** The numbering that our `seq`s belong to, if the server names it. @type {string | undefined} */
  #incarnation;
  /** When a history last left a gap, Unix milliseconds. A message sent before that may have been stored unseen. */
  #lastGapAt = -Infinity;
  #hasOlder = false;
  /** @type {import("./permissions.js").Permissions} */
  #permissions;
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

  /** The user's own id, if it is known. */
  get userId() {
    return this.#userId;
  }

  get state() {
    return this.#socket.state;
  }

  get snapshot() {
    return this.#socket.snapshot;
  }

  /** The transport of this connection or of the last attempt: `events` where WebSockets are blocked. */
  get transport() {
    return this.#socket.transport;
  }

  /** Oldest first. The same array until it changes; so is `pending`. */
  get messages() {
    return this.#timeline.messages;
  }

  /** The user's own messages that are not stored yet, in the order of writing. They belong below `messages`. */
  get pending() {
    return this.#pending.messages;
  }

  get typing() {
    return this.#typing.users;
  }

  /** Whether `loadOlder` may find messages. */
  get hasOlder() {
    return this.#hasOlder;
  }

  /** Whether a history was received. Before that, an empty list does not mean an empty room. */
  get hasHistory() {
    return this.#hasHistory;
  }

  /**
   * What the user may do in the room, such as `read`, `write` and `moderate`. `undefined` if the server has not sent
   * it, because it requires no grants: then the user may read and write.
   */
  get permissions() {
    return this.#permissions;
  }

  /** Whether the user may send messages now, as far as it is known. */
  get canWrite() {
    return may(this.#permissions, "write") && this.mutedUntil === undefined;
  }

  /** Whether the user may delete messages and mute users. */
  get canModerate() {
    return may(this.#permissions, "moderate");
  }

  /** When the user may send again, in Unix milliseconds of this machine; `undefined` if nobody has muted the user. */
  get mutedUntil() {
    return this.#mute.until;
  }

  open() {
    this.#socket.open();
  }

  /** Leaves the room. Pending messages fail, and can be sent again after the next `open`. */
  close() {
    this.#socket.close();
  }

  reconnect() {
    this.#socket.reconnect();
  }

  /**
   * @param {string} content Cut to 2,000 UTF-16 code units, as the server does.
   * @returns {Promise<ChatMessage>} Resolves when the server has stored it, rejects with a `SendError`. The codes
   *   `empty`, `too-many`, `not-connected` and `read-only` mean that the message was not accepted; after any other it
   *   stays in `pending`.
   */
  send(content) {
    return withHandledRejection(() => {
      if (content.trim() === "") throw new SendError("empty", "the message is empty");
      if (this.mutedUntil !== undefined) throw new SendError("read-only", "you are muted in this room");
      if (!this.canWrite) throw new SendError("read-only", "you may read this room, and not write in it");
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

  /**
   * Deletes a message of any user, for good. Only for moderators.
   *
   * @param {string} id
   * @returns {Promise<void>} Rejects with an `HttpError`: 403 without `moderate`, 404 for an unknown message.
   */
  async deleteMessage(id) {
    const url = new URL(this.#endpoints.message(id));
    const seq = this.messages.find((message) => message.id === id)?.seq;
    // With it the room need not search.
    if (seq !== undefined) url.search = `seq=${seq}`;
    const credentials = await this.#options.credentials?.({ refused: false });
    this.#delete(readDeleted(await sendJson("DELETE", url, credentials)));
  }

  /**
   * Keeps a user from sending, in this room. Only for moderators.
   *
   * @param {string} userId
   * @param {number} seconds From now on, at most 30 days. 0 ends the mute.
   * @returns {Promise<void>} Rejects with an `HttpError`: 403 without `moderate`.
   */
  async mute(userId, seconds) {
    const credentials = await this.#options.credentials?.({ refused: false });
    const body = /** @type {PostMuteBody} */ ({ user: userId, seconds });
    await sendJson("POST", this.#endpoints.mutes, credentials, body);
  }

  /** Call it on every keystroke: the others are notified at most every 2 s. */
  notifyTyping() {
    const now = performance.now();
    if (this.state !== "open" || !this.canWrite || now - this.#typingSentAt < TYPING_EVERY_MS) return;
    this.#typingSentAt = now;
    this.#sendCommand({ type: "typing" });
  }

  /** @returns {Promise<number>} How many older messages were added. */
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
    // The list was replaced by a resync meanwhile, so this page does not join it any more.
    if (first !== this.#timeline.messages[0]) return 0;
    // A server without `before` always returns the latest messages, so a second request would find nothing new.
    this.#hasOlder = page.hasMore ?? false;
    const isOlder = (/** @type {ChatMessage} */ { seq }) =>
      seq === undefined || first?.seq === undefined || seq < first.seq;
    const count = this.#timeline.prepend(page.messages.filter(isOlder));
    const added = this.messages.slice(0, count);
    // An added message may settle a pending one. Only its `clientId` proves that: the same text may be an older
    // message.
    for (const message of added) this.#settle(message, false);
    this.emit("messages", { added, from: "older" });
    return count;
  }

  /** @param {string} endpoint */
  #resuming(endpoint) {
    const url = new URL(endpoint);
    if (this.#hasHistory && this.#receivedSeq !== undefined) {
      url.searchParams.set("since", String(this.#receivedSeq));
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
      this.#mute.set(0);
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
        this.#addMessages([frame.message], "live");
        // A listener may have left the room.
        if (frame.message.seq !== undefined) this.#receivedSeq = Math.max(this.#receivedSeq ?? 0, frame.message.seq);
        return;
      case "typing":
        return this.#typing.add(frame);
      case "user_joined":
        return this.emit("joined", frame);
      case "user_left":
        this.#typing.remove(frame.userId);
        return this.emit("left", frame);
      case "permissions":
        return this.#setPermissions(frame.permissions);
      case "deleted":
        return this.#delete(frame);
      case "muted":
        this.#typing.remove(frame.user);
        if (frame.user === this.#userId) this.#mute.set(frame.seconds);
        return;
      case "error":
        if (frame.code === FORBIDDEN) this.#setPermissions(without(this.#permissions, frame.permission ?? "write"));
        if (frame.code === MUTED && frame.seconds !== undefined) this.#mute.set(frame.seconds);
        if (frame.clientId) this.#pending.fail(frame.clientId, new SendError(frame.code, frame.message));
        return this.emit("error", frame);
    }
  }

  /**
   * Each message has the next `seq`. If it has not, messages were lost on the way: the history of the next connection
   * brings them and this one.
   *
   * @param {ChatMessage} message
   * @throws {ProtocolError}
   */
  #checkNoGap({ seq }) {
    const last = this.#timeline.size === 0 ? 0 : this.#timeline.lastSeq;
    if (!this.#historyArrived || seq === undefined || last === undefined || seq <= last + 1) return;
    throw new ProtocolError(`message ${seq} came after message ${last}`);
  }

  /** @param {import("./permissions.js").Permissions} permissions */
  #setPermissions(permissions) {
    this.#permissions = permissions;
    this.emit("permissions", {});
  }

  /** @param {Deletion} deletion */
  #delete(deletion) {
    const message = this.#timeline.delete(deletion);
    if (message) this.emit("deleted", { message });
  }

  /** @param {HistoryFrame} history */
  #applyHistory(history) {
    // A server that requires grants sends the permissions after this frame.
    this.#permissions = undefined;
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
    for (const deletion of history.deleted ?? []) this.#delete(deletion);
    this.#addMessages(history.messages, "history");
    this.#receivedSeq = this.#timeline.size === 0 ? 0 : this.#timeline.lastSeq;
    this.#mute.set(history.muted?.seconds ?? 0);

    // Not earlier: what a listener sends must follow the messages that wait. A listener may also have left the room.
    this.#historyArrived = this.state === "open";
    for (const { clientId, state, sentAt } of this.pending) {
      if (state === "failed") continue;
      const nothingMissed = sentAt === undefined || sentAt > this.#lastGapAt;
      if (afterHistory({ sentAt, now, isComplete: nothingMissed, storesOnce }) === "send") this.#transmit(clientId);
      else this.#pending.fail(clientId, new SendError("unsure", "it may or may not have been stored"));
    }
  }

  /**
   * Whether this history joins our messages without a gap.
   *
   * @param {HistoryFrame} history
   */
  #isGapless({ messages, resumed, incarnation }) {
    // In another incarnation the same numbers mean other messages, so the messages that we show may not exist.
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
    for (const { id, deleted } of messages) if (deleted) this.#delete({ id, ...deleted });
    const current = messages.map((message) => this.#timeline.current(message));
    const added = current.filter((message) => this.#timeline.add(message));
    const isNew = new Set(added);
    if (firstSeq !== undefined && this.#timeline.firstSeq !== firstSeq) this.#hasOlder = true; // oldest dropped
    // Known messages too: the echo of a retry may be a message that we have already.
    for (const message of current) this.#settle(message, isNew.has(message));
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
      this.#pending.fail(clientId, new SendError("overflow", "too much is unsent already"));
    } else if (this.transport === "events") {
      this.#pending.posted(clientId);
    } else {
      this.#pending.sent(clientId);
    }
  }

  /**
   * Turns a command into a POST, where there is no WebSocket. A typing notice is not worth a request.
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
    // Earlier messages of others still come over the stream. Adding this one before them would leave a gap.
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
 * Marks a rejection as handled. `pending` shows the failure too, so a caller may ignore the promise without an error on
 * the console.
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
 * Whether a stored message is this pending one. A server that returns neither `clientId` nor `seq` is matched by the
 * first new message of ours with the same text.
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
 * @returns {ChatMessage | undefined} `undefined` if the answer has no valid message: it then comes over the stream.
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
