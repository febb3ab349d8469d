// @ts-check
/**
 * Who decides where the list is scrolled to: the newest message, until the reader scrolls up; then the reader, until
 * they come back down.
 */

/** How near to the end still counts as being there, px. */
const NEAR = 48;

export class ScrollKeeper {
  #scroller;
  #follows = true;
  #lastTop = 0;
  #changed;
  /** What must stay where it is while the list changes above it. @type {{ anchor: Element, top: number } | undefined} */
  #pinned;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} content
   * @param {AbortSignal} signal Ends the keeping.
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

  /** Whether the newest message is in view, and will be. */
  get follows() {
    return this.#follows;
  }

  toEnd() {
    this.#set(true);
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
  }

  /**
   * What is being read shall stay where it is, whatever is about to come above it. Ends with `settle`, after the change.
   *
   * @param {Element | null | undefined} anchor
   */
  pin(anchor) {
    if (!anchor) return;
    this.#pinned = { anchor, top: anchor.getBoundingClientRect().top };
    // The browser's own anchoring does nothing at the very top and would add to ours elsewhere.
    this.#scroller.style.overflowAnchor = "none";
  }

  /** The list has changed. */
  settle() {
    if (!this.#pinned) return this.#follows ? this.toEnd() : undefined;
    this.#restorePinned();
    this.#set(this.#isNearEnd());
    // Rows that were only estimated get their true height when they are drawn, and the observer tells: so hold on until
    // the frame after that.
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
    // Only a way up is the reader's: a list that grows leaves the end without anybody having moved.
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
