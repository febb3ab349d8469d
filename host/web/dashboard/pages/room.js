// @ts-check
/** One room: its state, its clients, timers, posts and failures, its live tail and its storage, and actions on it. */

import { ApiError, get } from "../api.js";
import {
  ago,
  bytes,
  duration,
  fill,
  h,
  heading,
  lasting,
  name,
  number,
  percent,
  short,
  to,
  userLink,
  visible,
} from "../dom.js";
import { check, counted, rowActions } from "../forms.js";
import { LiveTable } from "../live-table.js";
import { lookNow, lookWhile, newest } from "../look.js";
import { broadcast, closeSockets, deleteRoom, exportRoom, importRoom, putToSleep } from "../room-actions.js";
import { addressOf, roomPath } from "../rooms-api.js";
import { StorageView } from "../storage-view.js";
import { TailView } from "../tail-view.js";
import { disconnect } from "../user-actions.js";
import { reason, shouldSleep } from "../wakefulness.js";

/** How often the room is looked at, ms. */
const EVERY_MS = 3_000;
/** The clients that are shown before the operator asks for all of them. */
const CLIENTS = 10;
/** The most clients, timers and posts that the server lists. */
const LISTED = { clients: 1_000, timers: 100, posts: 100 };
/** The most characters of an error that are shown. */
const ERROR_CHARACTERS = 600;
/** The first characters of a version, which tell it from others. */
const VERSION_CHARACTERS = 12;

/** @type {import("../app.js").Page["show"]} */
export async function show(view, parameters, signal) {
  const room = { namespace: parameters.namespace ?? "", name: parameters.name ?? "" };
  /** @type {any} */
  let details;
  let showsAll = false;
  document.title = `${visible(addressOf(room))} · Dormouse`;

  const state = h("p", { class: "room-state" });
  const facts = h("dl", { class: "room-facts" });
  const missing = h("div", { class: "card", hidden: true });
  const isLive = h("input", { checked: true });
  const all = h("button", { type: "button", class: "quiet", hidden: true });
  const more = h("p", { class: "hint", hidden: true });
  const clients = new LiveTable("Sockets", clientColumns(), ({ id }) => String(id), "No sockets.");
  const timers = new LiveTable("Timers", TIMERS, (timer) => timer.name, "No timers.");
  const posts = new LiveTable("Posts", POSTS, ({ to, dueAt }) => `${dueAt} ${to}`, "No posts wait.");
  const failures = new LiveTable(
    "Failures",
    FAILURES,
    ({ time }) => String(time),
    "No failed turns since it is in memory.",
  );

  const look = newest(
    async () => {
      try {
        return await get(roomPath(room), {}, signal);
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return error.message;
        throw error;
      }
    },
    (answer) => {
      details = typeof answer === "string" ? undefined : answer;
      missing.hidden = details !== undefined;
      parts.hidden = actions.hidden = details === undefined;
      if (details === undefined) showMissing(answer);
      else showDetails();
    },
  );
  /** @param {Promise<boolean>} action */
  const then = async (action) => {
    if (await action) await lookNow(signal, look);
  };

  function showDetails() {
    fill(state, stateOf(details));
    fill(facts, factsOf(details));
    const shown = showsAll ? details.clients : details.clients.slice(0, CLIENTS);
    clients.show(shown, details.busy ? "It is busy and shows no sockets now." : "No sockets.");
    all.hidden = shown.length === details.clients.length;
    fill(all, `Show all ${number(details.clients.length)} that are listed`);
    more.hidden = details.busy || details.sockets <= LISTED.clients;
    fill(more, `It has ${number(details.sockets)} sockets; the first ${number(LISTED.clients)} are listed.`);
    timers.show(details.nextTimers, details.busy ? "It is busy and shows no timers now." : "No timers.");
    posts.show(details.waitingPosts, details.busy ? "It is busy and shows no posts now." : "No posts wait.");
    failures.show([...details.lastFailures].reverse());
  }
  /** @param {string} why */
  function showMissing(why) {
    if (missing.childElementCount > 0) return;
    fill(
      missing,
      h("p", {}, why),
      h(
        "div",
        { class: "actions" },
        button("Import a room here…", () => importRoom({ room })),
      ),
    );
  }
  all.addEventListener("click", () => {
    showsAll = true;
    showDetails();
  });

  /** @param {string} label @param {() => Promise<boolean>} act @param {boolean} [isDangerous] */
  const button = (label, act, isDangerous = false) =>
    h("button", { type: "button", class: isDangerous ? "dangerous" : null, onclick: () => void then(act()) }, label);
  const actions = h(
    "div",
    { class: "actions", hidden: true },
    button("Put to sleep…", () => putToSleep(room)),
    button("Broadcast…", () => broadcast(room)),
    button("Export…", () => exportRoom(room)),
    button("Close sockets…", () => closeSockets(room), true),
    button("Delete…", () => deleteRoom(room, details), true),
  );
  const parts = h(
    "div",
    { class: "parts", hidden: true },
    h("section", { class: "card" }, state, facts),
    section("Sockets", clients.element, more, all),
    h("div", { class: "columns" }, section("Timers", timers.element), section("Posts", posts.element)),
    section("Last failures", failures.element),
    new TailView({ room: addressOf(room) }, signal).element,
    new StorageView(room, signal).element,
  );

  /** @returns {import("../dom.js").Column[]} */
  function clientColumns() {
    return [
      { title: "User", cell: ({ user }) => userLink(user) },
      { title: "Name", cell: ({ userName }) => name(userName) },
      { title: "Kind", cell: ({ kind }) => kind },
      {
        title: "Tags",
        cell: ({ tags }) =>
          tags.map((/** @type {string} */ tag) => [h("span", { class: "badge" }, name(tag)), " "]).flat(),
      },
      { title: "Queued", number: true, cell: ({ queuedBytes }) => bytes(queuedBytes) },
      { title: "Connected", cell: ({ since }) => ago(since) },
      {
        title: "Action",
        cell: ({ user }) => rowActions(user, ["Disconnect…", () => void then(disconnect(user, addressOf(room)))]),
      },
    ];
  }

  view.append(
    h(
      "nav",
      { class: "crumbs", "aria-label": "Where you are" },
      h("a", { href: to(["rooms"], { namespace: room.namespace }) }, "Rooms"),
      " / ",
      name(room.namespace),
    ),
    heading(name(room.name, { most: 120 }), actions),
    h("div", { class: "filters" }, check(`Look again every ${EVERY_MS / 1000} s`, isLive)),
    missing,
    parts,
  );
  lookWhile(EVERY_MS, signal, isLive, look);
}

