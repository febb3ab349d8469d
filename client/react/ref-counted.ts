/**
 * Something that is open while it has users. React may unmount a component and mount it again at once (in StrictMode,
 * on hot reload, when a list is reordered), which must not cost a connection. So it closes only if it still has no user
 * in the next task.
 */

/**
 * A render may create a value that no effect acquires, because React discarded the render. It closes after this time,
 * ms.
 */
const UNUSED_TIMEOUT_MS = 1_000;

interface Lifecycle {
  /** It was opened. */
  opened?: () => void;
  /** It has no users any more. */
  closed?: () => void;
  /** Whether another value has taken its place meanwhile. */
  isReplaced?: () => boolean;
}

export class RefCounted<Value extends { open(): void; close(): void }> {
  readonly value: Value;
  readonly #lifecycle: Lifecycle;
  #users = 0;
  #isOpen = false;
  #ending: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param value Must do nothing before `open`, and must allow `open` after `close`.
   */
  constructor(value: Value, lifecycle: Lifecycle = {}) {
    this.value = value;
    this.#lifecycle = lifecycle;
    this.#endIn(UNUSED_TIMEOUT_MS);
  }

  /**
   * Whether it has users or had one a moment ago. A function that is kept after unmounting checks it before it opens.
   */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** For a component that returns late, such as one that was hidden. */
  get isReplaced(): boolean {
    return this.#lifecycle.isReplaced?.() ?? false;
  }

  /** For an effect: it returns the cleanup function that releases the value. */
  acquire(): () => void {
    this.#users += 1;
    clearTimeout(this.#ending);
    // Not if it is still open for us: a connection that was closed by hand must stay closed.
    if (!this.#isOpen) this.#begin();
    return () => this.#release();
  }

  #begin(): void {
    this.#isOpen = true;
    this.#lifecycle.opened?.();
    this.value.open();
  }

  #release(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#endIn(0);
  }

  #endIn(ms: number): void {
    this.#ending = setTimeout(() => {
      this.#isOpen = false;
      this.value.close();
      this.#lifecycle.closed?.();
    }, ms);
  }
}
