// @ts-check
/** On a narrow screen the side panel is a drawer: it takes the focus when it opens, and returns it when it closes. */

import { byId } from "./dom.js";

export class SideDrawer {
  #side = byId("side");
  #talk = byId("talk");
  #scrim = byId("scrim");
  #opener = byId("side-open");
  #narrow = matchMedia("(max-width: 820px)");
  #isOpen = false;

  constructor() {
    this.#opener.addEventListener("click", () => this.#set(true));
    byId("side-close").addEventListener("click", () => this.close());
    this.#scrim.addEventListener("click", () => this.close());
    this.#side.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    this.#narrow.addEventListener("change", () => this.#set(false));
    this.#set(false);
  }

  close() {
    if (!this.#isOpen) return;
    this.#set(false);
    this.#opener.focus();
  }

  /** @param {boolean} isOpen */
  #set(isOpen) {
    this.#isOpen = isOpen;
    this.#side.classList.toggle("open", isOpen);
    this.#scrim.hidden = !isOpen;
    this.#opener.setAttribute("aria-expanded", String(isOpen));
    // A part that is not visible must not be reachable by keyboard either.
    this.#side.inert = this.#narrow.matches && !isOpen;
    this.#talk.inert = isOpen;
    if (isOpen) byId("side-close").focus();
  }
}
