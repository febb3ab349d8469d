/**
 * `@dormouse/room/connected`: requests to other rooms and servers. A room that imports this is a component that can reach
 * what its operator allows, and no other.
 */
import * as host from "dormouse:host";

import { Response } from "./http.js";
import { change } from "./turn.js";
import { connect } from "./world.js";

connect();

/** A request to another room or a server. */
export interface Outgoing {
  method?: string;
  /** Begins with a slash. */
  path?: string;
  query?: string;
  headers?: Record<string, string>;
  /** A value that is neither text nor bytes is sent as JSON. */
  body?: unknown;
  /** The user for whom the room asks. The other room trusts it. */
  user?: host.User;
}

/** The answer of another room. */
export interface Answer {
  status: number;
  headers: [string, string][];
  body: Uint8Array;
  text(): string;
  json(): unknown;
}

/** A call without an answer. */
export class CallError extends Error {
  override name = "CallError";
  readonly problem: host.CallProblem;

  constructor(address: string, problem: host.CallProblem) {
    super(`call of ${address}: ${problem}`);
    this.problem = problem;
  }
}

/** Another room of this host. */
export const roomAt = (namespace: string, name: string) => ({
  /**
   * Sends a request, and waits for the answer. What it does there stays, even if this turn fails. 32 calls a turn.
   */
  call: (request: Outgoing = {}): Answer => {
    const answer = host.call(namespace, name, lower(request));
    if (typeof answer === "string") throw new CallError(`${namespace}/${name}`, answer);
    const text = () => host.text(answer.body);
    return { ...answer, text, json: () => JSON.parse(text()) };
  },

  /** Posts a request: it is sent after this turn has committed, and runs exactly once. At most 256 KiB. */
  post: (request: Outgoing = {}): void => post({ namespace, name }, `${namespace}/${name}`, request),
});

/** A server, by scheme and authority, such as `https://api.example`. */
export const serverAt = (origin: string) => ({
  /** Posts a request: it is sent after this turn has committed, at least once. At most 256 KiB. */
  post: (request: Outgoing = {}): void => post({ origin }, origin, request),
});

/** The number of posts of this room that wait to be accepted. */
export const waitingPosts = (): number => host.waitingPosts();

const post = (to: Parameters<typeof host.post>[0], shown: string, request: Outgoing): void => {
  change("a post");
  const problem = host.post(to, lower(request));
  if (problem === null) return;
  const reason = {
    denied: "the operator does not allow it",
    "bad-destination": "there is no such namespace, or the name or origin is invalid",
    "too-large": "a post has at most 256 KiB",
    "too-many": "1,000 posts of this room wait already; try again later",
  }[problem];
  throw new Error(`post to ${shown}: ${reason}`);
};

const lower = ({ method, path = "/", query, headers = {}, body, user }: Outgoing): host.Request => {
  const { body: data, headers: typed } = new Response(200, body, headers);
  return {
    method: method ?? (body === undefined ? "GET" : "POST"),
    path,
    ...(query === undefined ? {} : { query }),
    headers: Object.entries(typed),
    body: typeof data === "string" ? host.utf8(data) : data,
    ...(user === undefined ? {} : { user }),
  };
};
