/** A room under test, its clients and what they received. */
import { type Build, componentOf, program } from "./component.js";
import { Driver } from "./driver.js";

/** A user, as the host would have verified it. */
export interface User {
  id: string;
  name: string;
}

export type Permission = "read" | "write" | "presence" | "moderate" | "admin";

/** How a client joins. */
export interface Joining {
  /** The text behind `?`. */
  query?: string;
  claims?: Record<string, unknown>;
  /** Default: read, write and presence. */
  permissions?: Permission[];
}

export interface Timer {
  name: string;
  at: number;
  payload: Uint8Array;
  attempt: number;
}

/** A request to the room. */
export interface Sent {
  method?: string;
  path?: string;
  query?: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array | object;
  /** Default: the user `ana`. `null`: without an identity. */
  user?: string | User | null;
}

/** The room's answer. */
export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Uint8Array;
  text: string;
  /** The body as JSON. */
  json(): any;
}

/** The room refused a client. */
export class Refused extends Error {
  override name = "Refused";
  readonly status: number;

  constructor(status: number, reason: string) {
    super(reason);
    this.status = status;
  }
}

/** A call or a post of the room to another one, or to a server. */
export interface Outgoing {
  to: { room: { namespace: string; name: string } } | { server: string };
  request: { method: string; path: string; query?: string; headers: [string, string][]; body: Uint8Array; user?: User };
}

/** How a call of the room is answered: with a response, or with the name of a problem. */
export type OnCall = (call: Outgoing) => Answered | string;

export interface Answered {
  status: number;
  headers?: [string, string][];
  body?: string | Uint8Array | object;
}

/** One client of the room. */
export class Client {
  readonly id: number;
  readonly user: User;
  /** How the room closed its connection. */
  closed: { code: number; reason: string } | undefined;
  readonly #room: TestRoom;
  #received: (string | Uint8Array)[] = [];

  constructor(room: TestRoom, id: number, user: User) {
    this.#room = room;
    this.id = id;
    this.user = user;
  }

  /** Sends a message: a value as JSON, or bytes. */
  send(message: unknown): void {
    const isBytes = message instanceof Uint8Array;
    this.sendRaw(isBytes ? { binary: fromBytes(message) } : { text: JSON.stringify(message) });
  }

  /** Sends a text as it is. */
  sendText(text: string): void {
    this.sendRaw({ text });
  }

  /** Leaves with a close frame. Its code is 1000 to 4999. */
  leave(code = 1000, reason = ""): void {
    if (!Number.isInteger(code) || code < 1000 || code > 4999) {
      throw new RangeError(`leave(${code}): the code of a close frame is 1000 to 4999`);
    }
    this.#room.run({ do: "close", socket: this.id, close: { code, reason, clean: true } });
  }

  /** Its connection is lost. */
  lose(): void {
    this.#room.run({ do: "close", socket: this.id });
  }

  /** The messages since the last call: JSON as values, other texts and bytes as they are. */
  received(): any[] {
    return this.receivedRaw().map((message) => (typeof message === "string" ? valueOf(message) : message));
  }

  /** The messages since the last call: texts and bytes. */
  receivedRaw(): (string | Uint8Array)[] {
    return this.#received.splice(0);
  }

  private sendRaw(message: object): void {
    if (this.#room.autoResponse?.request === (message as { text?: string }).text) {
      this.#received.push(this.#room.autoResponse?.reply as string);
    } else this.#room.run({ do: "message", socket: this.id, message });
  }

  /** @internal */
  hear(message: { text?: string; binary?: Bytes }): void {
    this.#received.push(message.text ?? toBytes(message.binary as Bytes));
  }
}

/** One room, in the real engine. Time stands still until `advance`. */
export class TestRoom {
  readonly #driver: Driver;
  readonly #clients = new Map<number, Client>();
  /** Lines that the room logged, such as `WARN …`. */
  readonly log: string[] = [];
  /** The reply that the host gives without the room. */
  autoResponse: { request: string; reply: string } | null = null;
  /** Unix time in milliseconds. */
  now = 0;
  #onCall: OnCall | undefined;

  /** A new, empty room of a source file or a component. */
  static of(file: string, build: Build = {}): TestRoom {
    return new TestRoom(componentOf(file, build));
  }

