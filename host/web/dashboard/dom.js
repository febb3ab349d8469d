// @ts-check
/**
 * Makes elements, and shows names, numbers and times. Text never becomes markup: names come from clients.
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Makes an element. Functions become listeners (`onclick`), `true` an attribute without a value, and `null`,
 * `undefined` and `false` nothing.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} [properties]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...nodes(children));
  return element;
}

/**
 * Replaces the content of an element.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/**
 * As `fill`, for a part of a page that changes by itself: the focus, the place in a table that scrolls, and a selection
 * of text stay.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function refresh(element, ...children) {
  const selection = getSelection();
  if (selection && !selection.isCollapsed && selection.containsNode(element, true)) return;
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = [...element.querySelectorAll(".table")].map(({ scrollLeft }) => scrollLeft);
  const same = focused && [...element.querySelectorAll(focused.tagName)].indexOf(focused);
  fill(element, ...children);
  element.querySelectorAll(".table").forEach((table, at) => (table.scrollLeft = scrolled[at] ?? 0));
  if (!focused) return;
  const candidates = [...element.querySelectorAll(focused.tagName)];
  const href = focused.getAttribute("href");
  const found = candidates.find((other) => href !== null && other.getAttribute("href") === href);
  const next = found ?? candidates[Math.min(same ?? 0, candidates.length - 1)];
  if (next instanceof HTMLElement) next.focus({ preventScroll: true });
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function nodes(children) {
  const given = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  return given.map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @param {{ new (): Kind }} [kind]
 * @returns {Kind}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof (kind ?? HTMLElement))) throw new Error(`the page has no #${id}`);
  return /** @type {Kind} */ (found);
}

/**
 * Characters that cannot be seen or that change how others are seen: controls, formats (with all marks of direction),
 * surrogates, private and unassigned ones, separators of lines, and spaces that are not U+0020.
 */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}|[\u115f\u1160\u3164\uffa0\u2800]/gu;

/** The longest name that is shown whole, in characters. */
const NAME_CHARACTERS = 48;

/**
 * A text in which every character can be seen: others are written as `\u{1b}`.
 *
 * @param {string} text
 */
export function visible(text) {
  return text.replace(UNSEEN, escape);
}

/** @param {string} character */
function escape(character) {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`;
}

/**
 * A name of a client, a room or a key. A long one is cut in the middle, and has its whole text as a title.
 *
 * @param {string} text
 * @param {{ most?: number, newlines?: boolean }} [options] The most characters that are shown, and whether a line break
 *   is one, as in `pre`.
 */
export function name(text, { most = NAME_CHARACTERS, newlines = false } = {}) {
  const characters = [...text];
  const isCut = characters.length > most;
  const half = Math.floor((most - 1) / 2);
  const parts = isCut ? [characters.slice(0, most - 1 - half).join(""), characters.slice(-half).join("")] : [text];
  const shown = parts.flatMap((part, at) => [
    ...(at > 0 ? [h("span", { class: "cut" }, "…")] : []),
    ...escaped(part, newlines),
  ]);
  const title = isCut || shown.length > 1 ? visible(text) : null;
  // `bdi` keeps the direction of a name from changing the text around it.
  return h("bdi", { class: "name", title }, text === "" ? h("span", { class: "soft" }, "(empty)") : shown);
}

/**
 * @param {string} text
 * @param {boolean} newlines
 * @returns {Child[]}
 */
function escaped(text, newlines) {
  /** @type {Child[]} */
  const parts = [];
  let from = 0;
  for (const { 0: character, index } of text.matchAll(UNSEEN)) {
    if (newlines && character === "\n") continue;
    if (index > from) parts.push(text.slice(from, index));
    parts.push(h("span", { class: "escape" }, escape(character)));
    from = index + character.length;
  }
  if (from < text.length) parts.push(text.slice(from));
  return parts;
}

/** The address of a room as a link to its page. @param {{ namespace: string, name: string }} room */
export function roomLink({ namespace, name: of }) {
  return h("a", { href: to(["rooms", namespace, of]) }, name(namespace), "/", name(of));
}

/** A user as a link to its page. @param {string} user */
export function userLink(user) {
  return h("a", { href: to(["users", user]) }, name(user));
}

/**
 * The address of a page of the dashboard, for `href`.
 *
 * @param {string[]} segments
 * @param {import("./api.js").Query} [query]
 */
export function to(segments, query = {}) {
  const given = Object.entries(query).flatMap(([key, value]) =>
    value === undefined || value === null || value === "" ? [] : [[key, String(value)]],
  );
  const search = new URLSearchParams(given).toString();
  return `#/${segments.map(encode).join("/")}${search && `?${search}`}`;
}

/** A segment of a path, percent-encoded. @param {string} segment */
export function encode(segment) {
  return encodeURIComponent(segment.replace(/\p{Surrogate}/gu, "\ufffd"));
}

/** @typedef {{ title: string, number?: boolean, wide?: boolean, cell: (row: any) => Child | Child[] }} Column `wide` for long texts. */

/**
 * A table that scrolls by itself where the page is too narrow for it.
 *
 * @param {string} caption What it lists. Only screen readers get it.
 * @param {Column[]} columns
 * @param {any[]} rows
 * @param {string} [none] Shown in place of a table without rows.
 */
