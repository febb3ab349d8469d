// @ts-check
import { describe, expect, test } from "vitest";
import { SendQueue, sizeOf } from "../../src/send-queue.js";
import { pass, useFakeTime } from "./helpers.js";
import { connected, connecting } from "./room-socket-helpers.js";

useFakeTime();

const MIB = 1024 * 1024;

/**
 * @param {SendQueue} queue
 * @param {...string} all
 */
const pushAll = (queue, ...all) => all.map((data) => queue.push(data));

describe("the queue", () => {
  test("keeps the order and is empty after it was drained", () => {
    const queue = new SendQueue({ count: 10, bytes: 100 }, "refuse-newest");
    pushAll(queue, "a", "b", "c");
    expect(queue.bytes).toBe(3);
    expect(queue.drain()).toEqual(["a", "b", "c"]);
    expect(queue.drain()).toEqual([]);
    expect(queue.bytes).toBe(0);
  });

  test("refuses the newest beyond its count", () => {
    const queue = new SendQueue({ count: 2, bytes: 100 }, "refuse-newest");
    expect(pushAll(queue, "a", "b", "c")).toEqual([true, true, false]);
    expect(queue.drain()).toEqual(["a", "b"]);
  });

  test("refuses the newest beyond its bytes, and takes a smaller one", () => {
    const queue = new SendQueue({ count: 10, bytes: 5 }, "refuse-newest");
    expect(pushAll(queue, "aaa", "bbb", "cc", "d")).toEqual([true, false, true, false]);
    expect(queue.drain()).toEqual(["aaa", "cc"]);
  });

  test("drops the oldest beyond its count", () => {
    const queue = new SendQueue({ count: 2, bytes: 100 }, "drop-oldest");
    expect(pushAll(queue, "a", "b", "c")).toEqual([true, true, true]);
    expect(queue.drain()).toEqual(["b", "c"]);
  });

  test("drops as many of the oldest as the newest needs", () => {
    const queue = new SendQueue({ count: 10, bytes: 5 }, "drop-oldest");
    pushAll(queue, "aa", "b", "cc", "dddd");
    expect(queue.bytes).toBe(4);
    expect(queue.drain()).toEqual(["dddd"]);
  });

  test.each(/** @type {const} */ (["refuse-newest", "drop-oldest"]))(
    "with %s, drops nothing for what can never fit",
    (policy) => {
      const queue = new SendQueue({ count: 10, bytes: 5 }, policy);
      expect(pushAll(queue, "aaa", "bbbbbb")).toEqual([true, false]);
      expect(queue.drain()).toEqual(["aaa"]);
    },
  );

  test.each(/** @type {const} */ (["refuse-newest", "drop-oldest"]))(
    "with %s and room for none, takes nothing",
    (policy) => {
      expect(new SendQueue({ count: 0, bytes: 100 }, policy).push("a")).toBe(false);
    },
  );

  test.each(/** @type {const} */ (["refuse-newest", "drop-oldest"]))(
    "with %s and room for just one, takes it",
    (policy) => {
      expect(new SendQueue({ count: 1, bytes: 5 }, policy).push("aaaaa")).toBe(true);
    },
  );

  test("counts bytes as they go on the wire", () => {
    expect(sizeOf("aé名😀")).toBe(10);
    expect(sizeOf(new ArrayBuffer(7))).toBe(7);
    const queue = new SendQueue({ count: 10, bytes: 5 }, "refuse-newest");
    expect(pushAll(queue, "名", "名")).toEqual([true, false]);
  });
});

describe("a room socket", () => {
  test("refuses messages while it is closed", async () => {
    const { room, network } = await connected();
    network.last.bufferedAmount = 7;
    room.close();
    expect(room.send("lost")).toBe("rejected");
    expect(room.bufferedAmount).toBe(0);
    room.open();
    await pass(0);
    network.last.accept();
    expect(network.last.sent).toEqual([]);
  });

  test("queues messages while it connects, and keeps their order", async () => {
    const { room, network } = await connecting();
    expect(room.send("one")).toBe("queued");
    network.last.drop();
    expect(room.send("two")).toBe("queued");
    expect(room.bufferedAmount).toBe(6);
    await pass(500);
    network.last.accept();
    expect(room.send("three")).toBe("sent");
    expect(network.last.sent).toEqual(["one", "two", "three"]);
    expect(room.bufferedAmount).toBe(0);
  });

  test("sends queued messages before those of an open listener", async () => {
    const { room, network } = await connecting();
    room.on("state", ({ state }) => state === "open" && room.send("by the listener"));
    room.send("waited");
    network.last.accept();
    expect(network.last.sent).toEqual(["waited", "by the listener"]);
  });

  test("sends nothing twice", async () => {
    const { room, network } = await connecting();
    room.send("once");
    network.last.accept();
    network.last.drop();
    await pass(500);
    network.last.accept();
    expect(network.sockets.map(({ sent }) => sent)).toEqual([["once"], []]);
  });

  test("keeps a hundred at most by default", async () => {
    const { room, network } = await connecting();
    const fates = Array.from({ length: 101 }, (_, index) => room.send(String(index)));
    expect(fates.slice(98)).toEqual(["queued", "queued", "rejected"]);
    network.last.accept();
    expect(network.last.sent).toHaveLength(100);
    expect(network.last.sent[0]).toBe("0");
  });

  test("keeps as many as configured, or drops the oldest", async () => {
    const { room, network } = await connecting({ queueLimit: 2, queuePolicy: "drop-oldest" });
    expect(["a", "b", "c"].map((data) => room.send(data))).toEqual(["queued", "queued", "queued"]);
    network.last.accept();
    expect(network.last.sent).toEqual(["b", "c"]);
  });

  test("keeps 1 MiB at most", async () => {
    const { room } = await connecting();
    expect(room.send("x".repeat(MIB - 1))).toBe("queued");
    expect(room.send("xx")).toBe("rejected");
    expect(room.send("x")).toBe("queued");
    expect(room.bufferedAmount).toBe(MIB);
  });

  test("drops what waited when it is closed or refused", async () => {
    const { room, network } = await connecting();
    room.send("lost");
    room.close();
    expect(room.bufferedAmount).toBe(0);
    room.open();
    await pass(0);
    room.send("lost");
    network.last.drop(4403);
    room.open();
    await pass(0);
    network.last.accept();
    expect(network.last.sent).toEqual([]);
  });

  test("refuses more than 1 MiB that the browser has not sent yet", async () => {
    const { room, network } = await connected();
    network.last.bufferedAmount = MIB - 2;
    expect(room.bufferedAmount).toBe(MIB - 2);
    expect(room.send("xx")).toBe("sent");
    expect(room.send("xxx")).toBe("rejected");
    network.last.bufferedAmount = MIB + 1;
    expect(room.send("")).toBe("rejected");
    network.last.bufferedAmount = 0;
    expect(room.send("xxx")).toBe("sent");
    expect(network.last.sent).toEqual(["xx", "xxx"]);
    network.last.bufferedAmount = 1;
    expect(room.send("x".repeat(MIB))).toBe("rejected");
  });

  test("takes one large message where nothing waits", async () => {
    const { room, network } = await connected();
    expect(room.send(new ArrayBuffer(2 * MIB))).toBe("sent");
    expect(network.last.sent).toHaveLength(1);
  });
});
