/**
 * The host of one room, in memory: storage, sockets, timers and a clock that a test moves by hand. It survives the
 * instances. A turn that fails is undone as a whole.
 */
import { createHash } from "node:crypto";

export interface User {
  id: string;
  name: string;
}

export interface Timer {
  name: string;
  at: number;
  /** A character for each byte, as everywhere here. */
  payload: string;
  attempt: number;
}

interface Socket {
  user: User;
  tags: string[];
  attachment: string;
}

export type Output =
  | { to: string[]; message: { text?: string; binary?: string }; eventId?: string }
  | { close: string; code: number; reason: string };

/** Everything that a turn may change. */
interface Changing {
  storage: Map<string, string>;
  sockets: Map<string, Socket>;
  timers: Map<string, Timer>;
  autoResponse: [string, string] | null;
  /** The outputs of this turn. They leave when it has committed. */
  outputs: Output[];
  posts: { to: any; request: any }[];
}

/** Limits of the contract. */
const MAX_KEY_BYTES = 2048;
const MAX_VALUE_BYTES = 2 << 20;
const MAX_MESSAGE_BYTES = 1 << 20;
const MAX_TIMERS = 1000;
const MAX_LISTED = 1000;
const CLOSE_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];

export type Calls = (namespace: string, name: string, request: any) => any;

export type Servers = (origin: string, request: any) => any;

export const DENIED: Calls = () => "denied";

