/**
 * Something that is open for as long as anybody uses it. React may take a component away and put it back at once (in
 * StrictMode, on hot reload, when a list is reordered), and that must not cost a connection: so it is closed only when
 * nobody has taken it again by the next task.
 */

/** How long something may lie unused that a render has asked for and no effect has taken, ms: renders can be given up. */
const UNUSED_TIMEOUT_MS = 1_000;

interface Lifecycle {
  /** It was opened. */
  opened?: () => void;
  /** Nobody uses it any more. */
  closed?: () => void;
  /** Whether others have had to do without it, and use another one of the same. */
  isReplaced?: () => boolean;
}

export class RefCounted<Value extends { open(): void; close(): void }> {
  readonly value: Value;
  readonly #lifecycle: Lifecycle;
  #users = 0;
  #isOpen = false;
  #ending: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param value Must do nothing before `open`, and bear to be opened again after `close`.
   */
  constructor(value: Value, lifecycle: Lifecycle = {}) {
    this.value = value;
    this.#lifecycle = lifecycle;
    this.#endIn(UNUSED_TIMEOUT_MS);
  }

  /** Whether it is anybody's: who keeps a function of it for longer must not open it for nobody. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** For who comes back to it late, such as a component that was hidden. */
  get isReplaced(): boolean {
    return this.#lifecycle.isReplaced?.() ?? false;
  }

  /** For an effect: the cleanup that it returns gives it back. */
  acquire(): () => void {
    this.#users += 1;
    clearTimeout(this.#ending);
    // Not when it is only taken again: whoever has closed it by hand shall find it closed.
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
