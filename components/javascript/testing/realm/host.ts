/** `dormouse:host` in memory: what the engine is for a bundle, over `__world`. It runs in the realm of an instance. */
import type * as flat from "dormouse:host";

import { decode } from "../clone/decode.js";
import { encode } from "../clone/encode.js";

export { decode, encode };

/** The engine's entries into the bundle. */
let hooks: flat.Hooks | undefined;

export const serve = (given: flat.Hooks): void => {
  if (hooks) throw new Error("host.serve: called twice");
  hooks = given;
};

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array): string =>
  new TextDecoder("utf-8", { fatal: false, ignoreBOM: true }).decode(bytes);

/** Arguments of one call of a function. */
const CHUNK = 8192;

const toLatin1 = (bytes: Uint8Array): string => {
  let latin1 = "";
  for (let at = 0; at < bytes.length; at += CHUNK) latin1 += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return latin1;
};

const fromLatin1 = (latin1: string): Uint8Array => {
  const bytes = new Uint8Array(latin1.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = latin1.charCodeAt(at);
  return bytes;
};

const rawKey = (key: flat.Key): string => {
  if (typeof key !== "string") return toLatin1(key);
  if (!key.isWellFormed()) throw new TypeError("a key has half of a surrogate pair");
  return toLatin1(utf8(key));
};

const keyOf = (raw: string): flat.Key => {
  const bytes = fromLatin1(raw);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bytes;
  }
};

/** A function that only turns may call. */
const turn =
  <A extends unknown[], R>(name: string, f: (...args: A) => R) =>
  (...args: A): R => {
    if (__world.building()) throw new Error(`host.${name}: not available while the module is loaded`);
    return f(...args);
  };

const context = (): { namespace: string; name: string; now: number; wokenBy: string; incarnation: string } =>
  JSON.parse(__world.context());

export const building = (): boolean => __world.building();
export const namespace = turn("namespace", () => context().namespace);
export const name = turn("name", () => context().name);
export const now = turn("now", () => context().now);
export const wokenBy = turn("wokenBy", () => context().wokenBy);
export const incarnation = turn("incarnation", () => context().incarnation);
export const config = turn("config", (key: string) => __world.config(key));
export const randomBytes = turn("randomBytes", (length: number) => fromLatin1(__world.randomBytes(length)));
export const log = (level: number, line: string): void => __world.log(level, line);
export const claims = turn("claims", () => "{}");
export const permissions = turn("permissions", () => ["read", "write", "presence"]);
export const permissionsIn = turn("permissionsIn", () => ["read", "write", "presence"]);

// Storage.

export const get = turn("get", (key: flat.Key) => {
  const value = __world.get(rawKey(key));
  return value === undefined ? undefined : fromLatin1(value);
});
export const put = turn("put", (key: flat.Key, value: Uint8Array) => __world.put(rawKey(key), toLatin1(value)));
export const getMany = turn("getMany", (keys: flat.Key[]) => keys.map(get));
export const putMany = turn("putMany", (entries: [flat.Key, Uint8Array][]) => {
  const old = entries.map(([key]) => [key, get(key)] as const);
  for (const [key, value] of entries) {
    const problem = put(key, value);
    if (problem === null) continue;
    for (const [one, before] of old) before === undefined ? remove(one) : put(one, before);
    return problem;
  }
  return null;
});
export const remove = turn("remove", (key: flat.Key) => __world.remove(rawKey(key)));
export const removeRange = turn("removeRange", (start: flat.Key, end: flat.Key, limit: number) => {
  const keys = list({ start, end, limit }).map(([key]) => key);
  keys.forEach(remove);
  return keys.length;
});
export const list = turn("list", (range: flat.Range): [flat.Key, Uint8Array][] => {
  const raw = (key?: flat.Key) => (key === undefined ? undefined : rawKey(key));
  const asked = { ...range, prefix: raw(range.prefix), start: raw(range.start), end: raw(range.end) };
  const found = JSON.parse(__world.list(JSON.stringify(asked))) as [string, string][];
  return found.map(([key, value]) => [keyOf(key), fromLatin1(value)]);
});
export const getValue = turn("getValue", (key: flat.Key) => {
  const bytes = get(key);
  return bytes === undefined ? undefined : decode(bytes);
});
export const getValues = turn("getValues", (keys: flat.Key[]) => keys.map(getValue));
export const putValue = turn("putValue", (key: flat.Key, value: unknown) => put(key, encode(value)));
export const putValues = turn("putValues", (entries: [flat.Key, unknown][]) =>
  putMany(entries.map(([key, value]) => [key, encode(value)])),
);
export const listValues = turn("listValues", (range: flat.Range) =>
  list(range).map(([key, value]) => [key, decode(value)] as [flat.Key, unknown]),
);

