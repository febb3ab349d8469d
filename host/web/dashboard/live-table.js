// @ts-check
/** A table whose rows are replaced now and then. The focus, the selected text and the scroll position stay. */

import { fill, h, table } from "./dom.js";

const FOCUSABLE = "a[href], button, input, select";

export class LiveTable {
  element = h("div", { class: "live-table" });
  #caption;
  #columns;
  #none;
  #keyOf;

  /**
   * @param {string} caption
   * @param {import("./dom.js").Column[]} columns
   * @param {(row: any) => string} keyOf Tells a row from the others.
   * @param {string} [none] Shown in place of a table without rows.
   */
  constructor(caption, columns, keyOf, none) {
    this.#caption = caption;
    this.#columns = columns;
    this.#keyOf = keyOf;
    this.#none = none;
  }

  /** @param {any[]} rows @param {string} [none] */
  show(rows, none = this.#none) {
    const made = table(this.#caption, this.#columns, rows, none);
    const body = made.querySelector("tbody");
    for (const [at, row] of [...(body?.rows ?? [])].entries()) row.dataset.key = this.#keyOf(rows[at]);
    const old = this.element.querySelector("tbody");
    if (!body || !old) {
      const hadFocus = this.element.contains(document.activeElement);
      fill(this.element, made);
      if (hadFocus) this.#focusRegion();
      return;
    }
    const selection = getSelection();
    if (selection && !selection.isCollapsed && old.contains(selection.anchorNode)) return;
    const focused = this.#focused();
    old.replaceWith(body);
    if (focused) this.#focus(focused);
  }

  /** Which control of which row has the focus. */
  #focused() {
    const row = document.activeElement?.closest("tr");
    if (!row || !this.element.contains(row)) return undefined;
    return {
      key: row.dataset.key,
      at: [...row.querySelectorAll(FOCUSABLE)].indexOf(/** @type {Element} */ (document.activeElement)),
    };
  }

  /** @param {{ key: string | undefined, at: number }} focused */
  #focus({ key, at }) {
    const row = [...this.element.querySelectorAll("tr")].find((row) => row.dataset.key === key);
    const control = row?.querySelectorAll(FOCUSABLE)[at];
    if (control instanceof HTMLElement) control.focus({ preventScroll: true });
    else this.#focusRegion();
  }

  /** The row with the focus has gone: the keyboard goes on at the table, and not at the top of the page. */
  #focusRegion() {
    const region = this.element.firstElementChild;
    if (!(region instanceof HTMLElement)) return;
    if (!region.hasAttribute("tabindex")) region.tabIndex = -1;
    region.focus({ preventScroll: true });
  }
}
