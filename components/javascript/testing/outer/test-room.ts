/** A room for tests: its clients, its clock, its sleep, over the host in memory. */
import { Instance, TurnFailure } from "./instance.js";
import { type Output, type Timer, type User, World } from "./world.js";

export interface Answer {
  status: number;
  headers: Record<string, string>;
  text: string;
}

export interface Sent {
  path?: string;
  method?: string;
  query?: string;
  headers?: Record<string, string>;
  body?: string;
  user?: User | null;
  /** The room that calls, such as `TEST/other`. */
  caller?: string;
}

/** The pause before a failed timer is tried again, in milliseconds. */
const RETRY_MS = 2000;
const MAX_ATTEMPTS = 6;

const toLatin1 = (text: string): string => Buffer.from(text).toString("latin1");
const fromLatin1 = (latin1: string): string => Buffer.from(latin1, "latin1").toString("utf8");

const nothing = (): void => {};

export class Client {
  readonly id: string;
  /** Texts, and bytes as arrays of numbers, since the last call of `takeReceived`. */
  received: (string | number[])[] = [];
  closed: { code: number; reason: string } | undefined;
  eventIds: string[] = [];

  constructor(id: string) {
    this.id = id;
  }

  /** The messages since the last call. */
  takeReceived(): (string | number[])[] {
    return this.received.splice(0);
  }

  /** The messages since the last call, as JSON. */
  takeJson(): any[] {
    return this.takeReceived().map((message) => JSON.parse(message as string));
  }
}

export class TestRoom {
  readonly world: World;
  readonly clients = new Map<string, Client>();
  readonly #make: (world: World) => Instance;
  #instance: Instance | undefined;

  constructor(make: (world: World) => Instance, world = new World()) {
    this.#make = make;
    this.world = world;
  }

  get isAwake(): boolean {
    return this.#instance !== undefined;
  }

