/** `Event`, `EventTarget`, and what ends work early: `AbortController` and `AbortSignal`. */
import * as host from "dormouse:host";

import { clearTimeout, setTimeout } from "../timers.js";

type Listener = ((event: any) => unknown) | { handleEvent(event: any): unknown };

interface Registered {
  type: string;
  listener: Listener;
  once: boolean;
}

export class Event {
  readonly type: string;
  readonly cancelable: boolean;
  readonly bubbles: boolean;
  readonly timeStamp = 0;
  #target: EventTarget | null = null;
  #isPrevented = false;
  #isStopped = false;

  constructor(type: string, { cancelable = false, bubbles = false }: { cancelable?: boolean; bubbles?: boolean } = {}) {
    this.type = String(type);
    this.cancelable = cancelable;
    this.bubbles = bubbles;
  }

  get target(): EventTarget | null {
    return this.#target;
  }

  get currentTarget(): EventTarget | null {
    return this.#target;
  }

  get defaultPrevented(): boolean {
    return this.#isPrevented;
  }

  preventDefault(): void {
    if (this.cancelable) this.#isPrevented = true;
  }

  stopPropagation(): void {}

  stopImmediatePropagation(): void {
    this.#isStopped = true;
  }

  composedPath(): EventTarget[] {
    return this.#target ? [this.#target] : [];
  }

  static sentTo(event: Event, target: EventTarget): void {
    event.#target = target;
  }

  static isStopped(event: Event): boolean {
    return event.#isStopped;
  }
}

export class CustomEvent<T = any> extends Event {
  readonly detail: T;

  constructor(type: string, init: { detail?: T; cancelable?: boolean; bubbles?: boolean } = {}) {
    super(type, init);
    this.detail = (init.detail ?? null) as T;
  }
}

export class MessageEvent<T = any> extends Event {
  readonly data: T;
  readonly origin = "";
  readonly lastEventId = "";

  constructor(type: string, init: { data?: T } = {}) {
    super(type);
    this.data = (init.data ?? null) as T;
  }
}

export class CloseEvent extends Event {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;

  constructor(type: string, init: { code?: number; reason?: string; wasClean?: boolean } = {}) {
    super(type);
    this.code = init.code ?? 0;
    this.reason = init.reason ?? "";
    this.wasClean = init.wasClean ?? false;
  }
}

export class ErrorEvent extends Event {
  readonly message: string;
  readonly error: unknown;

  constructor(type: string, init: { message?: string; error?: unknown } = {}) {
    super(type);
    this.message = init.message ?? "";
    this.error = init.error;
  }
}

export class EventTarget {
  #listeners: Registered[] = [];

  addEventListener(
    type: string,
    listener: Listener | null,
    options?: boolean | { once?: boolean; signal?: AbortSignal },
  ): void {
    if (listener === null || listener === undefined) return;
    const { once = false, signal = undefined } = typeof options === "object" ? options : {};
    if (signal?.aborted) return;
    if (this.#listeners.some((known) => known.type === type && known.listener === listener)) return;
    this.#listeners.push({ type, listener, once });
    signal?.addEventListener("abort", () => this.removeEventListener(type, listener));
  }

  removeEventListener(type: string, listener: Listener | null): void {
    this.#listeners = this.#listeners.filter((known) => known.type !== type || known.listener !== listener);
  }

  dispatchEvent(event: Event): boolean {
    Event.sentTo(event, this);
    const handler = (this as Record<string, unknown>)[`on${event.type}`];
    if (typeof handler === "function") this.#call(handler as Listener, event);
    for (const known of [...this.#listeners]) {
      if (known.type !== event.type || Event.isStopped(event) || !this.#listeners.includes(known)) continue;
      if (known.once) this.removeEventListener(known.type, known.listener);
      this.#call(known.listener, event);
    }
    return !event.defaultPrevented;
  }

  /** An error in a listener does not keep the others from being called. */
  #call(listener: Listener, event: Event): void {
    try {
      if (typeof listener === "function") listener.call(this, event);
      else listener.handleEvent(event);
    } catch (error) {
      console.error(`a listener of "${event.type}":`, error);
    }
  }
}

const exception = (message: string, name: string): unknown =>
  Reflect.construct((globalThis as unknown as { DOMException: new (...args: string[]) => object }).DOMException, [
    message,
    name,
  ]);

/** Only an `AbortController` and the static functions make signals. */
export class AbortSignal extends EventTarget {
  onabort: ((event: Event) => unknown) | null = null;
  #failure: { reason: unknown } | undefined;
  /** The time at which it aborts, for `timeout`. */
  #due: number | undefined;
  #timer: number | undefined;

  static abort(reason?: unknown): AbortSignal {
    const signal = new AbortSignal();
    AbortSignal.fire(signal, reason);
    return signal;
  }

  /**
   * Aborts at a later time. Time stands still in a turn, so it does not end what the turn itself waits for, such as a
   * call: calls have a limit of their own. Only a listener needs a timer of the room.
   */
  static timeout(milliseconds: number): AbortSignal {
    const signal = new AbortSignal();
    signal.#due = host.now() + Number(milliseconds);
    return signal;
  }

  static any(signals: Iterable<AbortSignal>): AbortSignal {
    const all = [...signals];
    const joined = new AbortSignal();
    const first = all.find((signal) => signal.aborted);
    if (first) AbortSignal.fire(joined, first.reason);
    else for (const signal of all) signal.addEventListener("abort", () => AbortSignal.fire(joined, signal.reason));
    return joined;
  }

  static fire(signal: AbortSignal, reason?: unknown): void {
    if (signal.#failure) return;
    signal.#failure = { reason: reason === undefined ? exception("The operation was aborted", "AbortError") : reason };
    if (signal.#timer !== undefined) clearTimeout(signal.#timer);
    signal.dispatchEvent(new Event("abort"));
  }

  get aborted(): boolean {
    this.#checkTime();
    return this.#failure !== undefined;
  }

  get reason(): unknown {
    this.#checkTime();
    return this.#failure?.reason;
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  override addEventListener(...args: Parameters<EventTarget["addEventListener"]>): void {
    super.addEventListener(...args);
    if (this.#due === undefined || this.#timer !== undefined || this.#failure) return;
    try {
      this.#timer = setTimeout(() => this.#checkTime(), Math.max(1, this.#due - host.now()));
    } catch {
      this.#timer = 0; // a Worker has no timers, and ends before this one would fire
    }
  }

  #checkTime(): void {
    if (this.#due === undefined || this.#failure || host.now() < this.#due) return;
    AbortSignal.fire(this, exception("The operation was aborted due to timeout", "TimeoutError"));
  }

  get [Symbol.toStringTag](): string {
    return "AbortSignal";
  }
}

export class AbortController {
  readonly signal = new AbortSignal();

  abort(reason?: unknown): void {
    AbortSignal.fire(this.signal, reason);
  }
}
