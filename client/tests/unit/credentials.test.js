// @ts-check
import { describe, expect, test } from "vitest";
import { forRequest, forUpgrade, isSameToken, userOf } from "../../src/credentials.js";
import { jwt } from "./helpers.js";

const URL_OF_ROOM = "wss://rooms.example/lobby/ws?since=3";
const NOTHING = /** @type {const} */ ([undefined, null, {}]);

/** @param {unknown} garbage @returns {any} */
const any = (garbage) => garbage;

describe("on an upgrade", () => {
  test("a token is a subprotocol and never in the URL", () => {
    const token = jwt({ sub: "ana" });
    expect(forUpgrade(URL_OF_ROOM, { token })).toEqual({
      url: URL_OF_ROOM,
      protocols: ["dormouse", `bearer.${token}`],
    });
  });

  test("a ticket is added to the query", () => {
    expect(forUpgrade(URL_OF_ROOM, { ticket: "a b&c" })).toEqual({
      url: `${URL_OF_ROOM}&ticket=a+b%26c`,
      protocols: [],
    });
  });

  test("a dev token is in the query", () => {
    const { url, protocols } = forUpgrade(URL_OF_ROOM, { devToken: "ana:Ana Über" });
    expect(new URL(url).searchParams.get("token")).toBe("ana:Ana Über");
    expect(new URL(url).searchParams.get("since")).toBe("3");
    expect(protocols).toEqual([]);
  });

  test("without credentials nothing is added, and the cookie is used", () => {
    for (const nothing of NOTHING)
      expect(forUpgrade(URL_OF_ROOM, nothing)).toEqual({ url: URL_OF_ROOM, protocols: [] });
  });

  test.each(["", "two words", "comma,separated", "a/b", "a=b", "umläut", "line\nbreak"])(
    "the token %j is turned down here and not by the browser",
    (token) => {
      expect(() => forUpgrade(URL_OF_ROOM, { token })).toThrow(TypeError);
    },
  );

  test("the address that was given is not changed", () => {
    const url = new URL(URL_OF_ROOM);
    forUpgrade(url, { ticket: "t" });
    expect(url.href).toBe(URL_OF_ROOM);
  });
});

describe("on a request", () => {
  const url = "https://rooms.example/lobby/messages?limit=1";

  test("a token is in Authorization and never in the URL", () => {
    expect(forRequest(url, { token: "abc" })).toEqual({ url, headers: { Authorization: "Bearer abc" } });
  });

  test("a ticket is in the query", () => {
    expect(forRequest(url, { ticket: "t&1" })).toEqual({ url: `${url}&ticket=t%261`, headers: {} });
  });

  test("a dev token that no header can carry is in the query", () => {
    expect(forRequest(url, { devToken: "ana:Ana Li" })).toEqual({
      url,
      headers: { Authorization: "Bearer ana:Ana Li" },
    });
    for (const devToken of ["ana:Zoë", "ana:Ana ", " ana:Ana", "ana:A\nB", "ana:名"]) {
      const request = forRequest(url, { devToken });
      expect(request.headers).toEqual({});
      expect(new URL(request.url).searchParams.get("token")).toBe(devToken);
    }
  });

  test("without credentials nothing is added", () => {
    for (const nothing of NOTHING) expect(forRequest(url, nothing)).toEqual({ url, headers: {} });
  });
});

describe("the same credentials again", () => {
  test("are known by their token, whatever kind it is", () => {
    expect(isSameToken({ token: "a" }, { token: "a" })).toBe(true);
    expect(isSameToken({ devToken: "a:A" }, { devToken: "a:A" })).toBe(true);
    expect(isSameToken({ ticket: "t" }, { ticket: "t" })).toBe(true);
  });

  test("are not taken for the fresh ones", () => {
    expect(isSameToken({ token: "a" }, { token: "b" })).toBe(false);
    expect(isSameToken({ ticket: "t" }, { ticket: "u" })).toBe(false);
    expect(isSameToken(undefined, { token: "a" })).toBe(false);
  });

  test("prove nothing with a cookie, which may be a new one", () => {
    expect(isSameToken(undefined, undefined)).toBe(false);
    expect(isSameToken({}, null)).toBe(false);
    expect(isSameToken({ token: "a" }, undefined)).toBe(false);
  });
});

describe("the user of credentials", () => {
  test("a dev token has id and name around its first colon", () => {
    expect(userOf({ devToken: "ana:Ana" })).toEqual({ userId: "ana", userName: "Ana" });
    expect(userOf({ devToken: "ana:Ana: the 2nd\nof her name" })).toEqual({
      userId: "ana",
      userName: "Ana: the 2nd\nof her name",
    });
  });

  test("a dev token without a name is named after its id", () => {
    expect(userOf({ devToken: "ana" })).toEqual({ userId: "ana", userName: "ana" });
    expect(userOf({ devToken: "ana:" })).toEqual({ userId: "ana", userName: "ana" });
  });

  test("a JWT has it in its claims, in any script", () => {
    expect(userOf({ token: jwt({ sub: "ana", name: "Ana" }) })).toEqual({ userId: "ana", userName: "Ana" });
    expect(userOf({ token: jwt({ sub: "zoë", name: "名前 😀 ÿ>?" }) })).toEqual({
      userId: "zoë",
      userName: "名前 😀 ÿ>?",
    });
  });

  test("the special characters of base64url are decoded", () => {
    const token = jwt({ sub: "ÿÿÿ>>>???" });
    expect(token.split(".")[1]).toMatch(/[-_]/);
    expect(jwt({ sub: "~~~???" })).toMatch(/_/);
    expect(jwt({ sub: ">>>ÿÿ>" })).toMatch(/-/);
    for (const sub of ["ÿÿÿ>>>???", "~~~???", ">>>ÿÿ>"]) expect(userOf({ token: jwt({ sub }) })?.userId).toBe(sub);
  });

  test("a JWT without a usable name is named after its subject", () => {
    for (const name of [undefined, "", 7, null]) {
      expect(userOf({ token: jwt({ sub: "ana", name }) })).toEqual({ userId: "ana", userName: "ana" });
    }
  });

  test.each([
    ["nothing", undefined],
    ["null", null],
    ["an empty object", {}],
    ["a ticket", { ticket: "t" }],
    ["a token that is no JWT", { token: "opaque" }],
    ["an empty token", { token: "" }],
    ["claims that are no base64", { token: "a.%%%.c" }],
    ["claims that are no JSON", { token: `a.${btoa("not json")}.c` }],
    ["claims that are null", { token: jwt(null) }],
    ["claims that are a number", { token: jwt(7) }],
    ["a subject that is a number", { token: jwt({ sub: 7, name: "Ana" }) }],
    ["a token that is a number", { token: 7 }],
  ])("%s says nothing", (_, credentials) => {
    expect(userOf(any(credentials))).toBeUndefined();
  });
});
