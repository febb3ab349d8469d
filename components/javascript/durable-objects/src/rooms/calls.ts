/** The way to other rooms: calls of the host, which end during the turn. */
import * as host from "dormouse:host";

import { Response } from "../web/response.js";
import type { Reach } from "./namespace.js";
import { callRequest, resultOf } from "./rpc.js";

/** Why there is no answer, for the author. `denied` depends on who calls. */
const REASONS: Record<Exclude<host.CallProblem, "denied">, string> = {
  "no-such-room": "there is no such namespace, or the name of the room is invalid",
  deadlock: "the other room already waits for this one; let the caller go on, and send the answer later",
  "too-large": "the body has more than 1 MiB",
  "too-many": "this turn has made as many calls as a turn may; spread them over several turns",
  failed: "the turn of the other room failed, and had no effect",
  overloaded: "the other room or the host is overloaded; try again later",
  timeout: "no answer came in time; the other room may still run the request",
};

/** The problems after which a second try may succeed, as Cloudflare marks them. */
const RETRYABLE: host.CallProblem[] = ["failed", "overloaded"];

/** Sends a request to a room, and waits for its answer. `allowedBy` is the operator's setting that allows it. */
export const send = (
  namespace: string,
  room: string,
  request: host.Request,
  allowedBy = "`calls` of the caller's namespace",
): host.Response => {
  const answer = host.call(namespace, room, request);
  if (typeof answer !== "string") return answer;
  const reason =
    answer === "denied" ? `the operator does not allow it; name the namespace in ${allowedBy}` : REASONS[answer];
  throw Object.assign(new Error(`call of ${namespace}/${room}: ${answer}: ${reason}`), {
    retryable: RETRYABLE.includes(answer),
    overloaded: answer === "overloaded",
  });
};

/** The answer of a room as a `Response`. */
export const responseOf = ({ status, headers, body }: host.Response): Response =>
  new Response(body.length > 0 ? body : null, { status, headers });

export const calls: Reach = {
  fetch: (namespace, room, request) => responseOf(send(namespace, room, request)),
  call: (namespace, room, method, args) => resultOf(method, send(namespace, room, callRequest(method, args))),
};