export function table(caption, columns, rows, none = "Nothing here.") {
  if (rows.length === 0) return h("p", { class: "none" }, none);
  /** @param {Column} column */
  const kind = ({ number: isNumber, wide }) => (isNumber ? "number" : wide ? "wide" : null);
  const head = columns.map((column) => h("th", { scope: "col", class: kind(column) }, column.title));
  const body = rows.map((row) =>
    h(
      "tr",
      {},
      columns.map((column) => h("td", { class: kind(column) }, column.cell(row))),
    ),
  );
  return h(
    "div",
    { class: "table", role: "region", "aria-label": caption, tabindex: 0 },
    h(
      "table",
      {},
      h("caption", { class: "visually-hidden" }, caption),
      h("thead", {}, h("tr", {}, head)),
      h("tbody", {}, body),
    ),
  );
}

/**
 * Numbers with their names, side by side.
 *
 * @param {{ name: string, value: Child, more?: Child }[]} numbers `more` is a line below the value.
 */
export function tiles(numbers) {
  const all = numbers.map(({ name, value, more }) =>
    h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value), more ? h("dd", {}, more) : null),
  );
  return h("dl", { class: "tiles" }, all);
}

/**
 * A word about a state.
 *
 * @param {"good" | "waiting" | "bad" | "plain"} kind
 * @param {...Child} children
 */
export function badge(kind, ...children) {
  return h("span", { class: "badge", "data-kind": kind }, ...children);
}

/**
 * A labelled input, for forms and dialogs.
 *
 * @param {string} label
 * @param {HTMLElement} input It gets an id if it has none.
 * @param {string} [hint]
 */
export function field(label, input, hint) {
  input.id ||= `field-${(fields += 1)}`;
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: input.id }, label),
    input,
    hint && h("p", { class: "hint", id: `${input.id}-hint` }, hint),
  );
}

let fields = 0;

/**
 * The head of a page: its title, and what can be done there.
 *
 * @param {Child | Child[]} title
 * @param {...(Child | Child[])} actions
 */
export function heading(title, ...actions) {
  return h("div", { class: "heading" }, h("h1", { tabindex: -1 }, title), h("div", { class: "actions" }, ...actions));
}

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** A count, such as 12,345. @param {number | null | undefined} value */
export function number(value) {
  return value === null || value === undefined ? "–" : WHOLE.format(value);
}

/** A rate or another value with three digits, such as 1.23K. @param {number | null | undefined} value */
export function short(value) {
  return value === null || value === undefined ? "–" : SHORT.format(value);
}

/** Bytes, such as 1.5 MiB. @param {number | null | undefined} value */
export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(Math.abs(value), 1)) / 10), units.length - 1);
  const shown = value / 1024 ** power;
  return `${power === 0 ? shown : shown.toPrecision(shown >= 1000 ? 4 : 3)} ${units[power]}`;
}

/** A duration in seconds, such as 850 µs, 12 ms, 3.4 s, 5 min 10 s or 3 d 4 h. @param {number | null | undefined} value */
export function duration(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 s";
  // Values that two digits would round up to the next unit are shown in that.
  if (value < 995e-6) return `${Number((value * 1e6).toPrecision(2))} µs`;
  if (value < 0.995) return `${Number((value * 1e3).toPrecision(2))} ms`;
  if (value < 59.5) return `${Number(value.toPrecision(2))} s`;
  const seconds = Math.round(value);
  /** @type {[number, string][]} */
  const units = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([length]) => seconds >= length);
  let rest = seconds;
  const parts = units.slice(first, first + 2).map(([length, unit]) => {
    const count = Math.floor(rest / length);
    rest -= count * length;
    return count > 0 ? `${count} ${unit}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

/** A part of 1, such as 12 %. @param {number | null | undefined} value */
export function percent(value) {
  return value === null || value === undefined ? "–" : `${Number((value * 100).toPrecision(2))} %`;
}

/**
 * A time as how long ago it is, or in how long, with the time itself as a title.
 *
 * @param {number | string | null | undefined} at Unix time in milliseconds, or as RFC 3339.
 */
export function ago(at) {
  if (at === null || at === undefined) return h("span", { class: "soft" }, "–");
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return h("span", {}, String(at));
  const seconds = (Date.now() - date.getTime()) / 1000;
  const near = Math.abs(seconds) < 1;
  const shown = duration(Math.max(Math.round(Math.abs(seconds)), 1));
  const text = near ? "now" : seconds > 0 ? `${shown} ago` : `in ${shown}`;
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString() }, text);
}

/**
 * How long something lasts already, such as "for 5 min", with its beginning as a title.
 *
 * @param {number} since Unix time in milliseconds.
 */
export function lasting(since) {
  const date = new Date(since);
  const seconds = Math.max(Math.round((Date.now() - since) / 1000), 0);
  return h("time", { datetime: date.toISOString(), title: date.toLocaleString() }, `for ${duration(seconds)}`);
}

/** A time of the day on its date. @param {number | string} at As above. */
export function time(at) {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return h("span", {}, String(at));
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, date.toLocaleString());
}