// SQL, which needs the engine.

const withoutSql = (): never => {
  throw new Error("the host in memory has no SQL: run the test in the engine, with `npm test -- --engine`");
};
export const hasSql = (): boolean => false;
export const sqlDelete = turn("sqlDelete", (): void => {});
export const sqlExec = turn("sqlExec", withoutSql);
export const sqlColumns = turn("sqlColumns", withoutSql);
export const sqlNext = turn("sqlNext", withoutSql);
export const sqlObjects = turn("sqlObjects", withoutSql);
export const sqlIsDone = turn("sqlIsDone", withoutSql);
export const sqlEnd = turn("sqlEnd", withoutSql);
export const sqlCounts = turn("sqlCounts", withoutSql);
export const sqlSize = turn("sqlSize", withoutSql);
export const sqlBegin = turn("sqlBegin", withoutSql);
export const sqlCommit = turn("sqlCommit", withoutSql);
export const sqlRollBack = turn("sqlRollBack", withoutSql);

// Sockets.

interface Known {
  user: flat.User;
  tags: string[];
  attachment: string;
}

const known = (id: string): Known | undefined => {
  const found = __world.socket(id);
  return found === undefined ? undefined : JSON.parse(found);
};

const message = (data: flat.Data): string =>
  JSON.stringify(typeof data === "string" ? { text: data } : { binary: toLatin1(data) });

export const socketIds = turn(
  "socketIds",
  (filter?: flat.Filter) => JSON.parse(__world.sockets(JSON.stringify(filter ?? {}))) as string[],
);
export const socketCount = turn("socketCount", (filter?: flat.Filter) => socketIds(filter).length);
export const user = turn("user", (id: string) => known(id)?.user);
export const socketClaims = turn("socketClaims", (id: string) => (known(id) ? "{}" : undefined));
export const socketPermissions = turn("socketPermissions", (_id: string) => ["read", "write", "presence"]);
export const tags = turn("tags", (id: string) => known(id)?.tags ?? []);
export const setTags = turn("setTags", (id: string, list: string[]) => __world.setTags(id, JSON.stringify(list)));
export const attachment = turn("attachment", (id: string) => fromLatin1(known(id)?.attachment ?? ""));
export const setAttachment = turn("setAttachment", (id: string, bytes: Uint8Array) =>
  __world.setAttachment(id, toLatin1(bytes)),
);
export const send = turn("send", (id: string, data: flat.Data, eventId?: string) =>
  __world.send(JSON.stringify([id]), message(data), eventId),
);
export const broadcast = turn("broadcast", (data: flat.Data, filter?: flat.Filter, eventId?: string) =>
  __world.send(JSON.stringify(socketIds(filter)), message(data), eventId),
);
export const close = turn("close", (id: string, code: number, reason: string) => __world.close(id, code, reason));
export const buffered = turn("buffered", (_id: string) => 0);
export const autoRespondedAt = turn("autoRespondedAt", (id: string) => __world.autoRespondedAt(id));
let answered: flat.Response | undefined;
export const answer = turn("answer", (response: flat.Response) => {
  answered = response;
  return null;
});
export const maxMessageBytes = turn("maxMessageBytes", () => 1024 * 1024);
export const setAutoResponse = turn("setAutoResponse", (request: string, reply: string) =>
  __world.setAutoResponse(request, reply),
);
export const clearAutoResponse = turn("clearAutoResponse", () => void __world.setAutoResponse(null, ""));

// Timers.

