/**
 * The module `dormouse:host`: the contract of `wit/` as flat functions, and what a bundle hands the engine.
 *
 *     import * as host from "dormouse:host";
 *     host.serve(hooks);   // once, at the top level of the bundle
 *
 * The engine is QuickJS (ES2023, no `Intl`, no `WebAssembly`). The bundle is ONE ES module; imports that begin with
 * `dormouse:` stay external, all others must be bundled. The top level runs once, when `dormouse build` makes the
 * component, and its memory is the start of each instance.
 *
 * At build time (top level) every function marked [turn] throws an `Error`
 * `host.NAME: not available while the module is loaded; ...`, which fails the build. So do `Date.now()`, `new Date()`
 * without arguments, `Math.random()` and `crypto.getRandomValues()`.
 *
 * Problems. A function that the contract lets fail returns `null` when it worked, else the name of the contract's
 * case, such as `"gone"` or `"value-too-large"`. Wrong types and lone surrogates in keys throw a `TypeError`. What the
 * contract calls a trap ends the turn; no `catch` sees it. So does an allocation that fails (out of memory).
 * Too deep recursion is a `RangeError` (`Maximum call stack size exceeded`) that can be caught.
 *
 * Globals of the engine, beside those of ECMAScript: `console`, `URL`, `URLSearchParams`, `TextEncoder`, `TextDecoder`
 * (UTF-8), `atob`, `btoa`, `structuredClone`, `queueMicrotask`, `crypto.getRandomValues/randomUUID`,
 * `crypto.subtle.digest` (SHA-1, SHA-256, SHA-384, SHA-512), `generateKey/importKey/exportKey/sign/verify` for HMAC
 * (raw keys) and `timingSafeEqual`, `DOMException`,
 * `performance.now()` (as `Date.now()`: time stands still in a turn), `self` (= `globalThis`). A bundle may replace each of them. There is no
 * `setTimeout`, no `fetch`, no `Request`: those are for the layer above.
 */
declare module "dormouse:host" {
  /** Keys are ordered by their UTF-8 bytes. A `Uint8Array` is a key as it is (such as one that begins with 0xFF). */
  type Key = string | Uint8Array;
  /** A text message, or a binary one. */
  type Data = string | Uint8Array;
  /** The contract's `socket.id`, as decimal digits: the same string for the same socket, as long as it lives. */
  type SocketId = string;
  type SocketProblem = "gone" | "too-large" | "too-many" | "bad-close-code";
  type EventProblem = SocketProblem | "bad-id";
  type StorageProblem = "bad-key" | "value-too-large" | "turn-too-large";
  type TimerProblem = "bad-name" | "payload-too-large" | "too-many";
  type PostProblem = "denied" | "bad-destination" | "too-large" | "too-many";
  type CallProblem =
    "denied" | "no-such-room" | "deadlock" | "too-large" | "too-many" | "failed" | "overloaded" | "timeout";
  type Permission = "read" | "write" | "presence" | "moderate" | "admin";

  interface User { id: string; name: string }
  interface Request {
    method: string;                 // upper case
    path: string;                   // begins with "/", percent-encoded
    query?: string;                 // without "?"; absent if there was no "?"
    headers: [string, string][];    // lower case names
    body: Uint8Array;
    user?: User;                    // whom the host verified
  }
  interface Response { status: number; headers: [string, string][]; body: Uint8Array | string }
  interface Timer { name: string; at: number; payload: Uint8Array; attempt: number }
  interface Filter { tag?: string; user?: string; exceptSocket?: SocketId; exceptUser?: string }

  // ---- what the bundle gives -------------------------------------------------------------------------------------

  /**
   * The events. A hook may return a promise. After each call the engine runs jobs (promise reactions) until none is
   * left. Then it calls `idle`, if there is one: when that returns true, jobs run again, and so on. Then the promise
   * is looked at:
   * fulfilled: its value is the answer. Rejected, or the hook threw: the turn fails (nothing of it is kept, the
   * instance is dropped), message and stack are logged. Still pending: `unsettled` gives the answer in its place; the
   * turn is kept, the instance stays, and what awaits goes on when a later turn of this instance settles it. Without
   * `unsettled` the turn fails: "… waits for something that never comes".
   */
  interface Hooks {
    /**
     * Default "room". Only "connected-room" may use `call`, `post` and `waitingPosts`. "router" has only `route`, and
     * "connected-router" also `call`.
     */
    world?: "room" | "connected-room" | "router" | "connected-router";

    /** Whether it may call `fetch`. Not for routers. */
    outbound?: boolean;

    wake?(): void | Promise<void>;
    /** undefined or null accepts, unless `answer` was called. Absent: every client is refused with 404. */
    connect?(request: Request, socket: SocketId): Refusal | null | undefined | Promise<Refusal | null | undefined>;
    message?(socket: SocketId, data: Data): void | Promise<void>;
    /** The socket no longer counts in `socketIds`; `user`, `tags`, `attachment` of it work in this turn. */
    close?(socket: SocketId, code: number, reason: string, clean: boolean): void | Promise<void>;
    timer?(timer: Timer): void | Promise<void>;
    /** Absent: 404. */
    request?(request: Request): Response | Promise<Response>;
    route?(request: Request): Decision | Promise<Decision>;

