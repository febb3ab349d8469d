// @ts-check
/** What operators did through the admin listener, the newest first. */

import { get } from "../api.js";
import { h, heading, name, roomLink, time, userLink } from "../dom.js";
import { LiveTable } from "../live-table.js";
import { lookNow, newest } from "../look.js";
import { Pager } from "../pager.js";
import { placeOf } from "../rooms-api.js";

/** The entries of a page. */
const ENTRIES = 100;
/** The most characters of a detail that are shown. */
const DETAIL_CHARACTERS = 200;

/** @typedef {{ time: string, from: string, operator: string | null, action: string, target: string, detail: unknown, outcome: string, reason?: string | null }} Entry */

/** @type {import("../dom.js").Column[]} */
const COLUMNS = [
  { title: "Time", cell: (entry) => time(entry.time) },
  { title: "Operator", cell: ({ operator }) => operator !== null && name(operator) },
  { title: "From", cell: ({ from }) => from },
  { title: "Action", cell: ({ action }) => action },
  { title: "Target", cell: targetOf },
  { title: "Outcome", cell: ({ outcome, reason }) => name(reason ? `${outcome}: ${reason}` : outcome) },
  {
    title: "Detail",
    wide: true,
    cell: ({ detail }) => detail !== null && name(JSON.stringify(detail), { most: DETAIL_CHARACTERS }),
  },
];

/** @type {import("../app.js").Page["show"]} */
export async function show(view, _parameters, signal) {
  const table = new LiveTable("Actions", COLUMNS, (entry) => JSON.stringify(entry), "There are no actions yet.");
  const pager = new Pager(() => void lookNow(signal, look));
  const look = newest(
    () => get("/audit", { limit: ENTRIES, before: pager.after }, signal),
    ({ entries, next }) => {
      table.show(entries.reverse());
      pager.show(next, entries.length);
    },
  );
  const again = h("button", { type: "button" }, "Read again");
  again.addEventListener("click", () => {
    pager.reset();
    void lookNow(signal, look);
  });
  view.append(
    heading("Audit log", again),
    h(
      "p",
      { class: "hint" },
      "The newest first. An action is here before it is done; its outcome follows. The name of an operator is not checked.",
    ),
    table.element,
    pager.element,
  );
  await look();
}

/** A target, such as `room ROOMS/lobby` or `user ana`, with a link to its page. @param {Entry} entry */
function targetOf({ target }) {
  if (/^room [A-Za-z0-9_-]+\/./s.test(target)) return ["room ", roomLink(placeOf(target.slice(5)))];
  if (target.startsWith("user ")) return ["user ", userLink(target.slice(5))];
  return name(target);
}
