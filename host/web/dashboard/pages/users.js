// @ts-check
/** Users with sockets, by id and a page at a time. */

import { get } from "../api.js";
import { h, heading, name, number, to, userLink } from "../dom.js";
import { field, textInput } from "../forms.js";
import { LiveTable } from "../live-table.js";
import { lookNow, newest } from "../look.js";
import { Pager } from "../pager.js";

/** The users of a page. */
const USERS = 50;

/** @type {import("../dom.js").Column[]} */
const COLUMNS = [
  { title: "User", cell: ({ user }) => userLink(user) },
  { title: "Name", cell: ({ userName }) => name(userName) },
  { title: "Sockets", number: true, cell: ({ sockets }) => number(sockets) },
  { title: "Rooms", number: true, cell: ({ rooms }) => number(rooms) },
];

/** @type {import("../app.js").Page["show"]} */
export async function show(view, parameters, signal) {
  const prefix = textInput({ type: "search", value: parameters.prefix });
  const table = new LiveTable("Users", COLUMNS, ({ user }) => user, "No user with such an id has sockets.");
  const pager = new Pager(() => void lookNow(signal, look));
  const look = newest(
    () => get("/users", { prefix: prefix.value, limit: USERS, after: pager.after }, signal),
    ({ users, next }) => {
      table.show(users);
      pager.show(next, users.length);
    },
  );
  const open = h("button", { type: "button" }, "Open the user with this id");
  open.addEventListener("click", () => {
    if (prefix.value !== "") location.hash = to(["users", prefix.value]);
  });
  const form = h(
    "form",
    { class: "filters", novalidate: true, role: "search", "aria-label": "Users" },
    field("users-prefix", "Id begins with", prefix),
    h("button", { type: "submit" }, "Show"),
    open,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    pager.reset();
    history.replaceState(null, "", to(["users"], { prefix: prefix.value }));
    void lookNow(signal, look);
  });
  view.append(
    heading("Users"),
    h(
      "p",
      { class: "hint" },
      "Users with sockets. Others are not stored: you can open one by the id, to revoke it or to follow it.",
    ),
    form,
    table.element,
    pager.element,
  );
  await look();
}
