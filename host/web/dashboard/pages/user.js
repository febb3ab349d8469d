// @ts-check
/** One user: the sockets, what is revoked, a live tail, and actions. */

import { get } from "../api.js";
import { ago, bytes, fill, h, heading, name, number, roomLink, to, visible } from "../dom.js";
import { check, counted, rowActions } from "../forms.js";
import { LiveTable } from "../live-table.js";
import { lookNow, lookWhile, newest } from "../look.js";
import { placeOf, userPath } from "../rooms-api.js";
import { revocationColumns } from "../revocation-columns.js";
import { TailView } from "../tail-view.js";
import { disconnect, revoke, revokedRoom } from "../user-actions.js";

/** How often the sockets are read again, ms. */
const EVERY_MS = 3_000;
/** The revocations of a user that are shown. */
const REVOCATIONS = 100;

/** @type {import("../app.js").Page["show"]} */
export async function show(view, parameters, signal) {
  const user = parameters.user ?? "";
  document.title = `${visible(user)} · Dormouse`;
  const isLive = h("input", { checked: true });
  const sum = h("p", { class: "hint" });
  /** @param {Promise<boolean>} action */
  const then = async (action) => {
    if (!(await action)) return;
    await lookNow(signal, look);
    await lookNow(signal, lookAtRevocations);
  };
  /** @type {import("../dom.js").Column[]} */
  const columns = [
    { title: "Room", cell: ({ room }) => roomLink(placeOf(room)) },
    { title: "Name", cell: ({ userName }) => name(userName) },
    { title: "Service", cell: ({ service }) => service !== null && name(service) },
    { title: "Kind", cell: ({ kind }) => kind },
    { title: "Queued", number: true, cell: ({ queuedBytes }) => bytes(queuedBytes) },
    { title: "Connected", cell: ({ since }) => ago(since) },
    {
      title: "Action",
      cell: ({ room }) =>
        rowActions(
          room,
          ["Disconnect…", () => void then(disconnect(user, room))],
          ["Revoke here…", () => void then(revoke({ user, room: revokedRoom(room) }))],
        ),
    },
  ];
  const sockets = new LiveTable(
    "Sockets",
    columns,
    ({ room, since, kind }) => `${since} ${kind} ${room}`,
    "No sockets.",
  );
  const revoked = new LiveTable(
    "Revocations",
    revocationColumns((action) => void then(action)),
    (entry) => JSON.stringify(entry),
    "Nothing is revoked.",
  );
  const look = newest(
    () => get(userPath(user), {}, signal),
    (found) => {
      sockets.show(found.clients);
      fill(
        sum,
        `${counted(found.sockets, "socket")}${found.sockets > found.clients.length ? `; the first ${number(found.clients.length)} are listed` : ""}.`,
      );
    },
  );
  const lookAtRevocations = newest(
    () => get("/revocations", { user, limit: REVOCATIONS }, signal),
    ({ revocations }) => revoked.show(revocations),
  );

  /** @param {string} label @param {() => Promise<boolean>} act */
  const button = (label, act) =>
    h("button", { type: "button", class: "dangerous", onclick: () => void then(act()) }, label);
  view.append(
    h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: to(["users"]) }, "Users")),
    heading(
      name(user, { most: 120 }),
      button("Disconnect everywhere…", () => disconnect(user)),
      button("Revoke…", () => revoke({ user })),
    ),
    h("div", { class: "filters" }, check(`Look again every ${EVERY_MS / 1000} s`, isLive)),
    h("section", { class: "card" }, h("h2", {}, "Sockets"), sum, sockets.element),
    h("section", { class: "card" }, h("h2", {}, "Revocations"), revoked.element),
    new TailView({ user }, signal).element,
  );
  lookWhile(EVERY_MS, signal, isLive, look);
  await lookAtRevocations();
}
