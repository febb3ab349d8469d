// @ts-check
import { describe, expect, test } from "vitest";
import { may, without } from "../../src/permissions.js";
import { Presence } from "../../src/presence.js";
import { codeOf, enter, history, message } from "./chat-helpers.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/** @param {...string} permissions */
const permissionsFrame = (...permissions) => ({ type: "permissions", permissions });

describe("permissions", () => {
  test("that the server does not send are those of an open room", () => {
    const all = /** @type {const} */ (["read", "write", "presence", "moderate", "admin"]);
    expect(all.filter((some) => may(undefined, some))).toEqual(["read", "write", "presence"]);
    expect(without(undefined, "write")).toEqual(["read", "presence"]);
    expect(without(["read"], "write")).toEqual(["read"]);
  });
});

describe("a chat", () => {
  test("of a user who may only read sends nothing", async () => {
    const { chat, network } = await enter([message(1)]);
    expect([chat.permissions, chat.canWrite]).toEqual([undefined, true]);
    const changes = eventsOf(chat, "permissions");
    network.last.say(permissionsFrame("read", "moderate"));
    expect([chat.permissions, chat.canWrite]).toEqual([["read", "moderate"], false]);
    expect(changes).toHaveLength(1);
    const before = network.last.frames.length;
    expect(await codeOf(chat.send("hello"))).toBe("read-only");
    chat.notifyTyping();
    expect(chat.pending).toEqual([]);
    expect(network.last.frames).toHaveLength(before);
    network.last.say(permissionsFrame("read", "write"));
    void chat.send("hello");
    expect(network.last.frames).toHaveLength(before + 1);
  });

  test("learns from a refusal that it may not write", async () => {
    const { chat, network } = await enter();
    const sent = codeOf(chat.send("hello"));
    const clientId = chat.pending[0]?.clientId;
    network.last.say({ type: "error", code: "forbidden", message: "no", clientId });
    expect(await sent).toBe("forbidden");
    expect(chat.canWrite).toBe(false);
  });

  test("forgets the permissions of the connection before", async () => {
    const { chat, network, lose, greet } = await enter();
    network.last.say(permissionsFrame("read"));
    await lose();
    greet(history([]));
    expect(chat.permissions).toBeUndefined();
  });
});

describe("presence", () => {
  test("of a user who may not be listed sends nothing", async () => {
    const network = fakeNetwork();
    const baseUrl = "https://rooms.example/api/realtime";
    const credentials = () => ({ devToken: "ana:Ana" });
    const presence = new Presence({ baseUrl, credentials, WebSocket: network.WebSocket });
    presence.open();
    await pass(0);
    network.last.accept();
    network.last.say({ type: "presence_list", users: [] });
    network.last.say(permissionsFrame("read"));
    expect(presence.permissions).toEqual(["read"]);
    const before = network.last.frames.length;
    presence.setStatus("busy");
    await pass(25_000);
    expect(network.last.frames.slice(before)).toEqual([]);
    presence.close();
  });
});
