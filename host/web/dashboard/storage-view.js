// @ts-check
/** The storage of a room as it is on disk, by prefix and a page at a time. Nothing is read before it is asked for. */

import { get } from "./api.js";
import { banner } from "./poll.js";
import { bytes, fill, h, name, table, visible } from "./dom.js";
import { check, field, select, textInput } from "./forms.js";
import { Pager } from "./pager.js";
import { roomPath } from "./rooms-api.js";

/** The entries of a page. */
const ENTRIES = 20;
/** The most characters of a value that are shown. Whole values have megabytes. */
const VALUE_CHARACTERS = 200_000;
/** A longer value scrolls. */
const LONG_CHARACTERS = 400;
const LONG_LINES = 6;

/** @typedef {{ key?: string, keyHex?: string, text?: string, hex?: string, bytes: number, cut: boolean }} Entry */

export class StorageView {
  #room;
  #leaving;
  #request = 0;
  #prefix = textInput();
  #prefixIs = select([
    ["text", "Text"],
    ["hex", "Hexadecimal"],
  ]);
  #format = select([
    ["json", "JSON"],
    ["text", "Text"],
    ["hex", "Hexadecimal"],
  ]);
  #full = h("input");
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #entries = h("div", { class: "storage-entries" });
  #pager = new Pager(() => void this.#look(), "Pages of the storage");

  /**
   * @param {import("./rooms-api.js").Place} room
   * @param {AbortSignal} leaving
   */
  constructor(room, leaving) {
    this.#room = room;
    this.#leaving = leaving;
    const form = h(
      "form",
      { class: "filters", novalidate: true },
      field("storage-prefix", "Keys begin with", this.#prefix),
      field("storage-prefix-is", "The prefix is", this.#prefixIs),
      field("storage-format", "Show values as", this.#format),
      check("Whole values", this.#full),
      h("button", { type: "submit", class: "primary" }, "Show"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#pager.reset();
      void this.#look();
    });
    this.element = h(
      "section",
      { class: "card storage", "aria-labelledby": "storage-title" },
      h("h2", { id: "storage-title" }, "Storage"),
      form,
      this.#problem,
      this.#entries,
      this.#pager.element,
    );
  }

  async #look() {
    const number = (this.#request += 1);
    const format = this.#format.value;
    // The server would parse JSON and this page again, and large numbers would lose digits.
    const query = {
      [this.#prefixIs.value === "hex" ? "prefixHex" : "prefix"]: this.#prefix.value,
      format: format === "hex" ? "hex" : "text",
      full: this.#full.checked ? true : undefined,
      limit: ENTRIES,
      after: this.#pager.after,
    };
    try {
      /** @type {{ entries: Entry[], next: string | null }} */
      const page = await get(roomPath(this.#room, "/storage"), query, this.#leaving);
      if (number !== this.#request) return;
      this.#problem.hidden = true;
      banner();
      const columns = [
        { title: "Key", cell: keyOf },
        { title: "Value", cell: (/** @type {Entry} */ entry) => valueOf(entry, format) },
        { title: "Size", number: true, cell: (/** @type {Entry} */ entry) => bytes(entry.bytes) },
      ];
      fill(this.#entries, table("Entries of the storage", columns, page.entries, "There are no such entries on disk."));
      this.#pager.show(page.next, page.entries.length);
    } catch (error) {
      if (this.#leaving.aborted || number !== this.#request) return;
      fill(this.#problem, error instanceof Error ? error.message : String(error));
      this.#problem.hidden = false;
    }
  }
}

/** @param {Entry} entry */
function keyOf({ key, keyHex }) {
  return key === undefined ? [h("code", {}, keyHex), h("span", { class: "soft" }, " (hex)")] : name(key);
}

/**
 * @param {Entry} entry
 * @param {string} format
 */
function valueOf({ text, hex, bytes: size, cut }, format) {
  const whole = hex ?? (format === "json" && !cut ? pretty(text ?? "") : (text ?? ""));
  const shown = whole.slice(0, VALUE_CHARACTERS);
  const isCut = cut || shown.length < whole.length;
  // It scrolls, and so the keyboard must reach it.
  const isLong = shown.length > LONG_CHARACTERS || shown.split("\n").length > LONG_LINES;
  return [
    h("pre", { class: "value", tabindex: isLong ? 0 : null }, shown.split("\n").map(visible).join("\n")),
    isCut && h("p", { class: "hint" }, `The beginning of ${bytes(size)}.`),
    hex !== undefined && format !== "hex" && h("p", { class: "hint" }, "It is no UTF-8: hexadecimal digits."),
  ];
}

/**
 * JSON with line breaks, or the text itself if it is no JSON. Numbers keep all their digits where the browser can do
 * that; elsewhere the text stays as it is.
 *
 * @param {string} text
 */
function pretty(text) {
  /** @type {any} */
  const json = JSON;
  if (typeof json.rawJSON !== "function") return text;
  try {
    const parsed = json.parse(
      text,
      (/** @type {string} */ _key, /** @type {unknown} */ value, /** @type {{ source?: string }} */ context) =>
        typeof value === "number" && context?.source !== undefined ? json.rawJSON(context.source) : value,
    );
    return /** @type {string} */ (json.stringify(parsed, null, 2));
  } catch {
    return text;
  }
}
