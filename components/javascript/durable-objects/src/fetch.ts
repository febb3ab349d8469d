/**
 * `fetch`: a request to a server, during the turn. The object's other events wait for the answer, which is whole. Redirects
 * are followed here, so the operator must allow each origin on the way.
 */
import * as host from "dormouse:host";

import { responseOf } from "./rooms/calls.js";
import { unsupported } from "./unsupported.js";
import { Body } from "./web/body.js";
import { Request, type RequestInit, toHost } from "./web/request.js";
import type { Response } from "./web/response.js";

/** As browsers have it. */
const MAX_REDIRECTS = 20;

const REDIRECTS = [301, 302, 303, 307, 308];

/** The reason why there is no `fetch`; absent if there is one. */
let missing: string | undefined = "build the class with `dormouse-bundle --fetch`";

/** This component reaches servers. */
export const allowFetch = (): void => {
  missing = undefined;
};

/** This component cannot, for a reason. */
export const forbidFetch = (reason: string): void => {
  missing = reason;
};

export const fetch = async (input: Request | URL | string, init?: RequestInit): Promise<Response> => {
  if (missing !== undefined) unsupported("fetch()", missing);
  const request = new Request(input, init);
  request.signal.throwIfAborted();
  if (request.headers.has("upgrade")) unsupported("fetch() with Upgrade", "let the server connect to the object");
  const { redirect } = request;
  let sent = toHost(request, await Body.whole(request));
  delete sent.user; // it is the host's word, and servers do not get it
  let { url } = request;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const { origin } = new URL(url);
    const answer = host.fetch(origin, sent);
    if (typeof answer === "string") throw new TypeError(`fetch of ${origin}: ${answer}`);
    const location = answer.headers.find(([name]) => name === "location")?.[1];
    if (!REDIRECTS.includes(answer.status) || location === undefined || redirect === "manual")
      return responseOf(answer);
    if (redirect === "error") throw new TypeError(`fetch of ${url}: it redirects to ${location}`);
    const target = new URL(location, url);
    sent = redirected(sent, answer.status, target, target.origin !== origin);
    url = target.toString();
  }
  throw new TypeError(`fetch of ${request.url}: more than ${MAX_REDIRECTS} redirects`);
};

/** The request that follows a redirect. Another origin gets no credentials. */
const redirected = (request: host.Request, status: number, target: URL, isForeign: boolean): host.Request => {
  const isPost = request.method === "POST" && (status === 301 || status === 302);
  const becomesGet = isPost || (status === 303 && request.method !== "HEAD");
  const dropped = [
    ...(becomesGet ? ["content-type", "content-length", "content-encoding", "content-language"] : []),
    ...(isForeign ? ["authorization", "cookie"] : []),
  ];
  return {
    method: becomesGet ? "GET" : request.method,
    path: target.pathname,
    ...(target.search === "" ? {} : { query: target.search.slice(1) }),
    headers: request.headers.filter(([name]) => !dropped.includes(name)),
    body: becomesGet ? new Uint8Array() : request.body,
  };
};