export const setTimer = turn("setTimer", (name: string, at: number, payload?: Uint8Array) =>
  __world.setTimer(name, Math.max(0, Math.trunc(at)), toLatin1(payload ?? new Uint8Array())),
);
export const timers = turn("timers", (): flat.Timer[] =>
  JSON.parse(__world.timers()).map((timer: { payload: string }) => ({ ...timer, payload: fromLatin1(timer.payload) })),
);
export const getTimer = turn("getTimer", (name: string) => timers().find((timer) => timer.name === name));
export const cancelTimer = turn("cancelTimer", (name: string) => __world.cancelTimer(name));

// Other rooms and servers.

const lowered = (request: flat.Request): string => JSON.stringify({ ...request, body: toLatin1(request.body) });

export const call = turn("call", (namespace: string, name: string, request: flat.Request) => {
  const answer = JSON.parse(__world.call(namespace, name, lowered(request)));
  return typeof answer === "string" ? answer : { ...answer, body: fromLatin1(answer.body) };
});
export const post = turn("post", (to: unknown, request: flat.Request) =>
  __world.post(JSON.stringify(to), lowered(request)),
);
export const fetch = turn("fetch", (origin: string, request: flat.Request) => {
  const answer = JSON.parse(__world.fetch(origin, lowered(request)));
  return typeof answer === "string" ? answer : { ...answer, body: fromLatin1(answer.body) };
});
export const waitingPosts = turn("waitingPosts", () => __world.waitingPosts());

// The functions that the test calls. Only JSON crosses.

type Json = Record<string, any>;

const liftRequest = (request: Json): flat.Request => ({ ...request, body: fromLatin1(request.body) }) as flat.Request;

const lowerResponse = (response: flat.Response): Json => ({
  ...response,
  body: toLatin1(typeof response.body === "string" ? utf8(response.body) : response.body),
});

const lowerDestination = (to: flat.Destination): Json => ({
  ...to,
  request: { ...to.request, body: toLatin1(to.request.body) },
});

/** How the arguments of an event come in, and its result goes out. */
const EVENTS: Record<string, { args(event: Json): unknown[]; result(value: any): unknown }> = {
  wake: { args: () => [], result: () => null },
  connect: {
    args: ({ request, socket }) => [liftRequest(request), socket],
    result: (value) => value ?? (answered ? { answer: lowerResponse(answered) } : null),
  },
  message: { args: ({ socket, data }) => [socket, data.text ?? fromLatin1(data.binary)], result: () => null },
  close: { args: ({ socket, code, reason, clean }) => [socket, code, reason, clean], result: () => null },
  timer: { args: ({ timer }) => [{ ...timer, payload: fromLatin1(timer.payload) }], result: () => null },
  request: { args: ({ request }) => [liftRequest(request)], result: lowerResponse },
  exportUser: { args: ({ user, after }) => [user, after], result: (value) => value },
  eraseUser: { args: ({ user, after }) => [user, after], result: (value) => value },
  migrate: { args: ({ from }) => [from], result: () => null },
  route: {
    args: ({ request }) => [liftRequest(request)],
    result: (decision) =>
      decision.respond
        ? { respond: lowerResponse(decision.respond) }
        : decision.connect
          ? { connect: lowerDestination(decision.connect) }
          : { request: lowerDestination(decision.request) },
  },
};

let outcome: { value?: unknown; error?: string } | undefined;

/** An error as the engine logs it. */
const shown = (error: unknown): string => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

Object.assign(globalThis, {
  /** Calls a hook. The jobs run when the script that calls this has ended. */
  __start(name: string, event: string): void {
    outcome = answered = undefined;
    const { args, result } = EVENTS[name] as (typeof EVENTS)[string];
    const hook = (hooks as unknown as Record<string, (...args: unknown[]) => unknown> | undefined)?.[name];
    if (!hook) {
      const absent = { connect: { status: 404, reason: "absent" }, request: { status: 404, headers: [], body: "" } };
      outcome = { value: (absent as Json)[name] ?? null };
      return;
    }
    (async () => result(await hook(...args(JSON.parse(event)))))().then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => {
        outcome = { error: shown(error) };
      },
    );
  },
  __idle: (): boolean => hooks?.idle?.() ?? false,
  /** JSON of the outcome; of nothing while the hook is pending. */
  __outcome: (): string | undefined => JSON.stringify(outcome),
  __world_of_hooks: (): string => hooks?.world ?? "room",
  __data_version: (): number | undefined => hooks?.dataVersion,
});
