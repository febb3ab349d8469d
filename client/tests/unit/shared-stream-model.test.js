// @ts-check
/**
 * Tabs that open, close, send and lose their stream in random order: all of them show the whole room, over one stream.
 * `FUZZ_SEED` repeats a run.
 */

import { expect, test, vi } from "vitest";
import { Chat } from "../../src/chat.js";
import { BASE_URL, seqs } from "./chat-helpers.js";
import { FakeRoom } from "./fake-room.js";
import { FakeServer } from "./fake-server.js";
import { fakeTabs } from "./fake-tabs.js";
import { pass, reportedErrors, useFakeTime } from "./helpers.js";
import { chance } from "./spoiled.js";

useFakeTime();

const SEED = Number(process.env.FUZZ_SEED ?? 2);
const LIVES = Number(process.env.FUZZ_ROUNDS ?? 400) / 10;
const STEPS = 40;
const MOST_TABS = 6;

class World {
  /** @type {Chat[]} */
  tabs = [];
  /** @type {string[]} */
  steps = [];
  /** The result of each message: the stored one, or why it failed. @type {Promise<any>[]} */
  kept = [];
  room = new FakeRoom();
  server = new FakeServer();
  #joined = new Set();
  #random;
  #sent = 0;

  /** @param {() => number} random */
  constructor(random) {
    this.#random = random;
    vi.stubGlobal("fetch", this.server.fetch);
  }

  get open() {
    return this.server.streams.filter(({ isOpen }) => isOpen);
  }

  /** Opens this many tabs. @param {number} count */
  async begin(count) {
    for (let tab = 0; tab < count; tab += 1) this.#come();
    await this.settle();
  }

  /** Answers requests until there are no more. */
  async settle() {
    for (let times = 0; times <= MOST_TABS; times += 1) {
      this.answer();
      await pass(0);
    }
  }

  async step() {
    const [name, step] = this.#pick([
      ["come", () => this.tabs.length < MOST_TABS && this.#come()],
      ["go", () => this.#go(this.#pick(this.tabs))],
      // Usually the leader.
      ["the first goes", () => this.#go(this.tabs[0])],
      ["speak", () => this.#speak()],
      ["others", () => this.room.broadcast(this.room.store("bo", "from another"))],
      ["others", () => this.room.broadcast(this.room.store("bo", "from another"))],
      ["break", () => this.#pick(this.open)?.end()],
      ["goodbye", () => this.#pick(this.open)?.bye(1001, "retry-after=1")],
      ["reconnect", () => this.#pick(this.tabs)?.reconnect()],
      ["answer", () => this.answer()],
      ["settle", () => this.settle()],
      ["settle", () => this.settle()],
      ["wait", () => pass(Math.floor(this.#random() * 3_000))],
    ]) ?? ["", () => {}];
    this.steps.push(name);
    await step();
    await pass(0);
  }

  /** Opens requested streams, and stores posted messages. */
  answer() {
    for (const stream of this.server.streams) {
      if (this.#joined.has(stream)) continue;
      this.#joined.add(stream);
      if (stream.isOpen) this.room.join(/** @type {any} */ (stream));
    }
    for (const post of this.server.posts) {
      if (post.isAnswered) continue;
      const before = this.room.messages.length;
      const message = this.room.store("ana", post.body.content, post.body.clientId);
      post.answer({ status: 200, body: { success: true, message } });
      if (this.room.messages.length > before) this.room.broadcast(message);
    }
  }

  /** From now on nothing fails, and the server sends signs of life. */
  async calm() {
    for (let seconds = 0; seconds < 90; seconds += 1) {
      this.answer();
      if (seconds % 20 === 0) for (const stream of this.open) stream.ping();
      await pass(1_000);
    }
  }

  #come() {
    const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", transport: "events", userId: "ana" });
    chat.open();
    this.tabs.push(chat);
  }

  /** @param {Chat | undefined} tab */
  #go(tab) {
    this.tabs = this.tabs.filter((other) => other !== tab);
    tab?.close();
  }

  #speak() {
    const stored = this.#pick(this.tabs)?.send(`own ${(this.#sent += 1)}`);
    if (stored) this.kept.push(stored.catch(({ code }) => code));
  }

  /** @template Item @param {readonly Item[]} items @returns {Item | undefined} */
  #pick(items) {
    return items[Math.floor(this.#random() * items.length)];
  }
}

test(`all tabs show the whole room over one stream (seed ${SEED})`, async () => {
  const errors = reportedErrors();
  const complaints = vi.spyOn(console, "error");
  const random = chance(SEED);
  for (let life = 0; life < LIVES; life += 1) {
    const { locks } = fakeTabs();
    const world = new World(random);
    await world.begin(1 + Math.floor(random() * MOST_TABS));
    for (let step = 0; step < STEPS; step += 1) await world.step();
    await world.calm();
    const story = `life ${life}: ${world.steps.join(", ")}`;
    const all = world.room.messages.map(({ seq }) => seq);
    for (const tab of world.tabs) {
      expect(tab.state, story).toBe("open");
      // A late tab shows only the latest ones.
      expect(seqs(tab), story).toEqual(all.slice(all.length - tab.messages.length));
      expect(tab.messages.length, story).toBeGreaterThanOrEqual(Math.min(all.length, 50));
      expect(tab.pending, story).toEqual([]);
    }
    expect(world.open.length, story).toBe(Math.min(1, world.tabs.length));
    const names = world.room.messages.flatMap(({ clientId }) => clientId ?? []);
    expect(names.length, story).toBe(new Set(names).size);
    for (const tab of world.tabs) tab.close();
    await pass(10);
    expect(locks.held(""), story).toBe(0);
    expect(world.open, story).toEqual([]);
    for (const fate of await Promise.all(world.kept))
      expect(["closed", fate?.clientId], story).toContain(fate?.clientId ?? fate);
  }
  expect(errors).toEqual([]);
  expect(complaints).not.toHaveBeenCalled();
}, 180_000);
