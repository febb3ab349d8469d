/** A `TestRoom` in the real engine, through `@dormouse/test`: the same tests run on both. */
import { TestRoom as RealRoom, TurnFailure as EngineFailure } from "@dormouse/test";

import { TurnFailure } from "./instance.js";
import { type Answer, Client, Refused, requestOf, type Sent } from "./test-room.js";
import { type Calls, DENIED, type Servers, type Timer, type User } from "./world.js";

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const base64 = (text: string) => ({ base64: Buffer.from(text, "latin1").toString("base64") });
const unbase64 = (bytes: any): string =>
  typeof bytes === "string" ? latin1(Buffer.from(bytes)) : latin1(Buffer.from(bytes?.base64 ?? "", "base64"));

/** Errors of the engine have their stack in the same line. */
const withoutStack = (text: string): string => text.replace(/(\n| {5})at .*/s, "");

/** A copy of the storage that writes through. */
class StorageCopy extends Map<string, string> {
  #put: (key: string, value: string) => void;

  constructor(entries: [string, string][], put: (key: string, value: string) => void) {
    super();
    for (const [key, value] of entries) super.set(key, value);
    this.#put = put;
  }

  override set(key: string, value: string): this {
    this.#put?.(key, value);
    return super.set(key, value);
  }
}

/** What a test sees of the host. */
class EngineWorld {
  readonly #room: RealRoom;
  /** Messages of the last command that left together. */
  sends = 0;
  readonly #posts: any[] = [];

  constructor(room: RealRoom) {
    this.#room = room;
  }

  get now(): number {
    return this.#room.now;
  }

  /** Without stacks, which the memory host does not have. */
  get logged(): string[] {
    return this.#room.log.map(withoutStack);
  }

  get storage(): Map<string, string> {
    const entries = this.#room.storage().map(({ key, value }): [string, string] => [latin1(key), latin1(value)]);
    return new StorageCopy(entries, (key, value) =>
      this.#room.run({ do: "put", key: base64(key), value: base64(value) }),
    );
  }

  get timers(): Map<string, Timer> {
    const timers = this.#room
      .timers()
      .map((timer): [string, Timer] => [timer.name, { ...timer, payload: latin1(timer.payload) }]);
    return new Map(timers);
  }

  get sockets(): Map<number, unknown> {
    const sockets = new Map<number, unknown>();
    this.#room.run({ do: "sockets" }, (kind, socket) => {
      if (kind === "socket") sockets.set(socket.id, socket);
    });
    return sockets;
  }

  readonly config = { set: (key: string, value: string): void => this.#room.configure(key, value) };

  #calls: Calls = DENIED;
  #servers: Servers = () => "denied";

  set calls(calls: Calls) {
    this.#calls = calls;
    this.#answerCalls();
  }

  set servers(servers: Servers) {
    this.#servers = servers;
    this.#answerCalls();
  }

  #answerCalls(): void {
    this.#room.answerCalls(({ to, request }) => {
      const asked = { ...request, body: latin1(request.body) };
      const answer =
        "room" in to ? this.#calls(to.room.namespace, to.room.name, asked) : this.#servers(to.server, asked);
      return typeof answer === "string"
        ? answer.replaceAll("-", "_")
        : { ...answer, body: new Uint8Array(Buffer.from(answer.body, "latin1")) };
    });
  }

  get posts(): any[] {
    for (const { to, request } of this.#room.posted()) {
      const target = "room" in to ? to.room : { origin: to.server };
      this.#posts.push({ to: target, request: { ...request, body: latin1(request.body) } });
    }
    return this.#posts;
  }
}

export class EngineRoom {
  readonly #room: RealRoom;
  readonly clients = new Map<string, Client>();
  readonly world: any;

