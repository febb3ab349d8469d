// @ts-check
/**
 * A random model of the network, other users and server restarts. At the end of each run the reader must see the room
 * as it is, and each of their own messages must be stored once or have failed as unsure.
 */

import { expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { BASE_URL } from "./chat-helpers.js";
import { FakeRoom } from "./fake-room.js";
import { fakeNetwork } from "./fake-socket.js";
import { pass, useFakeTime } from "./helpers.js";

useFakeTime();

const RUNS = 200;
const STEPS = 40;

test(
  "no message is lost unseen, doubled or reordered",
  { timeout: 180_000 }, // takes a second, and longer on a machine that is busy with a build
  async () => {
    const seen = { resyncs: 0, kept: 0, unsure: 0, older: 0 };
    for (let seed = 1; seed <= RUNS; seed += 1) {
      const life = new Life(seed);
      try {
        await life.run();
      } catch (error) {
        throw new Error(`with seed ${seed}, after ${life.steps.join(", ")}: ${error}`, { cause: error });
      } finally {
        life.end();
      }
      seen.resyncs += life.resyncs;
      seen.kept += life.kept.size;
      seen.unsure += life.failures.filter((code) => code === "unsure").length;
      seen.older += life.loaded;
    }
    // The random steps have reached the cases that this test is for.
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(20);
  },
);

/**
 * @param {number} seed
 * @returns {() => number} From 0 to 1, the same for the same seed.
 */
function chanceFrom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class Life {
  /** @type {string[]} */
  steps = [];
  /**
   * Stored messages by `clientId`, from the resolved promises.
   * @type {Map<string, import("../../src/protocol.js").ChatMessage>}
   */
  kept = new Map();
  /** @type {string[]} */
  failures = [];
  resyncs = 0;
  loaded = 0;
  #promised = 0;
  /** The first message that was shown since the last resync. @type {number | undefined} */
  #shownFrom;
  #room = new FakeRoom();
  #network = fakeNetwork();
  #chance;
  #chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", WebSocket: this.#network.WebSocket, pendingLimit: 1_000 });

  /** @param {number} seed */
  constructor(seed) {
    this.#chance = chanceFrom(seed);
    vi.mocked(Math.random).mockImplementation(this.#chance);
    vi.stubGlobal("fetch", async (/** @type {string} */ url) => ({
      ok: true,
      json: async () => this.#room.page(new URL(url)),
    }));
    this.#chat.on("resync", () => {
      this.resyncs += 1;
      this.#shownFrom = undefined;
    });
    this.#chat.on("messages", () => (this.#shownFrom ??= this.#chat.messages[0]?.seq));
  }

  async run() {
    this.#room.fate = () => this.#fate();
    this.#others(this.#upTo(80));
    this.#chat.open();
    for (let step = 0; step < STEPS; step += 1) {
      await this.#step();
      this.#expectNoGap();
    }
    await this.#calm();
    this.#expectAllIsWell();
  }

  /** No timer may survive into the next run. */
  end() {
    this.#chat.close();
    vi.clearAllTimers();
  }

  async #step() {
    const [name, step] = this.#pick(this.#possible());
    this.steps.push(name);
    await step();
    await pass(0);
  }

  /** @returns {[weight: number, name: string, step: () => unknown][]} */
  #possible() {
    const socket = this.#network.sockets.at(-1);
    const chat = this.#chat;
    return [
      [8, "send", () => this.#send()],
      [6, "others", () => this.#others(1 + this.#upTo(3))],
      [6, "wait", () => pass(this.#upTo(3_000))],
      [1, "wait long", () => pass(this.#upTo(60_000))],
      [0.5, "wait for minutes", () => pass(this.#upTo(15 * 60_000))],
      [socket?.readyState === 0 ? 20 : 0, "accept", () => socket && this.#room.join(socket)],
      [socket?.readyState === 0 ? 2 : 0, "refuse", () => socket?.drop()],
      [socket?.readyState === 0 ? 2 : 0, "break before the history", () => (socket?.accept(), socket?.drop())],
      [socket?.readyState === 1 ? 3 : 0, "break", () => socket?.drop()],
      [socket?.readyState === 1 ? 1 : 0, "restart", () => socket?.drop(1001, "retry-after=2")],
      [1, "restart and forget", () => ((this.#room.forgetsSeen = true), socket?.drop(1001, "retry-after=2"))],
      [1, "long outage", () => (socket?.drop(1013, "retry-after=660"), pass(660_000))],
      [0.3, "flood", () => this.#others(600)],
      [1, "reconnect", () => chat.reconnect()],
      [2, "retry", () => this.#retry()],
      [0.5, "leave and return", () => (chat.close(), chat.open())],
      [2, "load older", async () => (this.loaded += await chat.loadOlder())],
    ];
  }

  /**
   * @param {[weight: number, name: string, step: () => unknown][]} choices
   * @returns {[name: string, step: () => unknown]}
   */
  #pick(choices) {
    let left = this.#chance() * choices.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, name, step] of choices) {
      left -= weight;
      if (left < 0) return [name, step];
    }
    throw new Error("there is always a choice");
  }

  /** @param {number} bound */
  #upTo(bound) {
    return Math.floor(this.#chance() * bound);
  }

  #fate() {
    const chance = this.#chance();
    if (chance < 0.1) return "lost";
    if (chance < 0.2) return "unanswered";
    return chance < 0.25 ? "late" : "stored";
  }

  #send() {
    this.#watch(this.#chat.send(`own ${this.#promised}`));
  }

  #retry() {
    // Later the server has forgotten the clientId, so a retry may be stored twice.
    const isRecent = (/** @type {{ createdAt: number }} */ { createdAt }) => Date.now() - createdAt < 5 * 60_000;
    const failed = this.#chat.pending.find((pending) => pending.state === "failed" && isRecent(pending));
    if (failed && this.#chat.state !== "closed") this.#watch(this.#chat.retry(failed.clientId));
  }

  /** @param {Promise<import("../../src/protocol.js").ChatMessage>} promise */
  #watch(promise) {
    this.#promised += 1;
    promise.then(
      (stored) => this.kept.set(stored.clientId ?? "", stored),
      ({ code }) => this.failures.push(code),
    );
  }

  /** @param {number} count */
  #others(count) {
    for (let number = 0; number < count; number += 1) this.#room.broadcast(this.#room.store("bo", "from another"));
  }

  /** The network works from now on, until nothing is pending. */
  async #calm() {
    this.#room.fate = () => "stored";
    for (let times = 0; times < 60; times += 1) {
      const socket = this.#network.sockets.at(-1);
      if (socket?.readyState === 0) this.#room.join(socket);
      await pass(1_000);
    }
  }

  #expectNoGap() {
    const seqs = this.#chat.messages.map(({ seq }) => seq ?? NaN);
    const first = seqs[0] ?? 1;
    const misplaced = seqs.find((seq, index) => seq !== first + index);
    expect(misplaced, "the list is out of order, has a gap, or shows something twice").toBeUndefined();
    expect(first, "the list has lost its beginning without a resync").toBeLessThanOrEqual(this.#shownFrom ?? Infinity);
  }

  #expectAllIsWell() {
    const stored = this.#room.messages;
    const names = stored.flatMap(({ clientId }) => clientId ?? []);
    expect(names.length, "something was stored twice").toBe(new Set(names).size);

    expect(this.#chat.state).toBe("open");
    this.#expectNoGap();
    expect(this.#chat.messages.at(-1), "the list does not end with the latest message").toEqual(stored.at(-1));

    expect(this.kept.size + this.failures.length, "a promise was neither kept nor broken").toBe(this.#promised);
    for (const [clientId, message] of this.kept) {
      expect(
        stored.filter((each) => each.clientId === clientId),
        "a kept promise is not one stored message",
      ).toEqual([message]);
    }
    // An unsure message may be stored or not. There is no other reason to fail in this model.
    expect(this.failures.filter((code) => !["unsure", "closed"].includes(code))).toEqual([]);
    expect(this.#chat.pending.every(({ state }) => state === "failed")).toBe(true);
  }
}