    /** Both or none. With them the component exports `personal-data`. */
    exportUser?(user: string, after: string | undefined): Exported | Promise<Exported>;
    eraseUser?(user: string, after: string | undefined): Erased | Promise<Erased>;
    /** Both or none. With them the component exports `migration`. `dataVersion` is read when the component is built. */
    dataVersion?: number;
    migrate?(from: number): void | Promise<void>;

    /** Nothing is left to run in this turn. Start more (such as zero-delay timers) and return true, or return false. */
    idle?(): boolean;
    /** The hook of this event did not settle. Its return value is used as the hook's. Synchronous. */
    unsettled?(event: "wake" | "connect" | "message" | "close" | "timer" | "request" | "route"
      | "exportUser" | "eraseUser" | "migrate"): unknown;
  }
  interface Refusal { status: number; reason: string }
  type Decision =
    | { respond: Response }
    | { request: Destination }
    | { connect: Destination };
  interface Destination { namespace: string; name: string; request: Request }
  interface Exported { items: string[]; next?: string }
  interface Erased { items: number; next?: string }

  /** Registers the hooks. Once, at the top level. The hooks are looked up once, then. */
  export function serve(hooks: Hooks): void;

  // ---- context ---------------------------------------------------------------------------------------------------

  /** True while the top level runs (at build time), false in turns. */
  export function building(): boolean;
  /** [turn] */
  export function namespace(): string;
  /** [turn] */
  export function name(): string;
  /** [turn] Unix time in milliseconds. The same during a turn. */
  export function now(): number;
  /** [turn] */
  export function wokenBy(): "connect" | "message" | "close" | "timer" | "request";
  /** [turn] As decimal digits (64 bits). */
  export function incarnation(): string;
  /** [turn] */
  export function config(key: string): string | undefined;
  /** [turn] At most 65,536 bytes. */
  export function randomBytes(length: number): Uint8Array;
  /** 0 debug, 1 info, 2 warn, 3 error. Positions in the bundle are replaced by those of the source. At build time it is printed by `dormouse build`. */
  export function log(level: 0 | 1 | 2 | 3, line: string): void;

  // ---- access ----------------------------------------------------------------------------------------------------

  /** [turn] JSON of the claims of the user whom this turn is about. */
  export function claims(): string;
  /** [turn] */
  export function permissions(): Permission[];
  /** [turn] Only in a router. */
  export function permissionsIn(namespace: string, name: string): Permission[];

  // ---- storage [turn] --------------------------------------------------------------------------------------------

  export function get(key: Key): Uint8Array | undefined;
  /** At most 1,000 keys. */
  export function getMany(keys: Key[]): (Uint8Array | undefined)[];
  export function put(key: Key, value: Uint8Array): StorageProblem | null;
  /** All or none. */
  export function putMany(entries: [Key, Uint8Array][]): StorageProblem | null;
  /** `remove` because `delete` is no name for an export. Returns whether it existed. */
  export function remove(key: Key): boolean;
  /** From `start` up to but not including `end`, at most `limit` (1,000). Returns how many. */
  export function removeRange(start: Key, end: Key, limit: number): number;
  /** At most 1,000 entries; may end early at 16 MiB. A key that is not UTF-8 comes as a `Uint8Array`. */
  export function list(range: Range): [Key, Uint8Array][];
  interface Range { prefix?: Key; start?: Key; end?: Key; reverse?: boolean; limit?: number }

  /** The same with `encode` and `decode` in one step: no bytes cross into JavaScript. `undefined` where there is none. */
  export function getValue(key: Key): unknown;
  export function getValues(keys: Key[]): unknown[];
  /** Throws a `DataCloneError` as `encode` does. */
  export function putValue(key: Key, value: unknown): StorageProblem | null;
  export function putValues(entries: [Key, unknown][]): StorageProblem | null;
  export function listValues(range: Range): [Key, unknown][];

  // ---- SQL [turn], in the engine with SQL (`dormouse build --sql`) -------------------------------------------------

  /**
   * SQLite, with its pages in the room's storage, under keys that begin with 0xFF. What statements have changed becomes
   * durable with the turn, and is gone with a turn that fails. Each statement is atomic. Errors are SQLite's, as an
   * `Error` with the message and the name of the code: `no such table: a: SQLITE_ERROR`. The limits are in docs/sql.md.
   */
  type SqlValue = null | number | string | Uint8Array | ArrayBuffer;
  /** The rows of a statement; its place is one row ahead. It may be kept between turns. */
  interface SqlCursor { readonly __cursor: unique symbol }

