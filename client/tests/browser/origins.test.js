// @ts-check
/** Pages of other origins, in a browser with a user's cookie. */

import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { launch } from "./browser.js";
import { SECRET, Server } from "./server.js";

/**
 * The result of each kind of request of a page, or why it failed.
 *
 * @typedef {Record<"socket" | "events" | "history" | "post" | "blind" | "ticket", string>} Loot
 */

/** Empty pages, under every name of this machine. @type {import("node:http").Server[]} */
const sites = [];
/** @type {import("playwright-core").Browser} */
let browser;
/** @type {import("playwright-core").BrowserContext | undefined} */
let context;

async function site() {
  const http = createServer((_, response) => {
    response.setHeader("Content-Type", "text/html");
    response.end("<!doctype html><title>A page</title>");
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  sites.push(http);
  const address = http.address();
  if (!address || typeof address === "string") throw new Error("it has no port");
  return address.port;
}

/** @param {string} sub */
function tokenFor(sub) {
  const encode = (/** @type {object} */ part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + 3_600;
  const signed = `${encode({ alg: "HS256" })}.${encode({ sub, name: sub, exp })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

/**
 * Every request that a page can make to a server, with what the browser adds by itself.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} base
 * @param {string} [query]
 * @returns {Promise<Loot>}
 */
function tryEverything(page, base, query = "") {
  return page.evaluate(
    async ({ base, query }) => {
      const room = `${base}/rooms/lobby`;
      const trying = async (/** @type {() => Promise<string>} */ attempt) => {
        try {
          return await attempt();
        } catch (error) {
          return `${error instanceof Error ? error.name : error}`;
        }
      };
      /** @param {RequestInit} how */
      const post = (how) =>
        fetch(`${room}/messages${query}`, {
          method: "POST",
          credentials: "include",
          body: JSON.stringify({ content: `from ${location.origin}` }),
          ...how,
        });
      return {
        socket: await trying(
          () =>
            new Promise((resolve) => {
              const socket = new WebSocket(`${room.replace("http", "ws")}/ws${query}`);
              socket.onmessage = ({ data }) => {
                resolve(JSON.parse(data).type);
                socket.close();
              };
              socket.onclose = ({ code }) => resolve(`closed ${code}`);
            }),
        ),
        events: await trying(
          () =>
            new Promise((resolve) => {
              const events = new EventSource(`${room}/events${query}`, { withCredentials: true });
              events.onmessage = ({ data }) => {
                resolve(JSON.parse(data).type);
                events.close();
              };
              events.onerror = () => {
                resolve("error");
                events.close();
              };
            }),
        ),
        history: await trying(async () => {
          const response = await fetch(`${room}/messages${query}`, { credentials: "include" });
          return Array.isArray((await response.json()).messages) ? "messages" : `HTTP ${response.status}`;
        }),
        post: await trying(async () => `HTTP ${(await post({})).status}`),
        // Any form can do this: the page cannot read the answer, but the message may be stored.
        blind: await trying(async () => (await post({ mode: "no-cors" })).type),
        ticket: await trying(async () => {
          const response = await fetch(`${base}/tickets`, { method: "POST", credentials: "include" });
          return response.ok ? "ticket" : `HTTP ${response.status}`;
        }),
      };
    },
    { base, query },
  );
}

beforeAll(async () => {
  browser = await launch([
    // All of them are this machine.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
    // Chromium itself blocks some of these. Other browsers and older versions do not.
    "--disable-features=LocalNetworkAccessChecks",
  ]);
});

afterAll(async () => {
  await browser?.close();
  for (const http of sites) http.close();
});

afterEach(async () => {
  await context?.close();
  context = undefined;
});

describe("a server with tokens and cookies", () => {
  /** @type {Server} */
  let server;
  let allowed = 0;
  let evil = 0;

  beforeAll(async () => {
    [allowed, evil] = await Promise.all([site(), site()]);
    const origins = `["http://app.dorm.example:${allowed}", "http://127.0.0.1:${allowed}"]`;
    server = await Server.start(
      `[identity]\nauth = "jwt"\naccess = "open"\nallowed_origins = ${origins}\n` +
        'keys = [{ algorithm = "HS256", file = "secret" }]\n',
    );
  });

  afterAll(async () => {
    await server?.dispose();
  });

  /**
   * A user whose browser has a cookie for the server by this name. It sends the cookie for pages of the same site,
   * which includes sibling hosts and other ports.
   *
   * @param {string} name
   */
  async function victim(name) {
    context = await browser.newContext();
    const cookie = { name: "dormouse_token", value: tokenFor("ana"), domain: name, path: "/", httpOnly: true };
    await context.addCookies([{ ...cookie, sameSite: "Lax" }]);
    return context.newPage();
  }

  /** @param {string} name */
  const baseAt = (name) => `http://${name}:${new URL(server.url).port}/api/realtime`;

  async function stored() {
    const response = await fetch(`${server.url}/api/realtime/rooms/lobby/messages`, {
      headers: { Authorization: `Bearer ${tokenFor("observer")}` },
    });
    const { messages } = /** @type {{ messages: { content: string }[] }} */ (await response.json());
    return messages.map(({ content }) => content);
  }

  test.each([
    ["another port", "127.0.0.1", "127.0.0.1"],
    ["another name", "rooms.dorm.example", "app.dorm.example"],
  ])("a page at %s that is allowed gets everything", async (_, name, page) => {
    const ana = await victim(name);
    const before = await stored();
    await ana.goto(`http://${page}:${allowed}/`);
    expect(await tryEverything(ana, baseAt(name))).toEqual({
      socket: "history",
      events: "history",
      history: "messages",
      post: "HTTP 200",
      blind: "opaque",
      ticket: "ticket",
    });
    const own = `from http://${page}:${allowed}`;
    expect(await stored()).toEqual([...before, own, own]);
  });

  test.each([
    ["another port", "127.0.0.1", "127.0.0.1"],
    ["another port of a name", "rooms.dorm.example", "rooms.dorm.example"],
    ["a sibling's name", "rooms.dorm.example", "evil.dorm.example"],
    ["an allowed name and another port", "rooms.dorm.example", "app.dorm.example"],
    ["another name of this machine", "127.0.0.1", "localhost"],
    ["another site", "rooms.dorm.example", "evil.example"],
  ])("a page at %s that is not allowed gets and posts nothing", async (_, name, page) => {
    const ana = await victim(name);
    const before = await stored();
    await ana.goto(`http://${page}:${evil}/`);
    expect(await tryEverything(ana, baseAt(name))).toEqual({
      socket: "closed 1006",
      events: "error",
      history: "TypeError",
      post: "TypeError",
      blind: "opaque",
      ticket: "TypeError",
    });
    expect(await stored()).toEqual(before);
  });

  test("a page with an opaque origin in an allowed page gets nothing", async () => {
    const page = await victim("127.0.0.1");
    const before = await stored();
    await page.goto(`http://127.0.0.1:${allowed}/`);
    await page.setContent('<iframe sandbox="allow-scripts" srcdoc="<title>A frame</title>"></iframe>');
    const frame = page.frames()[1];
    if (!frame) throw new Error("there is no frame");
    expect(await frame.evaluate(() => self.origin)).toBe("null");
    const loot = await tryEverything(/** @type {any} */ (frame), baseAt("127.0.0.1"));
    expect(loot).toMatchObject({ socket: "closed 1006", events: "error", history: "TypeError", post: "TypeError" });
    expect(await stored()).toEqual(before);
  });
});

describe("a server in dev auth", () => {
  /** @type {Server} */
  let server;

  beforeAll(async () => {
    server = await Server.start();
  });

  afterAll(async () => {
    await server?.dispose();
  });

  async function stored() {
    const response = await fetch(`${server.url}/api/realtime/rooms/lobby/messages?token=observer`);
    const { messages } = /** @type {{ messages: { content: string }[] }} */ (await response.json());
    return messages.map(({ content }) => content);
  }

  test("a page with a rebound DNS name gets nothing", async () => {
    context = await browser.newContext();
    const page = await context.newPage();
    const { port } = new URL(server.url);
    const own = `http://evil.example:${port}`;
    // The page came from its own machine. From now on its name resolves to this one.
    await page.route(`${own}/page`, (route) =>
      route.fulfill({ contentType: "text/html", body: "<title>Evil</title>" }),
    );
    await page.goto(`${own}/page`);
    expect(await tryEverything(page, `${own}/api/realtime`, "?token=1:ana")).toEqual({
      socket: "closed 1006",
      events: "error",
      history: "HTTP 421",
      post: "HTTP 421",
      blind: "basic",
      ticket: "HTTP 421",
    });
    expect(await stored()).toEqual([]);
  });

  test("only pages of this machine can read and post", async () => {
    context = await browser.newContext();
    const page = await context.newPage();
    const port = await site();
    await page.goto(`http://evil.example:${port}/`);
    const base = `${server.url}/api/realtime`;
    expect(await tryEverything(page, base, "?token=1:ana")).toMatchObject({
      socket: "closed 1006",
      history: "TypeError",
    });
    expect(await stored()).toEqual([]);
    await page.goto(`http://localhost:${port}/`);
    const loot = await tryEverything(page, base, "?token=1:ana");
    expect(loot).toMatchObject({ socket: "history", events: "history", history: "messages", post: "HTTP 200" });
    expect(await stored()).toEqual([`from http://localhost:${port}`, `from http://localhost:${port}`]);
  });
});
