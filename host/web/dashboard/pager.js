// @ts-check
/** The buttons below one page of a long list. They know the cursors of the pages before, and not what is listed. */

import { fill, h } from "./dom.js";

export class Pager {
  /** The cursor of each page up to the present one. @type {(string | undefined)[]} */
  #cursors = [undefined];
  /** @type {string | null} */
  #next = null;
  #text = h("span", { class: "soft", role: "status" });
  #first;
  #previous;
  #following;

  /**
   * @param {() => void} turned Called when another page is wanted: its cursor is `after`.
   * @param {string} [label]
   */
  constructor(turned, label = "Pages of the list") {
    /** @param {string} text @param {() => void} change */
    const button = (text, change) => {
      const element = h("button", { type: "button" }, text);
      element.addEventListener("click", () => {
        if (element.getAttribute("aria-disabled") === "true") return;
        change();
        turned();
      });
      return element;
    };
    this.#first = button("First", () => this.reset());
    this.#previous = button("Previous", () => this.#cursors.pop());
    this.#following = button("Next", () => this.#cursors.push(this.#next ?? undefined));
    this.element = h(
      "nav",
      { class: "pager", "aria-label": label },
      this.#first,
      this.#previous,
      this.#following,
      this.#text,
    );
    this.show(null, 0);
  }

  /** The cursor of the present page; absent for the first one. */
  get after() {
    return this.#cursors.at(-1);
  }

  /** Whether the present page is the first one. */
  get isFirst() {
    return this.#cursors.length === 1;
  }

  /** Back to the first page, without asking for it. */
  reset() {
    this.#cursors = [undefined];
  }

  /**
   * Shows which pages there are. Buttons keep the focus, also when they can do nothing.
   *
   * @param {string | null} next The cursor of the next page.
   * @param {number} rows How many rows the present page has.
   */
  show(next, rows) {
    this.#next = next;
    this.element.hidden = next === null && this.isFirst;
    for (const [button, isUseful] of /** @type {const} */ ([
      [this.#first, !this.isFirst],
      [this.#previous, !this.isFirst],
      [this.#following, next !== null],
    ])) {
      button.setAttribute("aria-disabled", String(!isUseful));
    }
    const text = `Page ${this.#cursors.length}, ${rows} ${rows === 1 ? "row" : "rows"}`;
    if (this.#text.textContent !== text) fill(this.#text, text);
  }
}