  /** A client connects. Throws a `Refused` if the room refuses it. */
  connect(who: string | User, sent: Sent = {}): Client {
    const user = typeof who === "string" ? { id: who, name: who } : who;
    const request = requestOf({ path: "/ws", user, ...sent });
    const id = this.world.nextSocket();
    const happens = () => this.world.addSocket(id, user);
    const connected = this.#turn<Client | Refused>("connect", happens, (instance) => {
      const client = new Client(id);
      this.clients.set(id, client);
      const refusal = instance.run("connect", { request, socket: id });
      if (refusal?.answer) {
        const { status, headers, body } = refusal.answer;
        this.world.removeSocket(id);
        return new Refused(status, Buffer.from(body, "latin1").toString("utf8"), headers);
      }
      if (refusal !== null) throw new Refused(refusal.status, refusal.reason);
      return client;
    });
    if (connected instanceof Refused) {
      this.clients.delete(id);
      throw connected;
    }
    return connected;
  }

  send(client: Client, message: string | object | Uint8Array): void {
    const [request, reply] = this.world.autoResponse ?? [];
    if (message === request) {
      this.world.autoResponded.set(client.id, this.world.now);
      return void client.received.push(reply as string);
    }
    const data =
      message instanceof Uint8Array
        ? { binary: Buffer.from(message).toString("latin1") }
        : { text: typeof message === "string" ? message : JSON.stringify(message) };
    this.#turn("message", nothing, (instance) => instance.run("message", { socket: client.id, data }));
  }

  /** A client leaves; without a code its connection was lost. */
  leave(client: Client, code?: number, reason = ""): void {
    this.clients.delete(client.id);
    const happens = () => this.world.leave(client.id);
    this.#turn("close", happens, (instance) => {
      const event = { socket: client.id, code: code ?? 1006, reason, clean: code !== undefined };
      instance.run("close", event);
    });
  }

  request(sent: Sent = {}): Answer {
    const raw = this.rawRequest(requestOf(sent));
    return { status: raw.status, headers: Object.fromEntries(raw.headers), text: fromLatin1(raw.body) };
  }

  /** A request as the host passes it; bytes are strings. */
  rawRequest(request: object): any {
    return this.#turn("request", nothing, (instance) => instance.run("request", { request }));
  }

  json(sent: Sent = {}): any {
    return JSON.parse(this.request(sent).text);
  }

  /** Time passes; timers fire meanwhile, each at its time. A failed one is tried again. */
  advance(ms: number): void {
    const end = this.world.now + ms;
    for (;;) {
      const due = [...this.world.timers.values()].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.world.now = Math.max(this.world.now, due.at);
      this.#fire(due);
    }
    this.world.now = end;
  }

  /** The world that the bundle asks for. */
  worldOfBundle(): string {
    return this.#make(this.world).world;
  }

  /** An operator asks for the data of a user, or erases it. */
  personalData(hook: "exportUser" | "eraseUser", user: string, after?: string): any {
    return this.#turn("request", nothing, (instance) => instance.run(hook, { user, after }));
  }

  /** The stored data have this version: a new instance migrates them. Returns the version of the code. */
  migrate(from: number): number | undefined {
    const { world } = this;
    world.begin();
    const instance = this.#make(world);
    try {
      instance.run("migrate", { from });
      this.#deliver(world.commit());
    } catch (error) {
      world.undo();
      throw error;
    }
    this.#instance = undefined;
    return instance.dataVersion;
  }

  /** Drops the instance. Sockets, timers and storage stay. */
  hibernate(): void {
    this.#instance = undefined;
  }

  /** Restarts the host: sockets are lost, without an event. */
  restart(): void {
    this.#instance = undefined;
    this.clients.clear();
    this.world.sockets.clear();
  }

  #fire(timer: Timer): void {
    try {
      const happens = () => void this.world.timers.delete(timer.name);
      this.#turn("timer", happens, (instance) => instance.run("timer", { timer }));
    } catch (error) {
      if (!(error instanceof TurnFailure)) throw error;
      this.world.logged.push(`ERROR ${error.message}`);
      if (timer.attempt === MAX_ATTEMPTS) this.world.timers.delete(timer.name);
      else {
        const again = { ...timer, at: this.world.now + RETRY_MS * 2 ** timer.attempt, attempt: timer.attempt + 1 };
        this.world.timers.set(timer.name, again);
      }
    }
  }

  /** One turn: kept as a whole, or not at all. What happens to the room has happened when it wakes. */
  #turn<T>(wokenBy: string, happens: () => void, run: (instance: Instance) => T): T {
    const { world } = this;
    world.begin();
    happens();
    try {
      if (!this.#instance) {
        world.wokenBy = wokenBy;
        this.#instance = this.#make(world);
        this.#instance.run("wake");
      }
      const result = run(this.#instance);
      if (world.trapped !== undefined) throw new TurnFailure(world.trapped);
      this.#deliver(world.commit());
      return result;
    } catch (error) {
      world.undo();
      this.#instance = undefined;
      throw error;
    }
  }

  /** The outputs of a turn leave the room. A socket that the room closed leaves with them. */
  #deliver(outputs: Output[]): void {
    const closed: Client[] = [];
    for (const output of outputs) {
      if ("close" in output) {
        const client = this.clients.get(output.close);
        if (!client || client.closed) continue;
        client.closed = { code: output.code, reason: output.reason };
        closed.push(client);
        continue;
      }
      const { text, binary } = output.message;
      for (const client of output.to.map((id) => this.clients.get(id))) {
        if (!client || client.closed) continue;
        client.received.push(text ?? [...Buffer.from(binary as string, "latin1")]);
        if (output.eventId !== undefined) client.eventIds.push(output.eventId);
      }
    }
    for (const client of closed) this.leave(client, client.closed?.code, client.closed?.reason);
  }
}

/** The room refused a client. */
export class Refused extends Error {
  readonly status: number;
  /** Of an answer that kept the turn. */
  readonly headers: [string, string][];

  constructor(status: number, reason: string, headers: [string, string][] = []) {
    super(reason);
    this.status = status;
    this.headers = headers;
  }
}

export const requestOf = (sent: Sent): any => ({
  method: sent.method ?? (sent.body === undefined ? "GET" : "POST"),
  path: sent.path ?? "/",
  ...(sent.query === undefined ? {} : { query: sent.query }),
  headers: [
    ["host", "test"],
    ...Object.entries(sent.headers ?? {}),
    ...(sent.caller === undefined ? [] : [["dormouse-caller", sent.caller]]),
  ],
  body: toLatin1(sent.body ?? ""),
  ...(sent.user === null ? {} : { user: sent.user ?? { id: "ana", name: "Ana" } }),
});