/** @param {string} title @param {...import("../dom.js").Child} children */
function section(title, ...children) {
  return h("section", { class: "card" }, h("h2", {}, title), ...children);
}

/** @type {import("../dom.js").Column[]} */
const TIMERS = [
  { title: "Name", cell: (timer) => name(timer.name) },
  { title: "Due", cell: ({ dueAt }) => ago(dueAt) },
  { title: "Failures", number: true, cell: ({ failures }) => number(failures) },
  { title: "Payload", number: true, cell: ({ payloadBytes }) => bytes(payloadBytes) },
];

/** @type {import("../dom.js").Column[]} */
const POSTS = [
  { title: "To", cell: (post) => name(post.to) },
  { title: "Tried", cell: ({ dueAt }) => ago(dueAt) },
  { title: "Failures", number: true, cell: ({ failures }) => number(failures) },
  { title: "Size", number: true, cell: (post) => bytes(post.bytes) },
];

/** @type {import("../dom.js").Column[]} */
const FAILURES = [
  { title: "Time", cell: ({ time }) => ago(time) },
  { title: "Event", cell: ({ event }) => event },
  { title: "User", cell: ({ user }) => user !== null && userLink(user) },
  { title: "Error", wide: true, cell: ({ error }) => name(error, { most: ERROR_CHARACTERS }) },
];

/** @param {any} room */
function stateOf(room) {
  const now = Date.now();
  const at = room.node ? `, node ${room.node}` : "";
  const state = (room.awake ? "awake" : room.inMemory ? "asleep" : "on disk") + at;
  return [
    h("span", { class: "badge", "data-kind": room.awake ? "good" : null }, state),
    room.since !== null && [" ", lasting(room.since)],
    room.awakeBecause.length > 0 &&
      `${room.awake ? ", because" : ", and wakes soon:"} ${room.awakeBecause.map((/** @type {any} */ one) => reason(one, now)).join("; ")}`,
    shouldSleep(room, now) && [" ", h("span", { class: "badge", "data-kind": "waiting" }, "should sleep")],
    room.busy && [" ", h("span", { class: "badge", "data-kind": "waiting" }, "busy")],
  ].flat();
}

/** @param {any} room */
function factsOf(room) {
  /** @type {[string, import("../dom.js").Child | import("../dom.js").Child[]][]} */
  const facts = [
    ["Sockets", number(room.sockets)],
    ["Last event", ago(room.lastEventAt)],
    ["Events", `${number(room.events)}, ${short(room.eventsPerSecond)} a second`],
    ["Messages", `${number(room.messages)}, ${short(room.messagesPerSecond)} a second`],
    ["CPU", `${duration(room.cpuMs / 1_000)}, ${percent(room.cpuShare)} of a core`],
    ["Memory", bytes(room.memoryBytes)],
    [
      "Storage",
      `${bytes(room.storageBytes)} in ${room.moreEntries ? "more than " : ""}${counted(room.entries, "entry")}`,
    ],
    ["Timers", number(room.timers)],
    ["Posts", number(room.posts)],
    ["Failures", number(room.failures)],
    ["Component", [name(room.component), `, contract ${room.contract}`]],
    ["Version", h("code", { title: room.version }, room.version.slice(0, VERSION_CHARACTERS))],
    ["Commit", number(room.commit)],
    ["Incarnation", h("code", {}, room.incarnation)],
  ];
  return facts.map(([title, value]) => h("div", {}, h("dt", {}, title), h("dd", {}, value)));
}
