/**
 * Calls: a client asks, and gets the answer alone. On the wire a call is a message, and its answer another one:
 *
 *     {"type":"call","id":"c1","name":"move","args":{"at":4}}
 *     {"type":"answer","id":"c1","value":{"turn":"bo"}}
 *     {"type":"answer","id":"c1","error":{"code":"not_your_turn","message":"it is the turn of bo"}}
 */
import { type Check, checked, type Schema } from "./check.js";
import { ClientError } from "./errors.js";
import type { Socket } from "./sockets.js";

/** One call: what its arguments are, and what it does. */
export interface Call<Args = any, Value = unknown> {
  readonly args: Schema<Args>;
  readonly run: (caller: Socket, args: Args) => Value;
}

/** The calls of a room, by name. */
export type Calls = Readonly<Record<string, Call>>;

/** A call with checked arguments. What `run` returns is the answer; a `ClientError` is an answer too. */
export const call = <Args, Value>(
  args: Schema<Args>,
  run: (caller: Socket, args: Args) => Value,
): Call<Args, Value> => ({
  args,
  run,
});

/** The longest id of a call, in UTF-16 code units. */
const MAX_ID = 128;

/** A call, as a client sent it. */
export interface CallFrame {
  id: string;
  name: string;
  args: unknown;
}

/** The call in a message; `undefined` if it is none. Throws a `ClientError` if it is malformed. */
export const callIn = (said: unknown): CallFrame | undefined => {
  if (typeof said !== "object" || said === null || (said as { type?: unknown }).type !== "call") return undefined;
  const { id, name, args } = said as Record<string, unknown>;
  if (typeof id !== "string" || id.length < 1 || id.length > MAX_ID) {
    throw new ClientError("bad_call", `id must be a text of 1 to ${MAX_ID} characters`);
  }
  if (typeof name !== "string") throw new ClientError("bad_call", "name must be a text");
  return { id, name, args: args ?? {} };
};

/** Runs a call. Throws a `ClientError` for an answer with an error. */
export const runCall = (calls: Calls, { name, args }: CallFrame, caller: Socket): unknown => {
  const found = Object.hasOwn(calls, name) ? calls[name] : undefined;
  if (!found) throw new ClientError("unknown_call", `there is no call ${JSON.stringify(name)}`);
  return found.run(caller, checked(found.args as Check<unknown>, args, "bad_args"));
};

/** The frame with an answer. */
export const answerFrame = (id: string, value: unknown): object => ({ type: "answer", id, value: value ?? null });

/** The frame with an error. */
export const errorFrame = (id: string, { code, message }: ClientError): object => ({
  type: "answer",
  id,
  error: { code, message },
});
