/**
 * Methods of objects, called over the host's requests between rooms: POST with the name in the path, and the arguments as
 * a structured clone. Only the host sets `dormouse-caller`, so no client reaches a method.
 */
import * as host from "dormouse:host";

import { unsupported } from "../unsupported.js";

const PATH = "/.dormouse/rpc/";
const CALLER = "dormouse-caller";
const CONTENT_TYPE = "application/x-dormouse-rpc";

/** Methods that the host calls itself, or that are no methods of the author. */
const RESERVED = ["constructor", "fetch", "alarm", "webSocketMessage", "webSocketClose", "webSocketError"];

/** How deep arguments and results are searched for what cannot be sent. Deeper values are left to the codec. */
const SEARCHED_DEPTH = 100;

/** A request that calls a method. */
export const callRequest = (method: string, args: unknown[]): host.Request => ({
  method: "POST",
  path: `${PATH}${encodeURIComponent(method)}`,
  headers: [["content-type", CONTENT_TYPE]],
  body: encode(args, `${method}()`),
});

/** The result in an answer. An error of the method is thrown again. */
export const resultOf = (method: string, response: host.Response): unknown => {
  const type = response.headers.find(([name]) => name === "content-type")?.[1];
  if (response.status !== 200 || type !== CONTENT_TYPE) {
    throw new Error(`${method}(): the room is no object with methods: it answered with status ${response.status}`);
  }
  const answer = host.decode(response.body as Uint8Array) as { value?: unknown; error?: unknown };
  if (!("error" in answer)) return answer.value;
  const error = answer.error instanceof Error ? answer.error : new Error(String(answer.error));
  throw Object.assign(error, { remote: true });
};

/** The name of the method that a request calls; `undefined` if it calls none. */
export const calledMethod = (request: host.Request): string | undefined => {
  if (request.method !== "POST" || !request.path.startsWith(PATH)) return undefined;
  if (!request.headers.some(([name]) => name === CALLER)) return undefined;
  return decodeURIComponent(request.path.slice(PATH.length));
};

/** Calls a method of an object. */
export const callMethod = (object: object, method: string, body: Uint8Array): unknown => {
  const found = isMethod(object, method) ? (object as Record<string, unknown>)[method] : undefined;
  if (typeof found !== "function") {
    throw new TypeError(`The RPC receiver does not implement the method "${method}".`);
  }
  return found.apply(object, host.decode(body));
};

/** The answer with a result, or with the error that a method threw. */
export const answerOf = (outcome: { value: unknown } | { error: unknown }): host.Response => ({
  status: 200,
  headers: [["content-type", CONTENT_TYPE]],
  body: encodeOutcome(outcome),
});

const encodeOutcome = (outcome: { value: unknown } | { error: unknown }): Uint8Array => {
  try {
    if ("error" in outcome) return host.encode({ error: withoutStack(outcome.error) });
    return encode(outcome, "the result");
  } catch (error) {
    return host.encode({ error: withoutStack(error) });
  }
};

/** Callers get the name and the message. The stack is in the log of the room. */
const withoutStack = (error: unknown): unknown => {
  if (!(error instanceof Error)) return error;
  const sent = new Error(error.message);
  sent.name = error.name;
  delete sent.stack;
  return sent;
};

/** A method of a class of the author: not a field, and not one that every object has. */
const isMethod = (object: object, name: string): boolean =>
  !RESERVED.includes(name) && !Object.hasOwn(object, name) && name in object && !(name in Object.prototype);

const encode = (value: unknown, what: string): Uint8Array => {
  refuseOthers(value, what, SEARCHED_DEPTH);
  return host.encode(value);
};

/** Cloudflare passes some objects by reference, and refuses instances of other classes. Here both are refused. */
const refuseOthers = (value: unknown, what: string, depth: number): void => {
  if (typeof value === "function") unsupported(`${what} with a function`, "pass data, and call a method for the rest");
  if (typeof value !== "object" || value === null || depth === 0) return;
  if (Array.isArray(value)) return value.forEach((one) => refuseOthers(one, what, depth - 1));
  if (value instanceof Map || value instanceof Set) {
    return value.forEach((one: unknown, key: unknown) => {
      refuseOthers(one, what, depth - 1);
      refuseOthers(key, what, depth - 1);
    });
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype === null || prototype === Object.prototype) {
    return Object.values(value).forEach((one) => refuseOthers(one, what, depth - 1));
  }
  if (isCloneable(value)) return;
  const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
  const name = tag === "Object" ? (prototype.constructor?.name ?? "an unknown class") : tag;
  unsupported(`${what} with an object of type "${name}"`, "pass plain data: structured clone has no classes");
};

const isCloneable = (value: object): boolean =>
  [Date, RegExp, Error, ArrayBuffer, Boolean, Number, String, BigInt].some((type) => value instanceof type) ||
  ArrayBuffer.isView(value);
