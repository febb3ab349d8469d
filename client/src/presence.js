// @ts-check
/**
 * The users who are present, and their status. The server owns all of it. The client keeps one thing: the status that
 * its user chose, until the server has acknowledged it. An unacknowledged choice is sent again after a reconnect. An
 * acknowledged one is not, because another tab or device may have chosen a newer one meanwhile.
 */

import { listenForFrames } from "./frame-listener.js";
import { listenerOf, userOf } from "./credentials.js";
import { presenceEndpoints } from "./endpoints.js";
import { Emitter } from "./emitter.js";
import { explainRefusal, getJson } from "./http.js";
import { FORBIDDEN, may, without } from "./permissions.js";
import { errorOfAnswer } from "./post-errors.js";
import { ProtocolError, parseFrame, readPresenceFrame, readPresenceList } from "./protocol.js";
import { RoomSocket, TIMING } from "./room-socket.js";

export { STATUSES } from "./protocol.js";

const GLOBAL = "global";

/** How often a heartbeat is sent, ms. It updates `lastSeen`. */
const HEARTBEAT_MS = 20_000;

/** How often the client disputes its own removal, ms: a server that insists must not cause a reconnect loop. */
const DISPUTE_EVERY_MS = 60_000;

/**
 * @typedef {import("./protocol.js").Status} Status
 * @typedef {import("./protocol.js").UserPresence} UserPresence
 * @typedef {import("./protocol.js").PresenceFrame} PresenceFrame
 * @typedef {import("./protocol.js").PresenceCommand} PresenceCommand
 * @typedef {import("./protocol.js").HeartbeatCommand} HeartbeatCommand
 * @typedef {import("./protocol.js").PostStatusBody} PostStatusBody
 * @typedef {import("./protocol.js").ErrorFrame} ErrorFrame
 * @typedef {import("./room-socket.js").RoomSocketOptions} RoomSocketOptions
 * @typedef {import("./room-socket.js").StateEvent} StateEvent
 *
 * @typedef {Object} PresenceOptions
 * @property {string | URL} baseUrl Such as `/api/realtime`.
 * @property {string} [scope]
 * @property {string} [userId] The user's own id, if the credentials do not contain it. The status of the user's other
 *   tabs is recognised by it.
 * @property {Status} [status] The first status, unless the user is already present in another tab or on another device:
 *   then the status that the server remembers is used.
 * @property {RoomSocketOptions["credentials"]} [credentials]
 * @property {RoomSocketOptions["transport"]} [transport]
 * @property {RoomSocketOptions["timing"]} [timing]
 * @property {RoomSocketOptions["WebSocket"]} [WebSocket]
 *
 * @typedef {{ state: StateEvent, users: {}, error: ErrorFrame }} PresenceEvents
 */

/** @extends {Emitter<PresenceEvents>} */
export class Presence extends Emitter {
  #socket;
  #endpoints;
  #credentials;
  #userId;
  /** @type {Map<string, UserPresence>} */
  #users = new Map();
  /** @type {readonly UserPresence[] | undefined} */
  #snapshot;
  /** Whether a list has come. */
  #hasList = false;
  /** Where the list continues, while a part of it is missing. @type {string | undefined} */
  #next;
  /** Users who left while the rest of the list is being loaded. @type {Set<string> | undefined} */
  #leftMeanwhile;
  /** The user's choice, until the server acknowledges it. @type {Status | undefined} */
  #choice;
  /** The choice is the first status from the options, and not an action of the user. */
  #isFirstChoice = true;
  /** The server's last status for our user. @type {Status | undefined} */
  #serverStatus;
  /** The last acknowledged choice: it is shown while our own user id is unknown. @type {Status | undefined} */
  #acknowledged;
  /** Over events: the server has only the core protocol and accepts no heartbeat without a status. */
  #needsStatus = false;
  /** @type {import("./permissions.js").Permissions} */
  #permissions;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeat;
  #disputedAt = -Infinity;