  /** Whether this engine has SQL. In one without it all functions but `sqlDelete` throw, and say so. Also at build time. */
  export function hasSql(): boolean;
  /** Runs the statements of a text. The last one has the parameters; its rows come through the cursor. */
  export function sqlExec(query: string, bindings: SqlValue[]): SqlCursor;
  export function sqlColumns(cursor: SqlCursor): string[];
  /** The values of the next row: `null`, numbers, strings and `ArrayBuffer`s. `undefined` behind the last one. */
  export function sqlNext(cursor: SqlCursor): unknown[] | undefined;
  /** All rows that are left, as objects. */
  export function sqlObjects(cursor: SqlCursor): Record<string, unknown>[];
  export function sqlIsDone(cursor: SqlCursor): boolean;
  /** Drops the rows that are left. */
  export function sqlEnd(cursor: SqlCursor): void;
  /** How many rows the statement has visited and changed. */
  export function sqlCounts(cursor: SqlCursor): [read: number, written: number];
  /** In bytes, without free pages. */
  export function sqlSize(): number;
  /** Deletes the database. Cursors end with an error. */
  export function sqlDelete(): void;
  /** Begins a transaction in the one that is open, and returns its number. At most 64. */
  export function sqlBegin(): number;
  /** Throws if a deferred constraint is not met, or if an error has rolled the transaction back; it is rolled back then. */
  export function sqlCommit(transaction: number): void;
  /** Throws if a later transaction is open, or if an earlier turn has committed it. */
  export function sqlRollBack(transaction: number): void;

  // ---- sockets [turn] --------------------------------------------------------------------------------------------

  /** Oldest first. */
  export function socketIds(filter?: Filter): SocketId[];
  export function socketCount(filter?: Filter): number;
  /** `undefined` if there is no such socket. */
  export function user(socket: SocketId): User | undefined;
  export function socketClaims(socket: SocketId): string | undefined;
  export function socketPermissions(socket: SocketId): Permission[];
  export function tags(socket: SocketId): string[];
  export function setTags(socket: SocketId, tags: string[]): SocketProblem | null;
  /** Empty if none was set. */
  export function attachment(socket: SocketId): Uint8Array;
  export function setAttachment(socket: SocketId, bytes: Uint8Array): SocketProblem | null;
  /** `id`: the event id for readers of server-sent events. */
  export function send(socket: SocketId, data: Data, id?: string): EventProblem | null;
  export function broadcast(data: Data, filter?: Filter, id?: string): EventProblem | null;
  export function close(socket: SocketId, code: number, reason: string): SocketProblem | null;
  /** Bytes that wait for this client. */
  export function buffered(socket: SocketId): number;
  /** Unix time in milliseconds; `undefined` if the host never gave it the auto-response. */
  export function autoRespondedAt(socket: SocketId): number | undefined;
  /** In `connect`: answers the client's request in place of a socket, and keeps the turn. */
  export function answer(response: Response): "no-client" | "bad-answer" | null;
  export function maxMessageBytes(): number;
  export function setAutoResponse(request: string, reply: string): SocketProblem | null;
  export function clearAutoResponse(): void;

  // ---- timers [turn] ---------------------------------------------------------------------------------------------

  /** `at`: Unix time in milliseconds; fractions are dropped, below 0 is 0. */
  export function setTimer(name: string, at: number, payload?: Uint8Array): TimerProblem | null;
  export function getTimer(name: string): Timer | undefined;
  export function cancelTimer(name: string): boolean;
  export function timers(): Timer[];

  // ---- other rooms and servers [turn], world "connected-room"; `call` also "connected-router" --------------------

  export function call(namespace: string, name: string, request: Request): Response & { body: Uint8Array } | CallProblem;
  export function post(to: { namespace: string; name: string } | { origin: string }, request: Request): PostProblem | null;
  export function waitingPosts(): number;

  /**
   * [turn] Only with `outbound: true`. Sends a request to a server, by an origin such as `https://api.example`, and waits
   * for the whole answer: the room's other events wait meanwhile. Redirects are not followed. Returns a text if there is
   * no answer.
   */
  export function fetch(origin: string, request: Request): Response & { body: Uint8Array } | string;

  // ---- values and texts (also at build time) ---------------------------------------------------------------------

  /**
   * A structured clone as bytes. First byte: 0 a `Uint8Array` as it is, 1 JSON (UTF-8) as it is, 2 tagged (Map, Set, Date, BigInt, RegExp,
   * Error, typed arrays, `undefined`, cycles). Throws an `Error` named `DataCloneError` (`code` 25).
   */
  export function encode(value: unknown): Uint8Array;
  /** Throws an `Error` for bytes that `encode` did not make. */
  export function decode(bytes: Uint8Array): any;
  export function utf8(text: string): Uint8Array;
  /** Invalid bytes become U+FFFD. */
  export function text(bytes: Uint8Array): string;
}

/**
 * A bundle that does not call `serve` has a default export, which the engine registers:
 * a value with a function under `Symbol.for("dormouse.serve")` registers the hooks itself, as kits do: the engine calls
 * `value[Symbol.for("dormouse.serve")](value)` behind the top level;
 * a class: its object is made when the room wakes (the constructor may use the room), and its methods are the hooks; `world`,
 * `dataVersion` and `migrate` are static;
 * an object: its properties are the hooks.
 */
