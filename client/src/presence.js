// @ts-check
/**
 * Who is here, and with which status. The list is the server's; the one thing kept here is the status that the user
 * wants, because it has to be said again when the server has forgotten it.
 */

import { userOf } from "./credentials.js";
import { presenceEndpoints } from "./endpoints.js";
import { Emitter } from "./emitter.js";
import { explainRefusal } from "./http.js";
import { errorOfAnswer } from "./post-errors.js";
import { parseFrame } from "./protocol.js";
import { RoomSocket } from "./room-socket.js";

/** @type {readonly Status[]} */
export const STATUSES = Object.freeze(/** @type {Status[]} */ (["online", "away", "busy"]));

/** ms. A third of the time after which the server takes a silent user for gone. */
const HEARTBEAT_MS = 20_000;

/** How often we contradict a server that takes us for gone, ms: a server that insists must not be besieged. */
const CONTRADICT_EVERY_MS = 60_000;

/**
 * @typedef {import("./protocol.js").Status} Status
 * @typedef {import("./protocol.js").UserPresence} UserPresence
 * @typedef {import("./protocol.js").PresenceFrame} PresenceFrame
 * @typedef {import("./protocol.js").PresenceCommand} PresenceCommand
 * @typedef {import("./protocol.js").PostStatus} PostStatus
 * @typedef {import("./protocol.js").ErrorFrame} ErrorFrame
 * @typedef {import("./room-socket.js").RoomSocketOptions} RoomSocketOptions
 * @typedef {import("./room-socket.js").StateEvent} StateEvent
 *
 * @typedef {Object} PresenceOptions
 * @property {string | URL} baseUrl Such as `/api/realtime`.
 * @property {string} [scope]
 * @property {string} [userId] One's own, where the credentials do not tell: by it the status follows what one's other
 *   tabs choose.
 * @property {Status} [status] The status to begin with; otherwise the one that the server remembers.
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
  #credentials;
  #userId;
  /** @type {Map<string, UserPresence>} */
  #users = new Map();
  /** @type {readonly UserPresence[] | undefined} */
  #snapshot;
  /** @type {Status | undefined} */
  #wanted;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #heartbeat;
  #contradictedAt = -Infinity;

  /** @param {PresenceOptions} options */
  constructor(options) {
    super();
    const endpoints = presenceEndpoints(options.baseUrl, options.scope ?? "global");
    this.#credentials = options.credentials;
    this.#userId = options.userId;
    this.#wanted = options.status;
    this.#socket = new RoomSocket({
      url: () => endpoints.socket,
      credentials: options.credentials && ((asked) => this.#askWho(asked)),
      explain: (credentials) => explainRefusal(endpoints.list, credentials),
      events: {
        url: () => endpoints.events,
        // The one request there is says both: which status it is, and that we are still here.
        post: () => ({ url: endpoints.update, body: /** @type {PostStatus} */ ({ status: this.status }) }),
        answered: (_, answer) => answer.status >= 400 && this.#hear(errorOfAnswer(answer)),
      },
      transport: options.transport,
      timing: options.timing,
      WebSocket: options.WebSocket,
    });
    this.#socket.on("state", (event) => this.#stateChanged(event));
    this.#socket.on("message", (data) => this.#hear(parseFrame(data)));
  }

  get state() {
    return this.#socket.state;
  }

  /** Over what it is connected, or was tried last: `events` where WebSockets are blocked. */
  get transport() {
    return this.#socket.transport;
  }

  get snapshot() {
    return this.#socket.snapshot;
  }

  /** By name. The same array until it changes. While there is no connection: as last heard. */
  get users() {
    return (this.#snapshot ??= Object.freeze([...this.#users.values()].sort(byName)));
  }

  /** One's own status. */
  get status() {
    return this.#wanted ?? this.#own?.status ?? "online";
  }

  /** One's own user, as far as it is known. */
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

  /** @param {Status} status Said now, or as soon as there is a connection. */
  setStatus(status) {
    this.#wanted = status;
    const own = this.#own;
    if (own) this.#put({ ...own, status });
    if (this.state === "open") this.#sayStatus();
    this.emit("users", {});
  }

  /** @param {{ refused: boolean }} asked */
  async #askWho(asked) {
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
    if (event.state === "open") {
      this.#heartbeat = setInterval(() => this.#say({ type: "heartbeat" }), HEARTBEAT_MS);
    }
    this.emit("state", event);
  }

  /** @param {PresenceFrame | undefined} frame */
  #hear(frame) {
    switch (frame?.type) {
      case "presence_list":
        this.#users = new Map(frame.users.map((user) => [user.userId, user]));
        this.#snapshot = undefined;
        if (this.#wanted !== undefined && this.#own?.status !== this.#wanted) this.#sayStatus();
        return this.emit("users", {});
      case "presence_update":
        this.#put(frame.user);
        // Another tab of ours has chosen.
        if (frame.user.userId === this.#userId) this.#wanted = frame.user.status;
        return this.emit("users", {});
      case "presence_remove":
        if (frame.userId === this.#userId && this.#contradicts()) return;
        this.#users.delete(frame.userId);
        this.#snapshot = undefined;
        return this.emit("users", {});
      case "error":
        return this.emit("error", frame);
    }
  }

  /** We are said to be gone, and are not: a new connection tells the server so. */
  #contradicts() {
    const now = performance.now();
    if (now - this.#contradictedAt < CONTRADICT_EVERY_MS) return false;
    this.#contradictedAt = now;
    this.reconnect();
    return true;
  }

  /** @param {UserPresence} user */
  #put(user) {
    this.#users.set(user.userId, user);
    this.#snapshot = undefined;
  }

  #sayStatus() {
    if (this.#wanted !== undefined) this.#say({ type: "status", status: this.#wanted });
  }

  /** @param {PresenceCommand} command */
  #say(command) {
    this.#socket.send(JSON.stringify(command));
  }
}

/**
 * @param {UserPresence} a
 * @param {UserPresence} b
 */
function byName(a, b) {
  return a.userName.localeCompare(b.userName) || (a.userId < b.userId ? -1 : 1);
}