  /** @param {PresenceOptions} options */
  constructor(options) {
    super();
    const endpoints = (this.#endpoints = presenceEndpoints(options.baseUrl, options.scope ?? GLOBAL));
    this.#credentials = options.credentials;
    this.#userId = options.userId;
    this.#choice = options.status;
    this.#socket = new RoomSocket({
      url: () => endpoints.socket,
      credentials: options.credentials && ((asked) => this.#requestCredentials(asked)),
      explain: (credentials) => explainRefusal(endpoints.list, credentials),
      events: {
        url: () => endpoints.events,
        shared: (credentials) => listenerOf(credentials, options.userId),
        post: (data) => {
          const body = this.#asPost(parseFrame(data));
          return body && { url: endpoints.update, body };
        },
        answered: (data, answer) => this.#answered(parseFrame(data), answer),
      },
      transport: options.transport,
      timing: options.timing,
      WebSocket: options.WebSocket,
    });
    this.#socket.on("state", (event) => this.#stateChanged(event));
    listenForFrames(this.#socket, {
      room: `presence ${options.scope ?? GLOBAL}`,
      read: readPresenceFrame,
      firstFrame: "presence_list",
      firstFrameTimeoutMs: options.timing?.answerTimeoutMs ?? TIMING.answerTimeoutMs,
      onFrame: (frame) => this.#receive(frame),
    });
  }

  get state() {
    return this.#socket.state;
  }

  /** The transport of this connection or of the last attempt: `events` where WebSockets are blocked. */
  get transport() {
    return this.#socket.transport;
  }

  get snapshot() {
    return this.#socket.snapshot;
  }

  /** Sorted by name. The same array until it changes. Without a connection it is the last known list. */
  get users() {
    return (this.#snapshot ??= Object.freeze([...this.#users.values()].sort(byName)));
  }

  /**
   * Whether `users` contains everyone who is present. A list that is too long for one frame is loaded page by page, and
   * loading is tried again after an error. False before the first list.
   */
  get isWhole() {
    return this.#hasList && this.#next === undefined;
  }

  /** What the user may do here. `undefined` if the server has not sent it: then the user may be listed. */
  get permissions() {
    return this.#permissions;
  }

  /** The user's own status. */
  get status() {
    return this.#choice ?? this.#own?.status ?? this.#acknowledged ?? "online";
  }

  /** The user's own id, if it is known. */
  get userId() {
    return this.#userId;
  }

  open() {
    this.#socket.open();
  }

  close() {
    this.#socket.close();
  }

  reconnect() {
    this.#socket.reconnect();
  }

  /** @param {Status} status Sent now, or when there is a connection. */
  setStatus(status) {
    this.#choice = status;
    this.#isFirstChoice = false;
    const own = this.#own;
    if (own) this.#put({ ...own, status });
    if (this.state === "open") this.#sendStatus();
    this.emit("users", {});
  }

  /** @param {{ refused: boolean }} asked */
  async #requestCredentials(asked) {
    const credentials = await this.#credentials?.(asked);
    this.#userId ??= userOf(credentials)?.userId;
    return credentials;
  }

  get #own() {
    return this.#userId === undefined ? undefined : this.#users.get(this.#userId);
  }

  /** @param {StateEvent} event */
  #stateChanged(event) {
    clearInterval(this.#heartbeat);
    this.#leftMeanwhile = undefined;
    if (event.state === "open") {
      this.#heartbeat = setInterval(() => {
        this.#sendCommand({ type: "heartbeat" });
        void this.#loadRest();
      }, HEARTBEAT_MS);
    }
    this.emit("state", event);
  }

  /** @param {PresenceFrame} frame */
  #receive(frame) {
    switch (frame.type) {
      case "permissions":
        this.#permissions = frame.permissions;
        return this.emit("users", {});
      case "presence_list":
        // A server that requires grants sends the permissions after this frame.
        this.#permissions = undefined;
        this.#users = new Map(frame.users.map((user) => [user.userId, user]));
        this.#snapshot = undefined;
        this.#hasList = true;
        this.#next = frame.next;
        this.#leftMeanwhile = undefined;
        this.#settleChoice();
        void this.#loadRest();
        return this.emit("users", {});
      case "presence_update":
        this.#leftMeanwhile?.delete(frame.user.userId);
        this.#put(frame.user);
        this.#applyOwnUpdate(frame.user);
        return this.emit("users", {});
      case "presence_remove":
        if (frame.userId === this.#userId && this.#disputeRemoval()) return;
        this.#leftMeanwhile?.add(frame.userId);
        this.#users.delete(frame.userId);
        this.#snapshot = undefined;
        return this.emit("users", {});
      case "error":
        if (frame.code === FORBIDDEN) this.#permissions = without(this.#permissions, "presence");
        return this.emit("error", frame);
    }
  }

  /** Loads the rest of a list that did not fit into the frame. An update that comes meanwhile is newer than a page. */
  async #loadRest() {
    if (this.#next === undefined || this.#leftMeanwhile !== undefined) return;
    const left = (this.#leftMeanwhile = new Set());
    try {
      while (this.#next !== undefined) {
        const url = new URL(this.#endpoints.list);
        url.searchParams.set("after", this.#next);
        const page = readPresenceList(await getJson(url, await this.#credentials?.({ refused: false })));
        // Another list has come meanwhile, or the connection was lost.
        if (this.#leftMeanwhile !== left) return;
        if (page.next === this.#next) throw new ProtocolError("a page of the list must not end where it began");
        for (const user of page.users) {
          if (!this.#users.has(user.userId) && !left.has(user.userId)) this.#put(user);
        }
        this.#next = page.next;
        this.emit("users", {});
      }
    } catch (error) {
      console.error(`dormouse: the rest of the presence list could not be loaded: ${error}`);
    }
    // If users are missing, the next heartbeat tries again.
    if (this.#leftMeanwhile === left) this.#leftMeanwhile = undefined;
  }

  /** A list has come. If it does not show our choice, the choice is sent again. */
  #settleChoice() {
    const own = this.#own;
    this.#serverStatus = own?.status;
    const isHereElsewhere = (own?.connections ?? 1) > 1;
    if (this.#isFirstChoice && isHereElsewhere) this.#choice = undefined;
    if (own && own.status === this.#choice) this.#acknowledge(own.status);
    else this.#sendStatus();
  }

  /**
   * An update may acknowledge our choice. If our own user id is unknown, the status alone has to match.
   *
   * @param {UserPresence} user
   */
  #applyOwnUpdate(user) {
    const { userId, status } = user;
    if (this.#userId === undefined) return status === this.#choice ? this.#acknowledge(status) : undefined;
    if (userId !== this.#userId) return;
    const isNewStatus = status !== this.#serverStatus;
    this.#serverStatus = status;
    // Another status than before was chosen elsewhere. The same status means that a tab connected or disconnected.
    if (isNewStatus || status === this.#choice || this.#choice === undefined) this.#acknowledge(status);
    else this.#put({ ...user, status: this.#choice });
  }

  /**
   * The server now has this status for our user: our choice, or a newer one from elsewhere.
   *
   * @param {Status} status
   */
  #acknowledge(status) {
    this.#choice = undefined;
    this.#isFirstChoice = false;
    this.#acknowledged = status;
  }

  /**
   * Turns a command into a POST, where there is no WebSocket.
   *
   * @param {PresenceCommand | undefined} command
   * @returns {PostStatusBody | HeartbeatCommand | undefined}
   */
  #asPost(command) {
    if (command?.type === "status") return { status: command.status };
    if (!this.#needsStatus) return { type: "heartbeat" };
    // The server's own value, not our choice: a heartbeat must not undo a newer choice of another tab.
    return this.#own && { status: this.#own.status };
  }

  /**
   * @param {PresenceCommand | undefined} command
   * @param {import("./post-queue.js").Answer} answer
   */
  #answered(command, answer) {
    if (command?.type === "heartbeat" && answer.status === 400 && !this.#needsStatus) {
      this.#needsStatus = true;
      return this.#sendCommand({ type: "heartbeat" });
    }
    if (answer.status >= 400) return this.#receive(errorOfAnswer(answer));
    if (command?.type === "status" && command.status === this.#choice) this.#acknowledge(command.status);
  }

  /** The server removed our user by mistake: a new connection corrects it. */
  #disputeRemoval() {
    const now = performance.now();
    if (now - this.#disputedAt < DISPUTE_EVERY_MS) return false;
    this.#disputedAt = now;
    this.reconnect();
    return true;
  }

  /** @param {UserPresence} user */
  #put(user) {
    this.#users.set(user.userId, user);
    this.#snapshot = undefined;
  }

  #sendStatus() {
    if (this.#choice !== undefined) this.#sendCommand({ type: "status", status: this.#choice });
  }

  /**
   * Every command is about the user's own place on the list, so a user who may not be listed sends none.
   *
   * @param {PresenceCommand} command
   */
  #sendCommand(command) {
    if (may(this.#permissions, "presence")) this.#socket.send(JSON.stringify(command));
  }
}

/**
 * @param {UserPresence} a
 * @param {UserPresence} b
 */
function byName(a, b) {
  return a.userName.localeCompare(b.userName) || (a.userId < b.userId ? -1 : 1);
}
