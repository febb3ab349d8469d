// @ts-check
/** The text field. It knows the keys and its own size, and not what happens to the text. */

import { MAX_CONTENT_UNITS } from "/client/index.js";
import { byId } from "./dom.js";

/** From this length on the field shows how much is left. */
const NEARLY_FULL = MAX_CONTENT_UNITS - 200;

/** The `keyCode` of every key that an input method handles. */
const COMPOSING = 229;

export class Composer {
  #form = byId("composer", HTMLFormElement);
  #text = byId("text", HTMLTextAreaElement);
  #left = byId("text-left");
  #readOnly = byId("read-only");

  /** @param {{ send: (text: string) => void, typing: () => void, tooLong: (count: number) => void }} does */
  constructor({ send, typing, tooLong }) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.#text.value;
      if (text.trim() === "") return;
      // A pasted text is not cut: its author knows best which part can go.
      if (text.length > MAX_CONTENT_UNITS) return tooLong(text.length - MAX_CONTENT_UNITS);
      this.#text.value = "";
      this.#measure();
      this.#text.focus();
      send(text);
    });
    this.#text.addEventListener("keydown", (event) => {
      // Enter may also end a word in an input method. Safari reports that only by the old key code.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === COMPOSING) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#text.addEventListener("input", () => {
      this.#measure();
      if (this.#text.value.trim() !== "") typing();
    });
  }

  /** @param {string} roomId */
  enter(roomId) {
    this.#text.placeholder = `Message ${roomId}`;
    this.setRefusal(undefined);
    // On a phone the focus would open the keyboard over the messages.
    if (matchMedia("(hover: hover)").matches) this.#text.focus({ preventScroll: true });
  }

  /**
   * Shows a sentence in the place of the field. What was written returns with the field.
   *
   * @param {string | undefined} refusal Why the reader may not write.
   */
  setRefusal(refusal) {
    const isReadOnly = refusal !== undefined;
    this.#form.hidden = isReadOnly;
    this.#readOnly.hidden = !isReadOnly;
    this.#readOnly.textContent = refusal ?? "";
    if (!isReadOnly) this.#measure();
  }

  /** @param {string} text */
  restore(text) {
    if (this.#text.value === "") this.#text.value = text;
    this.#measure();
  }

  #measure() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
    const left = MAX_CONTENT_UNITS - this.#text.value.length;
    const isTooLong = left < 0;
    this.#left.textContent = isTooLong
      ? `${-left} too many`
      : left < MAX_CONTENT_UNITS - NEARLY_FULL
        ? `${left} left`
        : "";
    this.#left.toggleAttribute("data-excess", isTooLong);
    this.#text.setAttribute("aria-invalid", String(isTooLong));
  }
}
