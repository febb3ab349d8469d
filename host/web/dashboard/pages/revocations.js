// @ts-check
/** Revoked users and tokens, a page at a time, and the form that adds one. */

import { get } from "../api.js";
import { h, heading, to } from "../dom.js";
import { field, select, textInput } from "../forms.js";
import { LiveTable } from "../live-table.js";
import { lookNow, newest } from "../look.js";
import { Pager } from "../pager.js";
import { revocationColumns } from "../revocation-columns.js";
import { revoke } from "../user-actions.js";

/** The revocations of a page. */
const REVOCATIONS = 100;

/** @type {import("../app.js").Page["show"]} */
export async function show(view, parameters, signal) {
  const only = textInput({ type: "search", value: parameters.user });
  /** @param {Promise<boolean>} action */
  const then = async (action) => {
    if (await action) await lookNow(signal, look);
  };
  const columns = revocationColumns((action) => void then(action));
  const table = new LiveTable("Revocations", columns, (entry) => JSON.stringify(entry), "Nothing is revoked.");
  const pager = new Pager(() => void lookNow(signal, look));
  const look = newest(
    () => get("/revocations", { user: only.value, limit: REVOCATIONS, after: pager.after }, signal),
    ({ revocations, next }) => {
      table.show(revocations);
      pager.show(next, revocations.length);
    },
  );
  const filter = h(
    "form",
    { class: "filters", novalidate: true, role: "search", "aria-label": "Revocations" },
    field("revocations-user", "Only of the user", only),
    h("button", { type: "submit" }, "Show"),
  );
  filter.addEventListener("submit", (event) => {
    event.preventDefault();
    pager.reset();
    history.replaceState(null, "", to(["revocations"], { user: only.value }));
    void lookNow(signal, look);
  });
  view.append(
    heading("Revocations"),
    h(
      "section",
      { class: "card" },
      h("h2", {}, "Revoke"),
      adding((action) => void then(action)),
    ),
    filter,
    table.element,
    pager.element,
  );
  await look();
}

/** @param {(action: Promise<boolean>) => void} then */
function adding(then) {
  const kind = select([
    ["user", "All tokens of a user"],
    ["member", "A user in one room"],
    ["token", "One token"],
  ]);
  const user = textInput();
  const room = textInput({ placeholder: "rooms/lobby" });
  const jti = textInput();
  const exp = h("input", { type: "datetime-local" });
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const fields = {
    user: field("revoke-user", "User id", user),
    room: field("revoke-room", "Room", room, "The namespace as in a path, and the name."),
    jti: field("revoke-jti", "Token id (jti)", jti),
    exp: field("revoke-exp", "It expires", exp, "Then it is forgotten. May be empty."),
  };
  const choose = () => {
    const isToken = kind.value === "token";
    fields.user.hidden = isToken;
    fields.room.hidden = kind.value !== "member";
    fields.jti.hidden = fields.exp.hidden = !isToken;
  };
  kind.addEventListener("change", choose);
  choose();
  const form = h(
    "form",
    { class: "filters", novalidate: true, "aria-label": "Revoke" },
    field("revoke-kind", "Refuse", kind),
    fields.user,
    fields.room,
    fields.jti,
    fields.exp,
    h("button", { type: "submit", class: "dangerous" }, "Revoke…"),
    problem,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const needed = kind.value === "token" ? [jti] : kind.value === "member" ? [user, room] : [user];
    const missing = needed.find((input) => input.value === "");
    problem.textContent = missing ? "Fill in whom to refuse." : "";
    problem.hidden = missing === undefined;
    if (missing) return missing.focus();
    if (kind.value === "token") {
      const until = exp.value === "" ? {} : { exp: Math.floor(new Date(exp.value).getTime() / 1000) };
      return then(revoke({ jti: jti.value, ...until }));
    }
    then(revoke(kind.value === "member" ? { user: user.value, room: room.value } : { user: user.value }));
  });
  return form;
}
