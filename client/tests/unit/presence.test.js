// @ts-check
import { describe, expect, test, vi } from "vitest";
import { Presence, STATUSES } from "../../src/presence.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, fakeFetch, jwt, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/**
 * @param {string} name
 * @param {import("../../src/protocol.js").Status} [status]
 */
const user = (name, status = "online") => ({ userId: name.toLowerCase(), userName: name, status, lastSeen: 1_000 });

/** @param {...import("../../src/protocol.js").UserPresence} users */
const list = (...users) => ({ type: "presence_list", users });

/** @param {import("../../src/protocol.js").UserPresence} changed */
const update = (changed) => ({ type: "presence_update", user: changed });

/** @param {string} userId */
const remove = (userId) => ({ type: "presence_remove", userId });

/** @param {Partial<import("../../src/presence.js").PresenceOptions>} [options] */
async function arrive(options) {
  const network = fakeNetwork();
  const presence = new Presence({
    baseUrl: "https://rooms.example/api/realtime",
    credentials: () => ({ devToken: "ana:Ana" }),
    WebSocket: network.WebSocket,
    ...options,
  });
  const changes = eventsOf(presence, "users");
  presence.open();
  await pass(0);
  network.last.accept();
  return {
    presence,
    network,
    changes,
    async comeBack() {
      network.last.drop(1001, "retry-after=1");
      await pass(1_000);
      network.last.accept();
    },
  };
}

/** @param {Presence} presence */
const names = (presence) => presence.users.map(({ userName }) => userName);

describe("the users", () => {
  test("are listed by name", async () => {
    const { presence, network, changes } = await arrive();
    expect(presence.users).toEqual([]);
    network.last.say(list(user("Zoë"), user("Ana"), user("bo"), user("Émile")));
    expect(names(presence)).toEqual(["Ana", "bo", "Émile", "Zoë"]);
    expect(changes).toHaveLength(1);
  });

  test("have a fixed order if their names are the same", async () => {
    const [one, two] = [
      { ...user("Ana"), userId: "1" },
      { ...user("Ana"), userId: "2" },
    ];
    for (const users of [
      [one, two],
      [two, one],
    ]) {
      const { presence, network } = await arrive();
      network.last.say(list(...users));
      expect(presence.users).toEqual([one, two]);
    }
  });

  test("changes as users come, change and go", async () => {
    const { presence, network, changes } = await arrive();
    network.last.say(list(user("Ana")));
    network.last.say(update(user("Bo")));
    expect(names(presence)).toEqual(["Ana", "Bo"]);
    network.last.say(update(user("Bo", "busy")));
    expect(presence.users[1]?.status).toBe("busy");
    network.last.say(remove("bo"));
    expect(names(presence)).toEqual(["Ana"]);
    expect(changes).toHaveLength(4);
  });

  test("is the same array until it changes", async () => {
    const { presence, network } = await arrive();
    network.last.say(list(user("Ana")));
    const before = presence.users;
    network.last.say({ type: "unknown" });
    network.last.say({ type: "another" });
    expect(presence.users).toBe(before);
    expect(Object.isFrozen(before)).toBe(true);
    network.last.say(update(user("Bo")));
    expect(presence.users).not.toBe(before);
  });

  test("stay as last received until the next list", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana"), user("Bo")));
    await comeBack();
    expect(names(presence)).toEqual(["Ana", "Bo"]);
    network.last.say(list(user("Ana"), user("Cy")));
    expect(names(presence)).toEqual(["Ana", "Cy"]);
  });

  test("comes from the global room or from the named one", async () => {
    expect((await arrive()).network.last.url).toBe("wss://rooms.example/api/realtime/presence/ws?token=ana%3AAna");
    expect(new URL((await arrive({ scope: "team 1" })).network.last.url).pathname).toBe(
      "/api/realtime/presence/team%201/ws",
    );
  });
});

