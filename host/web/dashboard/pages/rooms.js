// @ts-check
/** All rooms, a page at a time: which are busy, and which should sleep and do not. */

import { get } from "../api.js";
import { ago, bytes, fill, h, heading, lasting, number, percent, roomLink, short, to } from "../dom.js";
import { check, field, select, textInput } from "../forms.js";
import { LiveTable } from "../live-table.js";
import { lookNow, lookWhile, newest } from "../look.js";
import { Pager } from "../pager.js";
import { importRoom } from "../room-actions.js";
import { namespacesOf } from "../rooms-api.js";
import { reason, shouldSleep } from "../wakefulness.js";

/** The rooms of a page. */
const ROOMS = 50;
/** How often the list is read again, ms. */
const EVERY_MS = 5_000;

/** @type {[string, string][]} */
const ORDERS = [
  ["name", "Name"],
  ["sockets", "Sockets"],
  ["messages", "Messages a second"],
  ["cpu", "CPU"],
  ["memory", "Memory"],
  ["storage", "Storage"],
  ["active", "Last active"],
  ["awake", "Awake for the longest time"],
];

/** @type {[string, string][]} */
const STATES = [
  ["", "All"],
  ["true", "Awake"],
  ["false", "Asleep"],
];

/** @type {import("../dom.js").Column[]} */
const COLUMNS = [
  { title: "Room", cell: roomLink },
  { title: "State", cell: stateOf },
  { title: "Sockets", number: true, cell: ({ sockets }) => number(sockets) },
  { title: "Messages/s", number: true, cell: ({ messagesPerSecond }) => short(messagesPerSecond) },
  { title: "CPU", number: true, cell: ({ cpuShare }) => percent(cpuShare) },
  { title: "Memory", number: true, cell: ({ memoryBytes }) => bytes(memoryBytes) },
  { title: "Storage", number: true, cell: ({ storageBytes }) => bytes(storageBytes) },
  { title: "Last active", cell: ({ lastEventAt }) => ago(lastEventAt) },
];

/** @type {import("../app.js").Page["show"]} */
export async function show(view, parameters, signal) {
  /** Empty until the server has named them. @type {string[]} */
  let namespaces = [];
  const namespace = select([["", "All"]]);
  const prefix = textInput({ type: "search", value: parameters.prefix });
  const state = select(STATES, parameters.awake);
  const order = select(ORDERS, parameters.sort ?? "name");
  const isLive = h("input", { checked: true });
  const hint = h("p", { class: "hint" });
  const table = new LiveTable("Rooms", COLUMNS, ({ room }) => room);
  const pager = new Pager(() => void lookNow(signal, look));

  const filter = () => ({
    namespace: namespace.value || parameters.namespace,
    prefix: prefix.value,
    awake: state.value,
    sort: order.value,
  });
  const look = newest(
    () => get("/rooms", { ...filter(), limit: ROOMS, after: pager.after }, signal),
    ({ rooms, next }) => {
      const isByName = order.value === "name";
      const rest =
        next === null ? "There are no such rooms." : "None in this part of the list; the next one may have some.";
      table.show(rooms, isByName ? rest : "No such room is in memory.");
      pager.show(next, rooms.length);
      fill(
        hint,
        isByName ? "" : "Only rooms in memory: awake ones, those with sockets, and those that had an event lately.",
      );
      hint.hidden = isByName;
    },
  );
  const again = () => {
    if (namespaces.length > 0) delete parameters.namespace;
    pager.reset();
    // The address has the filter, so that a reload and a bookmark show the same.
    history.replaceState(null, "", to(["rooms"], filter()));
    void lookNow(signal, look);
  };
  const form = h(
    "form",
    { class: "filters", novalidate: true, role: "search", "aria-label": "Rooms" },
    field("rooms-namespace", "Namespace", namespace),
    field("rooms-prefix", "Name begins with", prefix),
    field("rooms-state", "State", state),
    field("rooms-order", "Order", order),
    h("button", { type: "submit" }, "Show"),
    check(`Read again every ${EVERY_MS / 1000} s`, isLive),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    again();
  });
  for (const input of [namespace, state, order]) input.addEventListener("change", again);

  const importing = h("button", { type: "button" }, "Import a room…");
  importing.addEventListener("click", () => void importRoom({ namespaces }));
  view.append(heading("Rooms", importing), form, hint, table.element, pager.element);
  lookWhile(EVERY_MS, signal, isLive, look);
  namespaces = namespacesOf(await get("/deploys", {}, signal));
  const chosen = parameters.namespace;
  namespace.append(...namespaces.map((name) => h("option", { value: name, selected: name === chosen }, name)));
}

/** @param {import("../wakefulness.js").Wakefulness & { inMemory: boolean, failures: number, node?: number | null }} room */
function stateOf(room) {
  const now = Date.now();
  const at = room.node ? `, node ${room.node}` : "";
  const state = (room.awake ? "awake" : room.inMemory ? "asleep" : "on disk") + at;
  const because = room.awakeBecause.map((because) => reason(because, now)).join("; ");
  return [
    h("span", { class: "badge", "data-kind": room.awake ? "good" : null }, state),
    shouldSleep(room, now) && [" ", h("span", { class: "badge", "data-kind": "waiting" }, "should sleep")],
    room.failures > 0 && [" ", h("span", { class: "badge", "data-kind": "bad" }, `${number(room.failures)} failed`)],
    room.since !== null && h("div", { class: "why" }, lasting(room.since), because && `; ${because}`),
  ].flat();
}
