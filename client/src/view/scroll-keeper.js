// @ts-check
/**
 * Decides where the list is scrolled to: at the newest message until the reader scrolls up, and then where the reader
 * leaves it, until they scroll down to the end again.
 */

/** Within this distance of the end, px, the reader counts as being at the end. */
const NEAR = 48;

export class ScrollKeeper {
  #scroller;
  #follows = true;
  #lastTop = 0;
  #changed;
  /** Keeps its place while the list changes above it. @type {{ anchor: Element, top: number } | undefined} */
  #pinned;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} content
   * @param {AbortSignal} signal Removes all listeners.
   * @param {() => void} changed Called when the reader leaves the end, and when they return.
   */
  constructor(scroller, content, signal, changed) {
    this.#scroller = scroller;
    this.#changed = changed;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true, signal });
    const observer = new ResizeObserver(() => this.#resized());
    observer.observe(scroller);
    observer.observe(content);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  /** Whether the newest message is in view and stays there. */
  get follows() {
    return this.#follows;
  }

  toEnd() {
    this.#set(true);
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
  }

  /**
   * Keeps an element in place while lines are added above it. Ends with `settle`, after the change.
   *
   * @param {Element | null | undefined} anchor
   */
  pin(anchor) {
    if (!anchor) return;
    this.#pinned = { anchor, top: anchor.getBoundingClientRect().top };
    // The browser's own scroll anchoring does nothing at the very top, and elsewhere would add to ours.
    this.#scroller.style.overflowAnchor = "none";
  }

  /** The list has changed. */
  settle() {
    if (!this.#pinned) return this.#follows ? this.toEnd() : undefined;
    this.#restorePinned();
    this.#set(this.#isNearEnd());
    // New rows have an estimated height until they are rendered; then the observer is called. So the element stays
    // pinned until the frame after that.
    const pinned = this.#pinned;
    requestAnimationFrame(() => requestAnimationFrame(() => this.#release(pinned)));
  }

  /** @param {object} pinned */
  #release(pinned) {
    if (this.#pinned !== pinned) return;
    this.#pinned = undefined;
    this.#scroller.style.overflowAnchor = "";
  }

  #restorePinned() {
    if (!this.#pinned) return;
    this.#scroller.scrollTop += this.#pinned.anchor.getBoundingClientRect().top - this.#pinned.top;
    this.#lastTop = this.#scroller.scrollTop;
  }

  #resized() {
    if (this.#pinned) this.#restorePinned();
    else if (this.#follows) this.toEnd();
  }

  #scrolled() {
    const { scrollTop } = this.#scroller;
    // Only a scroll upwards is the reader's: a growing list leaves the end by itself.
    if (this.#isNearEnd()) this.#set(true);
    else if (scrollTop < this.#lastTop - 1) this.#set(false);
    this.#lastTop = scrollTop;
  }

  #isNearEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    return scrollHeight - clientHeight - scrollTop <= NEAR;
  }

  /** @param {boolean} follows */
  #set(follows) {
    if (this.#follows === follows) return;
    this.#follows = follows;
    this.#changed();
  }
}