describe("a list that is too long for one frame", () => {
  const BASE = "https://rooms.example/api/realtime";

  test("is whole where it says nothing else", async () => {
    const { presence, network } = await arrive();
    expect(presence.isWhole).toBe(false);
    network.last.say(list(user("Ana")));
    expect(presence.isWhole).toBe(true);
  });

  test("is loaded page by page", async () => {
    const pages = [
      { users: [user("Bo"), user("Cy")], next: "cy" },
      { users: [user("Dé")], next: "d/é" },
      { users: [user("Eve"), user("Ana", "busy")] },
    ];
    const asked = fakeFetch(() => Response.json(pages[asked.mock.calls.length - 1]));
    const { presence, network, changes } = await arrive();
    network.last.say({ ...list(user("Ana")), next: "ana&" });
    expect(presence.isWhole).toBe(false);
    for (const _ of pages) await pass(0);
    expect(asked.mock.calls.map(([url]) => url)).toEqual(
      ["ana%26", "cy", "d%2F%C3%A9"].map((after) => `${BASE}/presence/list?after=${after}`),
    );
    expect(names(presence)).toEqual(["Ana", "Bo", "Cy", "Dé", "Eve"]);
    expect(presence.users[0]?.status).toBe("online");
    expect(presence.isWhole).toBe(true);
    expect(changes).toHaveLength(4);
  });

  test("is not made older by a page that was on its way", async () => {
    /** @type {(response: Response) => void} */
    let answer = () => {};
    fakeFetch(() => new Promise((resolve) => (answer = resolve)));
    const { presence, network } = await arrive();
    network.last.say({ ...list(user("Ana")), next: "ana" });
    await pass(0);
    for (const frame of [update(user("Bo", "away")), remove("cy"), remove("dan"), update(user("Dan", "busy"))]) {
      network.last.say(frame);
    }
    answer(Response.json({ users: [user("Bo"), user("Cy"), user("Dan"), user("Eve")] }));
    await pass(0);
    expect(presence.users.map(({ userName, status }) => `${userName} ${status}`)).toEqual([
      "Ana online",
      "Bo away",
      "Dan busy",
      "Eve online",
    ]);
  });

  test("is requested again with the next heartbeat after an error", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const answers = [new Response("", { status: 503 }), Response.json({ users: [user("Bo")] })];
    const asked = fakeFetch(() => /** @type {Response} */ (answers.shift()));
    const { presence, network } = await arrive();
    network.last.say({ ...list(user("Ana")), next: "ana" });
    await pass(0);
    expect(console.error).toHaveBeenCalledOnce();
    expect(presence).toMatchObject({ isWhole: false, state: "open" });
    await pass(10_000);
    network.last.say({ type: "pong" });
    await pass(10_000);
    expect(names(presence)).toEqual(["Ana", "Bo"]);
    expect(presence.isWhole).toBe(true);
    expect(asked).toHaveBeenCalledTimes(2);
  });

  test("ends at a page that the server sends twice", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const asked = fakeFetch(() => Response.json({ users: [user("Bo")], next: "bo" }));
    const { presence, network } = await arrive();
    network.last.say({ ...list(user("Ana")), next: "ana" });
    await pass(0);
    expect(asked).toHaveBeenCalledTimes(2);
    expect(presence.isWhole).toBe(false);
  });

  test("is a new one after a reconnect: a late page is dropped", async () => {
    /** @type {(response: Response) => void} */
    let answer = () => {};
    fakeFetch(() => new Promise((resolve) => (answer = resolve)));
    const { presence, network, comeBack } = await arrive();
    network.last.say({ ...list(user("Ana")), next: "ana" });
    await pass(0);
    await comeBack();
    network.last.say(list(user("Ana"), user("Cy")));
    answer(Response.json({ users: [user("Bo")] }));
    await pass(0);
    expect(names(presence)).toEqual(["Ana", "Cy"]);
    expect(presence.isWhole).toBe(true);
  });
});

describe("our own user", () => {
  test("is learned from the credentials, unless it is given", async () => {
    expect((await arrive()).presence.userId).toBe("ana");
    expect((await arrive({ credentials: () => ({ token: jwt({ sub: "zoë" }) }) })).presence.userId).toBe("zoë");
    expect((await arrive({ userId: "given" })).presence.userId).toBe("given");
    expect((await arrive({ credentials: undefined })).presence.userId).toBeUndefined();
  });
});

