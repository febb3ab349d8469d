/**
 * Calls: a client asks, and gets the answer alone. On the wire a call is a message, and its answer another one:
 *
 *     {"type":"call","id":"c1","name":"move","args":{"at":4}}
 *     {"type":"answer","id":"c1","value":{"turn":"bo"}}
 *     {"type":"answer","id":"c1","error":{"code":"not_your_turn","message":"it is the turn of bo"}}
 *
 * With `"once":true` the call runs once, however often it is sent with this id: see `once.ts`.
 */
import { type Check, checked, type Schema } from "./check.js";
import { ClientError } from "./errors.js";
import type { Socket } from "./sockets.js";
import { firstChange } from "./turn.js";

/** One call: what its arguments are, and what it does. */
export interface Call<Args = any, Value = unknown> extends CallOptions {
  readonly args: Schema<Args>;
  readonly run: (caller: Socket, args: Args) => Value;
}

export interface CallOptions {
  /** The call changes nothing, so it may run again when a client sends it again: its answer is not stored. */
  readonly readOnly?: boolean;
}

/** The calls of a room, by name. */
export type Calls = Readonly<Record<string, Call>>;

/**
 * The calls of a room as its clients see them: `CallsOf<Board>` for `import type Board from "../room/board.js"`. What is
 * answered is JSON, so a value without a JSON form arrives as another one.
 */
export type CallsOf<R extends { calls?: Calls }> = {
  [Name in keyof NonNullable<R["calls"]>]: NonNullable<R["calls"]>[Name] extends Call<infer Args, infer Value>
    ? (args: Args) => Value
    : never;
};

/** A call with checked arguments. What `run` returns is the answer; a `ClientError` is an answer too. */
export const call = <Args, Value>(
  args: Schema<Args>,
  run: (caller: Socket, args: Args) => Value,
  options: CallOptions = {},
): Call<Args, Value> => ({ args, run, ...options });

/** The longest id of a call, in UTF-16 code units. */
const MAX_ID = 128;

/** A call, as a client sent it. */
export interface CallFrame {
  id: string;
  name: string;
  args: unknown;
  /** The client may send it again, with the same id, and it must not run twice. */
  once: boolean;
}

/** The call in a message; `undefined` if it is none. Throws a `ClientError` if it is malformed. */
export const callIn = (said: unknown): CallFrame | undefined => {
  if (typeof said !== "object" || said === null || (said as { type?: unknown }).type !== "call") return undefined;
  const { id, name, args, once } = said as Record<string, unknown>;
  if (typeof id !== "string" || id.length < 1 || id.length > MAX_ID) {
    throw new ClientError("bad_call", `id must be a text of 1 to ${MAX_ID} characters`);
  }
  if (typeof name !== "string") throw new ClientError("bad_call", "name must be a text");
  return { id, name, args: args ?? {}, once: once === true };
};

/** The call of this name. Throws a `ClientError` if there is none. */
export const callOf = (calls: Calls, name: string): Call => {
  const found = Object.hasOwn(calls, name) ? calls[name] : undefined;
  if (!found) throw new ClientError("unknown_call", `there is no call ${JSON.stringify(name)}`);
  return found;
};

/** Runs a call. Throws a `ClientError` for an answer with an error. */
export const runCall = (call: Call, { name, args }: CallFrame, caller: Socket): unknown => {
  const value = call.run(caller, checked(call.args as Check<unknown>, args, "bad_args"));
  const change = call.readOnly ? firstChange() : undefined;
  if (change === undefined) return value;
  throw new Error(`the call ${name} is readOnly, and it made a change (${change}): a client may send it again`);
};

/** The frame with an answer. */
export const answerFrame = (id: string, value: unknown): object => ({ type: "answer", id, value: value ?? null });

/** The frame with an error. */
export const errorFrame = (id: string, { code, message }: ClientError): object => ({
  type: "answer",
  id,
  error: { code, message },
});
