// @ts-check
import { describe, expect, test } from "vitest";
import { enter, history, knock, live, message } from "./chat-helpers.js";
import { eventsOf, pass, useFakeTime } from "./helpers.js";

useFakeTime();

/** @param {string} name */
const typing = (name) => ({ type: "typing", userId: name.toLowerCase(), userName: name });

/** @param {import("../../src/chat.js").Chat} chat */
const names = (chat) => chat.typing.map(({ userName }) => userName);

describe("typing notices of others", () => {
  test("are shown in order of their start, for three seconds", async () => {
    const { chat, network } = await enter();
    network.last.say(typing("Bo"));
    await pass(1_000);
    network.last.say(typing("Cy"));
    expect(names(chat)).toEqual(["Bo", "Cy"]);
    await pass(1_999);
    expect(names(chat)).toEqual(["Bo", "Cy"]);
    await pass(1);
    expect(names(chat)).toEqual(["Cy"]);
    await pass(1_000);
    expect(names(chat)).toEqual([]);
  });

  test("are extended by each new notice, and keep their place", async () => {
    const { chat, network } = await enter();
    network.last.say(typing("Bo"));
    network.last.say(typing("Cy"));
    await pass(2_000);
    network.last.say(typing("Bo"));
    expect(names(chat)).toEqual(["Bo", "Cy"]);
    await pass(2_999);
    expect(names(chat)).toEqual(["Bo"]);
  });

  test("are emitted when the list changes, not with every notice", async () => {
    const { chat, network } = await enter();
    const changes = eventsOf(chat, "typing");
    network.last.say(typing("Bo"));
    const before = chat.typing;
    network.last.say(typing("Bo"));
    expect(changes).toHaveLength(1);
    expect(chat.typing).toBe(before);
    network.last.say({ ...typing("Bo"), userName: "Bo Li" });
    expect(changes).toHaveLength(2);
    expect(names(chat)).toEqual(["Bo Li"]);
    await pass(3_000);
    expect(changes).toHaveLength(3);
    await pass(10_000);
    expect(changes).toHaveLength(3);
  });

  test("end with a message of the user, or when the user leaves", async () => {
    const { chat, network } = await enter();
    network.last.say(typing("Bo"));
    network.last.say(typing("Cy"));
    network.last.say(live(message(1)));
    expect(names(chat)).toEqual(["Cy"]);
    network.last.say({ type: "user_left", userId: "cy", userName: "Cy", timestamp: 1 });
    expect(names(chat)).toEqual([]);
  });

  test("start again for three seconds after a message", async () => {
    const { chat, network } = await enter();
    network.last.say(typing("Bo"));
    await pass(1_000);
    network.last.say(live(message(1)));
    await pass(1_000);
    network.last.say(typing("Bo"));
    await pass(2_999);
    expect(names(chat)).toEqual(["Bo"]);
    await pass(1);
    expect(names(chat)).toEqual([]);
  });

  test("are cleared while there is no connection", async () => {
    const { chat, network } = await enter();
    network.last.say(typing("Bo"));
    network.last.say(typing("Cy"));
    network.last.drop();
    expect(names(chat)).toEqual([]);
  });
});

describe("our own typing notice", () => {
  test("is sent at the first key, and then at most every two seconds", async () => {
    const { chat, network } = await enter();
    chat.notifyTyping();
    expect(network.last.frames).toEqual([{ type: "typing" }]);
    await pass(1_999);
    chat.notifyTyping();
    expect(network.last.frames).toHaveLength(1);
    await pass(1);
    chat.notifyTyping();
    chat.notifyTyping();
    expect(network.last.frames).toHaveLength(2);
  });

  test("is sent at the first key after a message", async () => {
    const { chat, network } = await enter();
    chat.notifyTyping();
    void chat.send("hello");
    chat.notifyTyping();
    expect(network.last.frames.map(({ type }) => type)).toEqual(["typing", "message", "typing"]);
  });

  test("is not queued for a later connection", async () => {
    const { chat, network, lose, greet } = await knock();
    chat.notifyTyping();
    greet();
    await lose();
    chat.notifyTyping();
    greet(history([], true));
    expect(network.sockets.flatMap(({ sent }) => sent)).toEqual([]);
    chat.notifyTyping();
    expect(network.last.frames).toEqual([{ type: "typing" }]);
  });
});