describe("our own status", () => {
  test("is online by default, or what the server remembers", async () => {
    const { presence, network } = await arrive();
    expect(presence.status).toBe("online");
    network.last.say(list(user("Ana", "away")));
    expect(presence.status).toBe("away");
    expect(network.last.frames).toEqual([]);
  });

  test("is one of three", () => {
    expect(STATUSES).toEqual(["online", "away", "busy"]);
    expect(Object.isFrozen(STATUSES)).toBe(true);
  });

  test("is sent and shown at once when it is chosen", async () => {
    const { presence, network, changes } = await arrive();
    network.last.say(list(user("Ana"), user("Bo")));
    presence.setStatus("busy");
    expect(network.last.frames).toEqual([{ type: "status", status: "busy" }]);
    expect(presence.status).toBe("busy");
    expect(presence.users).toMatchObject([
      { userName: "Ana", status: "busy" },
      { userName: "Bo", status: "online" },
    ]);
    expect(changes).toHaveLength(2);
  });

  test("chosen without a connection is sent with the next list, once", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana")));
    network.last.drop();
    presence.setStatus("away");
    expect(presence.status).toBe("away");
    await comeBack();
    await pass(0);
    expect(network.last.sent).toEqual([]);
    network.last.say(list(user("Ana")));
    expect(network.last.frames).toEqual([{ type: "status", status: "away" }]);
  });

  test("from the options is sent if the server has another", async () => {
    const { network } = await arrive({ status: "busy" });
    network.last.say(list(user("Ana")));
    expect(network.last.frames).toEqual([{ type: "status", status: "busy" }]);
  });

  test("that was not acknowledged is sent again after a reconnect", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana")));
    presence.setStatus("busy");
    await comeBack();
    network.last.say(list(user("Ana"), user("Bo")));
    expect(network.last.frames).toEqual([{ type: "status", status: "busy" }]);
    expect(presence.status).toBe("busy");
  });

  test("that the list shows is acknowledged by it", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana")));
    presence.setStatus("busy");
    await comeBack();
    network.last.say(list(user("Ana", "busy")));
    expect(network.last.frames).toEqual([]);
    await comeBack();
    network.last.say(list(user("Ana", "away")));
    expect(network.last.frames).toEqual([]);
    expect(presence.status).toBe("away");
  });

  test("that was acknowledged does not undo one of another tab", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana")));
    presence.setStatus("busy");
    network.last.say(update(user("Ana", "busy")));
    for (let times = 0; times < 3; times += 1) {
      await comeBack();
      network.last.say(list(user("Ana", "away")));
      await pass(20_000);
      expect(network.last.frames).toEqual([{ type: "heartbeat" }]);
      expect(presence.status).toBe("away");
    }
  });

  test("is not undone by an update about another tab", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana")));
    presence.setStatus("busy");
    network.last.say(update({ ...user("Ana"), connections: 2 }));
    expect(presence.status).toBe("busy");
    expect(presence.users).toMatchObject([{ status: "busy", connections: 2 }]);
    await comeBack();
    network.last.say(list({ ...user("Ana"), connections: 2 }));
    expect(network.last.frames).toEqual([{ type: "status", status: "busy" }]);
    network.last.say(update({ ...user("Ana", "busy"), connections: 2 }));
    network.last.say(update(user("Ana", "busy")));
    await comeBack();
    network.last.say(list(user("Ana", "away")));
    expect(network.last.frames).toEqual([]);
  });

  test("gives way to a newer one of another tab", async () => {
    const { presence, network, comeBack } = await arrive();
    network.last.say(list(user("Ana")));
    presence.setStatus("busy");
    network.last.say(update(user("Ana", "away")));
    expect(presence.status).toBe("away");
    await comeBack();
    network.last.say(list(user("Ana")));
    expect(network.last.frames).toEqual([]);
    expect(presence.status).toBe("online");
  });

  test("from the options does not undo that of another open tab", async () => {
    const { presence, network, comeBack } = await arrive({ status: "busy" });
    network.last.say(list({ ...user("Ana", "away"), connections: 2 }));
    expect(network.last.frames).toEqual([]);
    expect(presence.status).toBe("away");
    await comeBack();
    network.last.say(list(user("Ana")));
    expect(network.last.frames).toEqual([]);
  });

  test("is acknowledged by its echo if our own user is unknown", async () => {
    const { presence, network, comeBack } = await arrive({ credentials: undefined });
    network.last.say(list(user("Ana")));
    presence.setStatus("busy");
    network.last.say(update(user("Ana", "busy")));
    expect(presence.status).toBe("busy");
    await comeBack();
    network.last.say(list(user("Ana", "away")));
    expect(network.last.frames).toEqual([]);
  });

  test("does not follow the choice of other users", async () => {
    const { presence, network } = await arrive();
    network.last.say(list(user("Ana"), user("Bo")));
    presence.setStatus("busy");
    network.last.say(update(user("Bo", "away")));
    expect(presence.status).toBe("busy");
  });

  test("that the server refuses is reported", async () => {
    const { presence, network } = await arrive();
    const errors = eventsOf(presence, "error");
    network.last.say({ type: "error", code: "bad-status", message: "no such status" });
    expect(errors).toMatchObject([{ code: "bad-status" }]);
  });
});

