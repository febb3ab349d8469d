// @ts-check
/** Labelled inputs for filters and questions. */

import { h, name, number } from "./dom.js";

/**
 * @param {string} id Of the input.
 * @param {string} label
 * @param {HTMLElement} input
 * @param {string} [hint]
 */
export function field(id, label, input, hint) {
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint && h("p", { class: "hint", id: `${id}-hint` }, hint),
  );
}

/**
 * An input for a name or an id: the browser changes and completes nothing.
 *
 * @param {Record<string, string | number | boolean | undefined>} [properties]
 */
export function textInput(properties = {}) {
  return h("input", { autocomplete: "off", spellcheck: "false", autocapitalize: "off", ...properties });
}

/**
 * @param {[value: string, label: string][]} options
 * @param {string} [chosen]
 * @param {string} [name]
 */
export function select(options, chosen = "", name) {
  return h(
    "select",
    { name },
    options.map(([value, label]) => h("option", { value, selected: value === chosen }, label)),
  );
}

/** @param {string} label @param {HTMLInputElement} input */
export function check(label, input) {
  input.type = "checkbox";
  return h("label", { class: "check" }, input, ` ${label}`);
}

/**
 * The buttons in a row of a table.
 *
 * @param {string} about The name of the thing in the row, so that screen readers tell equal buttons apart.
 * @param {...[label: string, act: () => void]} actions
 */
export function rowActions(about, ...actions) {
  return h(
    "div",
    { class: "row-actions" },
    actions.map(([label, act]) =>
      h(
        "button",
        { type: "button", class: "quiet small", onclick: act },
        label,
        h("span", { class: "visually-hidden" }, " ", name(about)),
      ),
    ),
  );
}

/** A count with its noun, such as "1 socket" or "3 entries". @param {number} count @param {string} noun */
export function counted(count, noun) {
  const nouns = noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`;
  return `${number(count)} ${count === 1 ? noun : nouns}`;
}
