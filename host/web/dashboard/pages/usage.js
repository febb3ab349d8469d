// @ts-check
/** What rooms, namespaces and users have used, a page at a time, and as CSV. */

import { get, keep, text } from "../api.js";
import { notice } from "../dialog.js";
import {
  bytes,
  duration,
  field,
  fill,
  h,
  heading,
  name,
  number,
  percent,
  roomLink,
  table,
  time,
  to,
  userLink,
} from "../dom.js";
import { banner } from "../poll.js";

const SUBJECTS = { room: "Rooms", namespace: "Namespaces", user: "Users" };
const TIMES = {
  "1h": "the last hour",
  "24h": "the last 24 hours",
  "7d": "the last 7 days",
  "30d": "the last 30 days",
  "35d": "all that is kept, 35 days",
};
const ROWS = 100;
/** The rows of one request for CSV: as many as the server gives. */
const CSV_ROWS = 1_000;

/** @type {import("../app.js").Page["show"]} */
export async function show(view, parameters, signal) {
  const by = parameters.by && parameters.by in SUBJECTS ? parameters.by : "room";
  const since = parameters.since && parameters.since in TIMES ? parameters.since : "24h";
  const query = { by, since, namespace: by === "room" ? parameters.namespace : "", prefix: parameters.prefix };

  const form = filters(query);
  const found = h("div", { class: "stack" });
  const csv = h("button", { type: "button", onclick: () => void download(query, csv) }, "Download CSV");
  view.append(heading("Usage", csv), form, found);

  const rows = h("div");
  const more = h("button", { type: "button", onclick: () => void load() }, "Show more");
  const hours = h("p", { class: "soft" });
  fill(found, hours, rows, h("p", {}, more));
  /** @type {any[]} */
  const all = [];
  let after = "";
  const load = async () => {
    more.disabled = true;
    try {
      const page = await get("/usage", { ...query, after, limit: ROWS }, signal);
      all.push(...page.rows);
      after = page.next ?? "";
      fill(hours, "Whole hours from ", time(page.from), " to ", time(page.until), ".");
      fill(rows, used(by, all));
      more.hidden = !page.next;
      banner();
    } catch (error) {
      if (!signal.aborted) banner(error instanceof Error ? error.message : String(error));
    } finally {
      more.disabled = false;
    }
  };
  more.hidden = true;
  await load();
}

/** @param {Record<string, string | undefined>} query */
function filters(query) {
  const select = (/** @type {string} */ key, /** @type {Record<string, string>} */ options) =>
    h(
      "select",
      { name: key, onchange: () => (key === "by" ? other() : form.requestSubmit()) },
      Object.entries(options).map(([value, text]) => h("option", { value, selected: value === query[key] }, text)),
    );
  const input = (/** @type {string} */ key) =>
    h("input", { name: key, value: query[key] ?? "", spellcheck: "false", autocapitalize: "off" });
  const form = h(
    "form",
    { class: "filters" },
    field("Of", select("by", SUBJECTS)),
    field("In", select("since", TIMES)),
    query.by === "room" && field("Namespace", input("namespace")),
    field("Begins with", input("prefix")),
    h("button", { type: "submit" }, "Show"),
  );
  const given = (/** @type {string} */ key) => String(new FormData(form).get(key) ?? "").trim();
  // The names of rooms are none of users.
  const other = () => (location.hash = to(["usage"], { by: given("by"), since: given("since") }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = to(["usage"], {
      by: given("by"),
      since: given("since"),
      namespace: given("namespace"),
      prefix: given("prefix"),
    });
  });
  return form;
}

/**
 * @param {string} by
 * @param {any[]} rows
 */
function used(by, rows) {
  const amounts = [
    { title: "Events", number: true, cell: (/** @type {any} */ row) => number(row.events) },
    { title: "CPU", number: true, cell: (/** @type {any} */ row) => duration(row.cpuSeconds) },
    ...(by === "user"
      ? [{ title: "Connected", number: true, cell: (/** @type {any} */ row) => duration(row.connectedSeconds) }]
      : [
          { title: "Awake", number: true, cell: (/** @type {any} */ row) => duration(row.awakeSeconds) },
          { title: "Asleep", number: true, cell: (/** @type {any} */ row) => duration(row.asleepSeconds) },
          { title: "Saved", number: true, cell: (/** @type {any} */ row) => percent(saved(row)) },
        ]),
    { title: "In", number: true, cell: (/** @type {any} */ row) => bytes(row.bytesIn) },
    { title: "Out", number: true, cell: (/** @type {any} */ row) => bytes(row.bytesOut) },
    { title: "Deliveries", number: true, cell: (/** @type {any} */ row) => number(row.deliveries) },
    ...(by === "user"
      ? []
      : [
          {
            title: "Stored",
            number: true,
            cell: (/** @type {any} */ row) => `${bytes(Math.round(row.storageByteSeconds / 3600))}·h`,
          },
          { title: "Timers", number: true, cell: (/** @type {any} */ row) => number(row.timers) },
        ]),
    { title: "Calls", number: true, cell: (/** @type {any} */ row) => number(row.calls) },
  ];
  const title = by === "room" ? "Room" : by === "user" ? "User" : "Namespace";
  const columns = [{ title, cell: (/** @type {any} */ row) => subject(by, row) }, ...amounts];
  const shown = table("Usage", columns, rows, "Nothing was used in this time.");
  shown.classList.add("compact");
  return shown;
}

/** The part of the time with sockets that needed no instance. @param {any} row */
function saved({ awakeSeconds, asleepSeconds }) {
  const all = awakeSeconds + asleepSeconds;
  return all > 0 ? asleepSeconds / all : null;
}

/**
 * @param {string} by
 * @param {any} row
 */
function subject(by, row) {
  if (by === "user") return row.other ? "all other users" : userLink(row.user);
  if (by === "namespace") return name(row.namespace);
  const [namespace, ...rest] = row.room.split("/");
  if (row.other) return [name(namespace), ": all other rooms"];
  return roomLink({ namespace, name: rest.join("/") });
}

/**
 * Downloads all pages as one file.
 *
 * @param {Record<string, string | undefined>} query
 * @param {HTMLButtonElement} button
 */
async function download(query, button) {
  button.disabled = true;
  try {
    /** @type {string[]} */
    const pieces = [];
    let after = "";
    do {
      const page = await text("/usage", { ...query, after, format: "csv", limit: CSV_ROWS });
      // Each page begins with the names of the columns.
      const isFirst = pieces.length === 0;
      pieces.push(isFirst ? page.text : page.text.slice(page.text.indexOf("\r\n") + 2));
      after = decodeURIComponent(page.headers.get("dormouse-next") ?? "");
    } while (after);
    keep(new Blob(pieces, { type: "text/csv" }), "usage.csv");
    notice("usage.csv was downloaded.");
    banner();
  } catch (error) {
    banner(error instanceof Error ? error.message : String(error));
  } finally {
    button.disabled = false;
  }
}