describe("the heartbeat", () => {
  test("is sent every twenty seconds while there is a connection", async () => {
    const { network } = await arrive();
    network.last.say(list(user("Ana")));
    for (let beats = 1; beats <= 3; beats += 1) {
      await pass(19_999);
      network.last.say({ type: "alive" });
      await pass(1);
      expect(network.last.frames).toHaveLength(beats);
    }
    expect(network.last.frames[0]).toEqual({ type: "heartbeat" });
  });

  test("is not sent without a connection, nor later", async () => {
    const { network } = await arrive();
    network.last.drop(1013, "retry-after=100");
    await pass(100_000);
    network.last.accept();
    expect(network.last.sent).toEqual([]);
  });

  test("is sent once for each connection", async () => {
    const { network, comeBack } = await arrive();
    await comeBack();
    await comeBack();
    network.last.say(list(user("Ana")));
    await pass(20_000);
    expect(network.last.frames).toEqual([{ type: "heartbeat" }]);
  });

  test("ends with the presence", async () => {
    const { presence } = await arrive();
    presence.close();
    await pass(10);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a server that removes our user by mistake", () => {
  test("is corrected by a new connection, and the user stays listed", async () => {
    const { presence, network, changes } = await arrive();
    network.last.say(list(user("Ana"), user("Bo")));
    network.last.say(remove("ana"));
    expect(presence.state).toBe("connecting");
    expect(names(presence)).toEqual(["Ana", "Bo"]);
    expect(changes).toHaveLength(1);
    await pass(0);
    expect(network.sockets).toHaveLength(2);
  });

  test("is corrected at most once a minute, and obeyed in between", async () => {
    const { presence, network } = await arrive();
    network.last.say(list(user("Ana")));
    network.last.say(remove("ana"));
    await pass(0);
    network.last.accept();
    network.last.say(list(user("Ana")));
    await pass(20_000);
    network.last.say({ type: "alive" });
    await pass(20_000);
    network.last.say({ type: "alive" });
    await pass(19_999);
    network.last.say(remove("ana"));
    expect(network.sockets).toHaveLength(2);
    expect(presence.state).toBe("open");
    expect(names(presence)).toEqual([]);
    await pass(1);
    network.last.say(remove("ana"));
    await pass(0);
    expect(network.sockets).toHaveLength(3);
  });

  test("is obeyed for other users", async () => {
    const { presence, network } = await arrive();
    network.last.say(list(user("Ana"), user("Bo")));
    network.last.say(remove("bo"));
    expect(presence.state).toBe("open");
    expect(names(presence)).toEqual(["Ana"]);
  });
});

describe("the connection", () => {
  test("emits the states of its socket", async () => {
    const { presence, network } = await arrive();
    const states = eventsOf(presence, "state");
    network.last.drop(1011, "failed");
    expect(states).toMatchObject([{ state: "waiting", close: { code: 1011 } }]);
    expect(presence.snapshot).toMatchObject({ state: "waiting", retryAt: Date.now() + 500 });
    presence.reconnect();
    expect(presence.state).toBe("connecting");
    presence.close();
    expect(presence.state).toBe("closed");
  });

  test("that is refused is explained by a request for the list", async () => {
    const fetch = fakeFetch(() => new Response("{}", { status: 403 }));
    const { presence, network } = await arrive({ scope: "team", timing: { firstBackoffMs: 10 } });
    network.last.drop();
    await pass(10);
    network.last.drop();
    await pass(0);
    expect(fetch.mock.calls[0]?.[0]).toBe("https://rooms.example/api/realtime/presence/team/list");
    expect(presence.snapshot).toMatchObject({ state: "closed", close: { code: 4403 } });
  });

  test("asks for fresh credentials where the last were refused", async () => {
    const credentials = vi.fn(() => ({ devToken: "ana:Ana" }));
    const { network } = await arrive({ credentials });
    network.last.drop(4401);
    await pass(0);
    expect(credentials).toHaveBeenLastCalledWith({ refused: true });
  });
});