  constructor(component: string) {
    this.#driver = Driver.open(program(), { do: "open", component, name: component }, (kind, value) =>
      this.#onLine(kind, value),
    );
    this.now = this.#driver.run({ do: "advance", ms: 0 }, (kind, value) => this.#onLine(kind, value))["now"];
  }

  /** A client connects. Throws `Refused` if the room refuses it. */
  join(who: string | User, { query, claims, permissions }: Joining = {}): Client {
    const user = userOf(who);
    const access = claims || permissions ? { access: { claims, permissions: permissions ?? DEFAULT } } : {};
    // The first frames are sent in the same turn, before its number is known.
    const early: [number[], any][] = [];
    this.#early = early;
    try {
      const { socket, refused } = this.run({
        do: "connect",
        user,
        ...(query === undefined ? {} : { query }),
        ...access,
      });
      if (refused) throw new Refused(refused.status, refused.reason);
      const client = new Client(this, socket, user);
      this.#clients.set(socket, client);
      for (const [to, message] of early) if (to.includes(socket)) client.hear(message);
      return client;
    } finally {
      this.#early = undefined;
    }
  }

  #early: [number[], any][] | undefined;

  /** Sends a request, and returns the answer. */
  request({ method, path = "/", query, headers = {}, body, user = "ana" }: Sent = {}): Answer {
    const raw =
      body === undefined || typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
    const { response } = this.run({
      do: "request",
      request: {
        method: method ?? (body === undefined ? "GET" : "POST"),
        path,
        ...(query === undefined ? {} : { query }),
        headers: Object.entries(headers),
        ...(raw === undefined ? {} : { body: typeof raw === "string" ? raw : fromBytes(raw) }),
        ...(user === null ? {} : { user: userOf(user) }),
      },
    });
    return answerOf(response);
  }

  /** Time passes; timers fire meanwhile, each at its time. */
  advance(ms: number): void {
    this.now = this.run({ do: "advance", ms })["now"];
  }

  /** Drops the instance. Sockets, timers and storage stay. */
  hibernate(): void {
    this.run({ do: "hibernate" });
  }

  /** Restarts the host: sockets are lost, without an event. */
  restart(): void {
    this.run({ do: "restart" });
    this.#clients.clear();
  }

  /** The next turn is lost after its code has run. */
  crashNextTurn(fault: "crash" | "commit_fails" | "out_of_cpu" | "out_of_memory" = "crash"): void {
    this.run({ do: "fault", fault });
  }

  /** Gives the room a configuration value. */
  configure(key: string, value: string): void {
    this.run({ do: "config", key, value });
  }

  /** The stored keys and values, as bytes. */
  storage(): { key: Uint8Array; value: Uint8Array }[] {
    const entries: { key: Uint8Array; value: Uint8Array }[] = [];
    this.run({ do: "storage" }, (kind, { key, value }) => {
      if (kind === "entry") entries.push({ key: toBytes(key), value: toBytes(value) });
    });
    return entries;
  }

  /** Writes into storage without the room. */
  put(key: string | Uint8Array, value: Uint8Array): void {
    this.run({ do: "put", key: typeof key === "string" ? key : fromBytes(key), value: fromBytes(value) });
  }

  /** The timers that are set. */
  timers(): Timer[] {
    const timers: Timer[] = [];
    this.run({ do: "timers" }, (kind, timer) => {
      if (kind === "timer") timers.push({ ...timer, payload: toBytes(timer.payload) });
    });
    return timers;
  }

  /** The posts of the room since the last call. */
  posted(): Outgoing[] {
    const posts: Outgoing[] = [];
    this.run({ do: "posted" }, (kind, post) => {
      if (kind === "post") posts.push(outgoingOf(post));
    });
    return posts;
  }

  /** From now on the test answers the calls of the room. */
  answerCalls(onCall: OnCall): void {
    this.#onCall = onCall;
    this.run({ do: "play", rooms: true, servers: true });
  }

  /** Runs a command of the protocol. */
  run(command: Record<string, unknown>, onLine?: (kind: string, value: any) => void): Record<string, any> {
    return this.#driver.run(command, (kind, value) => {
      onLine?.(kind, value);
      return this.#onLine(kind, value);
    });
  }

  #onLine(kind: string, value: any): Record<string, unknown> | void {
    switch (kind) {
      case "said":
        this.#early?.push([value.to, value.message]);
        for (const id of value.to) this.#clients.get(id)?.hear(value.message);
        return;
      case "closed": {
        const client = this.#clients.get(value.socket);
        if (client) client.closed = { code: value.code, reason: value.reason };
        return;
      }
      case "auto_response":
        this.autoResponse = value;
        return;
      case "log":
        this.log.push(value);
        return;
      case "ask":
        return { answer: { ask: value.ask, ...this.#answer(value) } };
    }
  }

  #answer(value: any): object {
    try {
      const answer = this.#onCall?.(outgoingOf(value)) ?? "denied";
      if (typeof answer === "string") return { error: answer };
      const { status, headers = [], body = "" } = answer;
      const raw = typeof body === "string" ? body : body instanceof Uint8Array ? fromBytes(body) : JSON.stringify(body);
      return { response: { status, headers, body: raw } };
    } catch {
      return { error: "failed" };
    }
  }
}

const DEFAULT: Permission[] = ["read", "write", "presence"];

const userOf = (who: string | User): User => (typeof who === "string" ? { id: who, name: who } : who);

/** Bytes in the protocol: text if they are UTF-8. */
export type Bytes = string | { base64: string };

export const toBytes = (bytes: Bytes): Uint8Array =>
  new Uint8Array(typeof bytes === "string" ? Buffer.from(bytes) : Buffer.from(bytes.base64, "base64"));

export const fromBytes = (bytes: Uint8Array): Bytes => ({ base64: Buffer.from(bytes).toString("base64") });

export const answerOf = ({ status, headers, body }: any): Answer => {
  const bytes = toBytes(body ?? "");
  const text = Buffer.from(bytes).toString();
  return { status, headers: Object.fromEntries(headers ?? []), body: bytes, text, json: () => JSON.parse(text) };
};

/** The driver writes `null` for what is absent. */
const outgoingOf = ({ to, request: { method, path, query, headers, body, user } }: any): Outgoing => ({
  to,
  request: {
    method,
    path,
    headers: headers ?? [],
    body: toBytes(body ?? ""),
    ...(query === undefined || query === null ? {} : { query }),
    ...(user === undefined || user === null ? {} : { user }),
  },
});

/** The value of a JSON text; any other text itself. */
const valueOf = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
};