  constructor(component: string, source?: string, options: object = {}) {
    this.#room = new RealRoom(component);
    this.world = new EngineWorld(this.#room);
    if (source === undefined) return;
    this.#room.run({ do: "play", rooms: true, servers: true });
    this.#room.configure("test.class", source);
    this.#room.configure("test.options", JSON.stringify(options));
  }

  /** The host does not tell; a test that asks has let the room sleep. */
  readonly isAwake = false;

  connect(who: string | User, { query, user }: Sent = {}): Client {
    const early: any[] = [];
    const joining = { do: "connect", user: user ?? (typeof who === "string" ? { id: who, name: who } : who) };
    const { socket, refused, response } = this.#run({ ...joining, ...(query === undefined ? {} : { query }) }, early);
    if (refused) throw new Refused(refused.status, refused.reason, response?.headers);
    const client = new Client(String(socket));
    this.clients.set(client.id, client);
    for (const said of early) if (said.to.includes(socket)) this.#hear(client, said);
    return client;
  }

  send(client: Client, message: string | object | Uint8Array): void {
    const { request, reply } = this.#room.autoResponse ?? {};
    if (message === request) return void client.received.push(reply as string);
    const data =
      message instanceof Uint8Array
        ? { binary: base64(latin1(message)) }
        : { text: typeof message === "string" ? message : JSON.stringify(message) };
    this.#run({ do: "message", socket: Number(client.id), message: data });
  }

  leave(client: Client, code?: number, reason = ""): void {
    const close = code === undefined ? {} : { close: { code, reason, clean: true } };
    this.clients.delete(client.id);
    this.#run({ do: "close", socket: Number(client.id), ...close });
  }

  request(sent: Sent = {}): Answer {
    const raw = this.rawRequest(requestOf(sent));
    const text = Buffer.from(raw.body, "latin1").toString();
    return { status: raw.status, headers: Object.fromEntries(raw.headers), text };
  }

  rawRequest(request: any): any {
    const { response } = this.#run({ do: "request", request: { ...request, body: base64(request.body) } });
    return { ...response, headers: response.headers ?? [], body: unbase64(response.body) };
  }

  json(sent: Sent = {}): any {
    return JSON.parse(this.request(sent).text);
  }

  advance(ms: number): void {
    this.#room.now = this.#run({ do: "advance", ms })["now"];
  }

  hibernate(): void {
    this.#room.hibernate();
  }

  restart(): void {
    this.#room.restart();
    this.clients.clear();
  }

  personalData(hook: "exportUser" | "eraseUser", user: string, after?: string): any {
    const command = hook === "exportUser" ? "export_user" : "erase_user";
    const { items, next } = this.#run({ do: command, user, ...(after === undefined ? {} : { after }) });
    return { items, ...(next === undefined || next === null ? {} : { next }) };
  }

  migrate(from: number): number {
    return this.#run({ do: "migrate", from })["data_version"];
  }

  #run(command: Record<string, unknown>, early?: any[]): Record<string, any> {
    this.world.sends = 0;
    const closed: Client[] = [];
    try {
      return this.#room.run(command, (kind, value) => {
        if (kind === "said") {
          this.world.sends++;
          early?.push(value);
          for (const id of value.to) this.#hear(this.clients.get(String(id)), value);
        } else if (kind === "closed") {
          const client = this.clients.get(String(value.socket));
          if (!client) return;
          client.closed = { code: value.code, reason: value.reason };
          closed.push(client);
        }
      });
    } catch (error) {
      if (error instanceof EngineFailure)
        throw new TurnFailure(withoutStack(error.message).replace(/^the room returned an error: (wake: )?/, ""));
      throw error;
    } finally {
      for (const client of closed) this.leave(client, client.closed?.code, client.closed?.reason);
    }
  }

  #hear(client: Client | undefined, { message, event_id: eventId }: any): void {
    if (!client || client.closed) return;
    client.received.push(message.text ?? [...Buffer.from(unbase64(message.binary), "latin1")]);
    if (eventId !== undefined) client.eventIds.push(eventId);
  }
}
