// @ts-check
/** The whole server: what it does now, the last quarter of an hour, its busiest rooms, and the limits that were met. */

import { get } from "../api.js";
import { badge, bytes, duration, h, heading, number, percent, refresh, roomLink, short, table, tiles } from "../dom.js";
import { counted } from "../forms.js";
import { plot } from "../plot.js";
import { poll } from "../poll.js";
import { reason } from "../wakefulness.js";

const EVERY_MS = 2_000;
/** The rooms that are listed. */
const ROOMS = 8;
/** The points of a plot: as many as the server keeps. */
const POINTS = 180;

const ORDERS = { messages: "messages", cpu: "CPU", memory: "memory", sockets: "sockets", awake: "time awake" };

/** @type {import("../app.js").Page["show"]} */
export async function show(view, _parameters, signal) {
  const [state, now, rooms, limits] = [h("div"), h("div"), h("div", { class: "list" }), h("div", { class: "columns" })];
  const order = h(
    "select",
    { id: "order", onchange: () => void list() },
    Object.entries(ORDERS).map(([value, text]) => h("option", { value }, text)),
  );
  const rate = (/** @type {number | null} */ value) => (value === null ? "–" : `${short(value)}/s`);
  const plots = {
    messages: plot("Messages", rate, signal),
    latency: plot("Latency, 99th percentile", duration, signal),
    sockets: plot("Sockets and awake rooms", short, signal),
    memory: plot("Memory", bytes, signal, { binary: true }),
  };
  const figures = Object.values(plots).map(({ element }) => element);
  view.append(
    heading("Overview", state),
    now,
    h("div", { class: "columns" }, figures),
    h(
      "section",
      { class: "card" },
      h(
        "div",
        { class: "heading" },
        h("h2", {}, "Busiest rooms"),
        h("div", { class: "actions by" }, h("label", { for: "order" }, "by"), order),
      ),
      rooms,
    ),
    limits,
  );

  const list = async () => {
    const page = await get("/rooms", { sort: order.value, limit: ROOMS }, signal);
    refresh(rooms, busiest(page.rooms));
  };
  const history = new History();
  await poll(EVERY_MS, signal, async () => {
    const [server] = await Promise.all([get("/overview", { since: history.last }, signal), list()]);
    refresh(
      state,
      h("span", { class: "soft" }, `up ${duration(server.uptimeSeconds)} `),
      server.ready ? badge("good", "Ready") : badge("bad", `Not ready: ${server.notReadyBecause}`),
    );
    refresh(now, tiles(numbers(server)));
    history.add(server.history);
    draw(plots, history);
    refresh(limits, occurrences(server));
  });
}

/** The points of the plots, as long as the page is open. */
class History {
  /** @type {Record<string, (number | null)[]>} */
  #lines = {};

  /** The time of the last point. */
  get last() {
    return this.#lines.at?.at(-1) ?? undefined;
  }

  /** @param {Record<string, (number | null)[]>} points Those since the last answer. */
  add(points) {
    for (const [line, values] of Object.entries(points)) {
      this.#lines[line] = [...(this.#lines[line] ?? []), ...values].slice(-POINTS);
    }
  }

  /** @param {string} line */
  points(line) {
    return this.#lines[line] ?? [];
  }
}

/**
 * @param {Record<"messages" | "latency" | "sockets" | "memory", import("../plot.js").Plot>} plots
 * @param {History} history
 */
function draw(plots, history) {
  const seconds = history.points("at").map((at) => (at ?? 0) / 1000);
  const line = (/** @type {string} */ label, /** @type {string} */ of) => ({ label, values: history.points(of) });
  plots.messages.show(seconds, [line("in", "messagesIn"), line("out", "messagesOut")]);
  plots.latency.show(seconds, [line("turn", "turnP99"), line("commit", "commitP99")]);
  plots.sockets.show(seconds, [line("sockets", "sockets"), line("awake", "awakeRooms")]);
  plots.memory.show(seconds, [line("memory", "memoryBytes")]);
}

/** @param {any} server */
function numbers(server) {
  const { perSecond, latency } = server;
  const times = (/** @type {string} */ name, /** @type {any} */ { p50, p99 }) => ({
    name: `${name}, p99`,
    value: duration(p99),
    more: `p50 ${duration(p50)}`,
  });
  return [
    { name: "Sockets", value: number(server.sockets), more: counted(server.connections, "connection") },
    {
      name: "Awake rooms",
      value: number(server.awakeRooms),
      more: `${number(server.rooms)} in memory, ${number(server.mostAwakeRooms)} may be awake`,
    },
    { name: "Messages in", value: `${short(perSecond.messagesIn)}/s`, more: `${number(server.messagesIn)} in all` },
    { name: "Messages out", value: `${short(perSecond.messagesOut)}/s`, more: `${number(server.messagesOut)} in all` },
    { name: "Turns", value: `${short(perSecond.turns)}/s`, more: `${number(server.turns)} in all` },
    times("Turn", latency.turn),
    times("Commit", latency.commit),
    times("Delivery", latency.delivery),
    times("Wake", latency.wake),
    {
      name: "Memory",
      value: bytes(server.memoryBytes),
      more: server.underPressure
        ? badge("bad", "under pressure")
        : `${percent(server.memoryBytes / server.mostMemoryBytes)} of ${bytes(server.mostMemoryBytes)}`,
    },
    { name: "CPU", value: percent(perSecond.cpu), more: "100 % is one core" },
    { name: "Store", value: bytes(server.diskBytes), more: "on the disk" },
  ];
}

/** @param {any[]} rooms */
function busiest(rooms) {
  const now = Date.now();
  return table(
    "Busiest rooms",
    [
      { title: "Room", cell: roomLink },
      { title: "Messages", number: true, cell: (room) => `${short(room.messagesPerSecond)}/s` },
      { title: "CPU", number: true, cell: (room) => percent(room.cpuShare) },
      { title: "Memory", number: true, cell: (room) => bytes(room.memoryBytes) },
      { title: "Sockets", number: true, cell: (room) => number(room.sockets) },
      {
        title: "Awake for",
        number: true,
        cell: (room) => (room.awake ? duration(Math.max(Math.round((now - room.since) / 1000), 0)) : "asleep"),
      },
      { title: "Why it is awake", cell: ({ awakeBecause: [first] }) => (first ? reason(first, now) : "–") },
    ],
    rooms,
    "No room is in memory.",
  );
}

/** @param {any} server */
function occurrences(server) {
  const card = (
    /** @type {string} */ title,
    /** @type {string} */ of,
    /** @type {any[]} */ counts,
    /** @type {string} */ none,
  ) =>
    h(
      "section",
      { class: "card" },
      h("h2", {}, title),
      table(
        title,
        [
          { title: of === "limit" ? "Limit" : "Cause", cell: (row) => h("code", {}, row[of]) },
          { title: "Times", number: true, cell: ({ count }) => number(count) },
        ],
        counts,
        none,
      ),
    );
  return [
    card("Limits met since the start", "limit", server.limitsMet, "No limit was met."),
    card("Failed turns since the start", "cause", server.failures, "No turn has failed."),
  ];
}