export class World {
  readonly namespace: string;
  readonly name: string;
  now = Date.UTC(2026, 0, 1);
  readonly config = new Map<string, string>();
  /** Lines such as `WARN …`. */
  readonly logged: string[] = [];
  isBuilding = true;
  wokenBy = "request";
  calls: Calls = DENIED;
  servers: Servers = () => "denied: not in the test";
  /** Set by a call that ends the turn, such as a trap. */
  trapped: string | undefined;
  #changing: Changing = {
    storage: new Map(),
    sockets: new Map(),
    timers: new Map(),
    autoResponse: null,
    outputs: [],
    posts: [],
  };
  #saved: Changing | undefined;
  /** When a socket was last given the auto-response. */
  readonly autoResponded = new Map<string, number>();
  #lastSocket = 0;
  #random = 0;
  /** Calls of `broadcast` and `send`, to see what was coalesced. */
  sends = 0;

  constructor(namespace = "TEST", name = "room") {
    this.namespace = namespace;
    this.name = name;
  }

  get storage(): Map<string, string> {
    return this.#changing.storage;
  }

  get sockets(): Map<string, Socket> {
    return this.#changing.sockets;
  }

  get timers(): Map<string, Timer> {
    return this.#changing.timers;
  }

  get autoResponse(): [string, string] | null {
    return this.#changing.autoResponse;
  }

  get posts(): { to: any; request: any }[] {
    return this.#changing.posts;
  }

  begin(): void {
    this.#saved = structuredClone(this.#changing);
    this.trapped = undefined;
    this.sends = 0;
  }

  /** Returns what leaves the room. */
  commit(): Output[] {
    const { outputs } = this.#changing;
    this.#changing.outputs = [];
    this.#saved = undefined;
    return outputs;
  }

  undo(): void {
    this.#changing = this.#saved as Changing;
  }

  nextSocket(): string {
    return String(++this.#lastSocket);
  }

  addSocket(id: string, user: User): void {
    this.sockets.set(id, { user, tags: [], attachment: "" });
  }

  /** The client was answered in place of a socket. */
  removeSocket(id: string): void {
    this.sockets.delete(id);
  }

  /** The sockets that have left; their data can be read until the turn ends. */
  readonly #left = new Map<string, Socket>();

  leave(id: string): void {
    this.#left.clear();
    this.#left.set(id, this.sockets.get(id) as Socket);
    this.sockets.delete(id);
  }

  /** What the realm of an instance sees. */
  readonly bridge = {
    building: () => this.isBuilding,
    trap: (reason: string) => {
      this.trapped ??= reason;
    },
    log: (level: number, line: string) => {
      this.logged.push(`${["DEBUG", "INFO", "WARN", "ERROR"][level]} ${line}`);
    },
    context: () => {
      const { namespace, name, now, wokenBy } = this;
      return JSON.stringify({ namespace, name, now, wokenBy, incarnation: "1" });
    },
    config: (key: string) => this.config.get(key),
    randomBytes: (length: number) => {
      let bytes = "";
      while (bytes.length < length)
        bytes += createHash("sha256").update(String(++this.#random)).digest().toString("latin1");
      return bytes.slice(0, length);
    },
    get: (key: string) => this.storage.get(key),
    put: (key: string, value: string) => {
      if (key.length === 0 || key.length > MAX_KEY_BYTES) return "bad-key";
      if (value.length > MAX_VALUE_BYTES) return "value-too-large";
      this.storage.set(key, value);
      return null;
    },
    remove: (key: string) => this.storage.delete(key),
    list: (range: string) => {
      const { prefix = "", start = "", end, reverse = false, limit = MAX_LISTED } = JSON.parse(range);
      if (limit > MAX_LISTED) this.trapped = "list: more than 1,000 entries";
      const keys = [...this.storage.keys()].filter(
        (key) => key.startsWith(prefix) && key >= start && (end === undefined || key < end),
      );
      keys.sort((a, b) => (a < b ? -1 : 1));
      if (reverse) keys.reverse();
      return JSON.stringify(keys.slice(0, limit).map((key) => [key, this.storage.get(key)]));
    },
    sockets: (filter: string) => {
      const { tag, user, exceptSocket, exceptUser } = JSON.parse(filter);
      const matches = ([id, socket]: [string, Socket]) =>
        (tag === undefined || socket.tags.includes(tag)) &&
        (user === undefined || socket.user.id === user) &&
        id !== exceptSocket &&
        socket.user.id !== exceptUser;
      return JSON.stringify([...this.sockets].filter(matches).map(([id]) => id));
    },
    socket: (id: string) => {
      const socket = this.sockets.get(id) ?? this.#left.get(id);
      return socket && JSON.stringify(socket);
    },
    setTags: (id: string, tags: string) => {
      const socket = this.sockets.get(id);
      if (!socket) return "gone";
      const list = JSON.parse(tags) as string[];
      if (list.length > 10) return "too-many";
      if (list.some((tag) => Buffer.byteLength(tag) > 256)) return "too-large";
      socket.tags = list;
      return null;
    },
    setAttachment: (id: string, bytes: string) => {
      const socket = this.sockets.get(id);
      if (!socket) return "gone";
      if (bytes.length > 16_384) return "too-large";
      socket.attachment = bytes;
      return null;
    },
    send: (ids: string, message: string, eventId: string | undefined) => {
      this.sends++;
      const { text, binary } = JSON.parse(message);
      if (Buffer.byteLength(text ?? "") + (binary ?? "").length > MAX_MESSAGE_BYTES) return "too-large";
      const to = (JSON.parse(ids) as string[]).filter((id) => this.sockets.has(id));
      if (to.length === 0) return "gone";
      this.#changing.outputs.push({ to, message: { text, binary }, ...(eventId === undefined ? {} : { eventId }) });
      return null;
    },
    close: (id: string, code: number, reason: string) => {
      if (!CLOSE_CODES.includes(code) && (code < 3000 || code > 4999)) return "bad-close-code";
      if (Buffer.byteLength(reason) > 123) return "too-large";
      if (!this.sockets.has(id)) return "gone";
      this.#changing.outputs.push({ close: id, code, reason });
      return null;
    },
    autoRespondedAt: (id: string) => this.autoResponded.get(id),
    setAutoResponse: (request: string | null, reply: string) => {
      if (request === null) this.#changing.autoResponse = null;
      else if (Buffer.byteLength(request) > 2048 || Buffer.byteLength(reply) > 2048) return "too-large";
      else this.#changing.autoResponse = [request, reply];
      return null;
    },
    setTimer: (name: string, at: number, payload: string) => {
      if (name === "" || Buffer.byteLength(name) > 256) return "bad-name";
      if (payload.length > 16_384) return "payload-too-large";
      if (!this.timers.has(name) && this.timers.size >= MAX_TIMERS) return "too-many";
      this.timers.set(name, { name, at, payload, attempt: 0 });
      return null;
    },
    timers: () => JSON.stringify([...this.timers.values()].sort((a, b) => (a.name < b.name ? -1 : 1))),
    cancelTimer: (name: string) => this.timers.delete(name),
    call: (namespace: string, name: string, request: string) =>
      JSON.stringify(this.calls(namespace, name, JSON.parse(request))),
    fetch: (origin: string, request: string) => JSON.stringify(this.servers(origin, JSON.parse(request))),
    post: (to: string, request: string) => {
      this.#changing.posts.push({ to: JSON.parse(to), request: JSON.parse(request) });
      return null;
    },
    waitingPosts: () => this.#changing.posts.length,
  };
}
