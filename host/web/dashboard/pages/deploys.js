// @ts-check
/** The versions of each namespace and of the router: what runs, what is being deployed, and what can run again. */

import { get, path, send } from "../api.js";
import { ask, notice } from "../dialog.js";
import { ago, badge, field, h, heading, name, number, refresh, roomLink, table } from "../dom.js";
import { poll } from "../poll.js";

const EVERY_MS = 3_000;
/** The digits of a version that are shown, as the commands print it. */
const DIGITS = 12;

/** @type {import("../app.js").Page["show"]} */
export async function show(view, _parameters, signal) {
  const targets = h("div", { class: "stack" });
  view.append(
    heading("Deploys"),
    h(
      "p",
      { class: "soft" },
      "Rooms take new code between two events and keep their sockets. If it fails in a room, the old code returns.",
    ),
    targets,
  );
  const look = async () => {
    const { deploys } = await get("/deploys", {}, signal);
    refresh(
      targets,
      deploys.map((/** @type {any} */ deploy) => target(deploy, () => void look())),
    );
  };
  await poll(EVERY_MS, signal, look);
}

/** @param {string} hash */
function version(hash) {
  return h("code", { title: hash }, hash.slice(0, DIGITS));
}

/**
 * @param {any} deploy
 * @param {() => void} changed
 */
function target(deploy, changed) {
  const { target: of, candidate, last_failure: failure } = deploy;
  const isRouter = of === "router";
  const before = deploy.versions.find((/** @type {any} */ other) => other.hash !== deploy.version.hash);
  const actions = [
    h("button", { type: "button", onclick: () => deployTo(of, isRouter, changed) }, "Deploy…"),
    (candidate || before) &&
      h(
        "button",
        { type: "button", class: "dangerous", onclick: () => rollBack(deploy, before, changed) },
        candidate ? "End this deploy…" : "Roll back…",
      ),
  ];
  return h(
    "section",
    { class: "card stack", "aria-label": of },
    h("div", { class: "heading" }, h("h2", {}, name(of)), h("div", { class: "actions" }, actions)),
    candidate && underWay(candidate),
    failure && failed(failure),
    versions(deploy),
  );
}

/** @param {any} candidate */
function underWay(candidate) {
  const { hash, since, percent: share, pattern, settles_after_s: settles } = candidate;
  const scope = [share < 100 && `${share} % of the rooms`, pattern && `rooms that match ${pattern}`].filter(Boolean);
  return h(
    "p",
    {},
    badge("waiting", "deploying"),
    " ",
    version(hash),
    " to ",
    scope.join(", ") || "all rooms",
    since !== null && [", begun ", ago(since)],
    settles === null
      ? ". It does not settle by itself: deploy it to all rooms, or end it."
      : since !== null && ["; it settles ", ago(since + settles * 1000), " if nothing fails."],
  );
}

/** @param {any} failure */
function failed({ hash, at, place, event, reason }) {
  const [namespace, ...rest] = place.split("/");
  const where = rest.length > 0 ? roomLink({ namespace, name: rest.join("/") }) : name(place);
  return h(
    "div",
    { class: "stack" },
    h(
      "p",
      {},
      badge("bad", "stopped"),
      " The deploy of ",
      version(hash),
      " failed ",
      ago(at),
      " in ",
      where,
      `, at the event ${event}:`,
    ),
    h("pre", {}, name(reason, { most: 2_000, newlines: true })),
  );
}

/** @param {any} deploy */
function versions(deploy) {
  /** @type {Map<string, any>} */
  const all = new Map();
  const { candidate } = deploy;
  if (candidate) all.set(candidate.hash, { ...candidate, state: badge("waiting", "deploying") });
  all.set(deploy.version.hash, { ...deploy.version, state: badge("good", candidate ? "stable" : "runs") });
  for (const kept of deploy.versions) {
    if (!all.has(kept.hash)) all.set(kept.hash, { ...kept, state: badge("plain", "kept") });
  }
  const rooms = new Map(deploy.rooms.map((/** @type {any} */ of) => [of.hash, of]));
  return table(
    `Versions of ${deploy.target}`,
    [
      { title: "Version", cell: ({ hash }) => version(hash) },
      { title: "State", cell: ({ state, configured }) => [state, configured && " as configured"] },
      { title: "Began to run", cell: ({ since }) => ago(since) },
      { title: "Rooms in memory", number: true, cell: ({ hash }) => number(rooms.get(hash)?.rooms ?? 0) },
      { title: "Rooms migrated", number: true, cell: ({ hash }) => number(rooms.get(hash)?.migrated ?? 0) },
    ],
    [...all.values()],
  );
}

/**
 * @param {string} of
 * @param {boolean} isRouter A router has no rooms to begin with.
 * @param {() => void} changed
 */
async function deployTo(of, isRouter, changed) {
  const file = h("input", { type: "file", name: "file", accept: ".wasm,application/wasm", required: true });
  const canary = h("input", { name: "canary", inputmode: "decimal", placeholder: "5" });
  const pattern = h("input", { name: "rooms", placeholder: "team-*", spellcheck: "false", autocapitalize: "off" });
  const watch = h("input", { name: "watch", placeholder: "10m", spellcheck: "false", autocapitalize: "off" });
  let said = "";
  const done = await ask({
    title: `Deploy to ${of}`,
    consequence:
      "The component is checked first, and nothing changes if a check fails. Then each room takes it at its next " +
      "event. You can roll back, but what the new code stores stays.",
    action: "Deploy",
    doing: "The component is sent, compiled and tried. This may take a minute or more.",
    fields: [
      field("Component", file),
      ...(isRouter
        ? []
        : [
            field("Only this share of the rooms, in percent", canary, "Empty for all rooms."),
            field("Only rooms whose name matches", pattern, "* stands for any characters."),
          ]),
      field("Watch for failures for", watch, "A deploy to all rooms settles after this time."),
    ],
    does: async () => {
      const component = file.files?.[0];
      if (!component) throw new Error("Choose the component: a .wasm file.");
      const share = canary.value.trim();
      const answer = await send("POST", path`/deploys/${of}`, component, {
        canary: share && `${share.replace(/\s*%$/, "")}%`,
        rooms: pattern.value.trim(),
        watch: watch.value.trim(),
      });
      said = answer.changed
        ? `${of} takes ${answer.version.slice(0, DIGITS)}${answer.canary ? " in some rooms" : ""}.`
        : `${of} runs ${answer.version.slice(0, DIGITS)} already.`;
    },
  });
  if (done) notice(said);
  changed();
}

/**
 * @param {any} deploy
 * @param {any} before
 * @param {() => void} changed
 */
async function rollBack(deploy, before, changed) {
  const { target: of, candidate } = deploy;
  const back = candidate ? deploy.version : before;
  let said = "";
  const done = await ask({
    title: candidate ? `End the deploy to ${of}?` : `Roll back ${of}?`,
    consequence: [
      h("p", {}, "All rooms return to ", version(back.hash), " at their next event, without a trial."),
      h(
        "p",
        {},
        candidate
          ? "What the newer code has stored stays."
          : "What the newer code has stored stays. The newer version is forgotten: to run it again, deploy its file.",
      ),
    ],
    action: candidate ? "End the deploy" : "Roll back",
    danger: true,
    does: async () => {
      const answer = await send("POST", path`/deploys/${of}/rollback`);
      said = `${of} returns to ${answer.version.slice(0, DIGITS)}.`;
    },
  });
  if (done) notice(said);
  changed();
}
