// @ts-check
import { afterEach, describe, expect, test, vi } from "vitest";
import { hintedDelay } from "../../src/close-codes.js";
import { HttpError, explainRefusal, explainUpgrade, fetchTicket, getJson } from "../../src/http.js";
import { fakeFetch } from "./helpers.js";

const ADDRESS = "https://rooms.example/rooms/lobby/messages";

afterEach(() => vi.unstubAllGlobals());

/**
 * @param {number} status
 * @param {Record<string, string>} [headers]
 */
function answersWith(status, headers) {
  return fakeFetch(() => new Response("{}", { status, headers }));
}

describe("a request", () => {
  test("returns the server's answer", async () => {
    fakeFetch(() => Response.json({ messages: [] }));
    expect(await getJson(ADDRESS, undefined)).toEqual({ messages: [] });
  });

  test("asks for JSON, past every cache, with the credentials", async () => {
    const fetch = fakeFetch(() => Response.json({}));
    await getJson(ADDRESS, { token: "abc" });
    expect(fetch).toHaveBeenCalledExactlyOnceWith(ADDRESS, expect.objectContaining({ cache: "no-store" }));
    expect(fetch.mock.calls[0]?.[1]?.headers).toEqual({ Accept: "application/json", Authorization: "Bearer abc" });
  });

  test("takes the cookie along to another origin, as an upgrade does", async () => {
    const fetch = fakeFetch(() => Response.json({}));
    await getJson(ADDRESS, undefined);
    expect(fetch.mock.calls[0]?.[1]?.credentials).toBe("include");
  });

  test("that fails has the status and the server's text", async () => {
    fakeFetch(() => Response.json({ title: "Bad Request", detail: "limit is from 1 to 500" }, { status: 400 }));
    const failure = await getJson(ADDRESS, undefined).catch((error) => error);
    expect(failure).toBeInstanceOf(HttpError);
    expect(failure).toMatchObject({ name: "HttpError", status: 400, message: "limit is from 1 to 500" });
  });

  test("that fails with only a title has it as its message", async () => {
    fakeFetch(() => Response.json({ title: "Too Many Requests" }, { status: 429 }));
    await expect(getJson(ADDRESS, undefined)).rejects.toThrow("Too Many Requests");
  });

  test("that fails without a problem body: the error has the status", async () => {
    fakeFetch(() => new Response("<html>Bad Gateway", { status: 502 }));
    await expect(getJson(ADDRESS, undefined)).rejects.toMatchObject({
      status: 502,
      message: "the server answered 502",
    });
  });
});

describe("a ticket", () => {
  test("is asked for with a cookie of any origin", async () => {
    const fetch = fakeFetch(() => Response.json({ ticket: "t1", expiresIn: 30 }));
    expect(await fetchTicket("https://rooms.example/rt/")).toEqual({ ticket: "t1" });
    expect(fetch).toHaveBeenCalledExactlyOnceWith("https://rooms.example/rt/tickets", {
      method: "POST",
      headers: {},
      credentials: "include",
      cache: "no-store",
    });
  });

  test("is requested with a token if there is one", async () => {
    const fetch = fakeFetch(() => Response.json({ ticket: "t1", expiresIn: 30 }));
    await fetchTicket("https://rooms.example", { token: "abc" });
    expect(fetch.mock.calls[0]?.[1]?.headers).toEqual({ Authorization: "Bearer abc" });
  });

  test("that is refused is an error with the status", async () => {
    answersWith(401);
    await expect(fetchTicket("https://rooms.example")).rejects.toMatchObject({ name: "HttpError", status: 401 });
  });
});

describe("why an upgrade was refused", () => {
  test.each([
    [401, 4401],
    [403, 4403],
    [429, 4429],
    [503, 1013],
  ])("HTTP %i becomes %i", async (status, code) => {
    answersWith(status);
    expect(await explainRefusal(ADDRESS, undefined)).toEqual({ code, reason: `HTTP ${status}` });
  });

  test("the server's Retry-After is kept", async () => {
    answersWith(503, { "Retry-After": "9" });
    expect(await explainRefusal(ADDRESS, undefined)).toEqual({ code: 1013, reason: "HTTP 503 retry-after=9" });
  });

  test("a server that answers well explains nothing", async () => {
    answersWith(200);
    expect(await explainRefusal(ADDRESS, null)).toBeUndefined();
  });

  test("nothing of the answer is downloaded", async () => {
    const response = new Response("{}", { status: 401 });
    fakeFetch(() => response);
    await explainRefusal(ADDRESS, undefined);
    expect(response.bodyUsed).toBe(true);
  });

  test("it is asked with the credentials that were refused", async () => {
    const fetch = answersWith(401);
    await explainRefusal(ADDRESS, { token: "abc" });
    expect(fetch.mock.calls[0]?.[1]?.headers).toMatchObject({ Authorization: "Bearer abc" });
  });

  test("a ticket is spent already and is not asked about", async () => {
    const fetch = answersWith(401);
    expect(await explainRefusal(ADDRESS, { ticket: "t" })).toBeUndefined();
    expect(fetch).not.toHaveBeenCalled();
  });
});

describe("why an upgrade is refused, asked of its own address", () => {
  const SOCKET = "wss://rooms.example/polls/lunch/ws";

  test("is asked over HTTP, with the same credentials", async () => {
    const fetch = fakeFetch(() => new Response(null, { status: 426 }));
    expect(await explainUpgrade(SOCKET, { token: "abc" })).toBeUndefined();
    expect(fetch.mock.calls[0]?.[0]).toBe("https://rooms.example/polls/lunch/ws");
    expect(fetch.mock.calls[0]?.[1]?.headers).toMatchObject({ Authorization: "Bearer abc" });
  });

  test.each([
    [401, 4401, "HTTP 401; this needs a valid identity"],
    [403, 4403, "HTTP 403; this needs a valid identity"],
    [404, 1006, "HTTP 404; this needs a valid identity"],
    [400, 1006, "HTTP 400; this needs a valid identity"],
  ])("%i becomes %i, with the words of the server", async (status, code, reason) => {
    fakeFetch(() => Response.json({ detail: "this needs a valid identity" }, { status }));
    expect(await explainUpgrade(SOCKET, undefined)).toEqual({ code, reason });
  });

  test("a hint stays valid before the text, and text is no hint", async () => {
    const body = { detail: "retry-after=0" };
    fakeFetch(() => Response.json(body, { status: 503, headers: { "Retry-After": "7" } }));
    const close = await explainUpgrade(SOCKET, undefined);
    expect(hintedDelay(close?.reason ?? "")).toBe(7_000);
  });

  test("without words it is the status", async () => {
    fakeFetch(() => new Response("<html>", { status: 404 }));
    expect(await explainUpgrade(SOCKET, undefined)).toEqual({ code: 1006, reason: "HTTP 404" });
  });

  test("a server that is not there explains nothing", async () => {
    fakeFetch(() => new Response("<html>", { status: 502 }));
    await expect(explainUpgrade(SOCKET, undefined)).rejects.toThrow("the server is not there");
  });

  test("a ticket is not spent on it", async () => {
    const fetch = fakeFetch(() => new Response(null, { status: 401 }));
    expect(await explainUpgrade(SOCKET, { ticket: "once" })).toBeUndefined();
    expect(fetch).not.toHaveBeenCalled();
  });
});
