/** A list in storage that grows at its end. Each entry has a key of its own, so no limit of a value limits the list. */
import { storage } from "./storage.js";

/** One entry of a list. */
export interface Entry<T> {
  number: number;
  value: T;
}

/** The digits of a number in a key: those of the largest safe integer. */
const DIGITS = 16;

/** Its entries are numbered 1, 2, 3 …, and keep their numbers when others are removed. */
export class List<T> {
  readonly #name: string;

  /** The list with this name. Its keys begin with the name and a slash. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Adds an entry at the end. Returns its number. */
  push(value: T): number {
    const number = this.lastNumber() + 1;
    storage.put(this.#key(number), value);
    return number;
  }

  /** The number of the newest entry; 0 in an empty list. */
  lastNumber(): number {
    return this.newest(1)[0]?.number ?? 0;
  }

  /** The entry with this number, if it still exists. */
  get(number: number): T | undefined {
    return storage.get(this.#key(number));
  }

  /** Replaces the entry with this number. */
  set(number: number, value: T): void {
    storage.put(this.#key(number), value);
  }

  /** Removes an entry. Returns whether it existed. */
  delete(number: number): boolean {
    return storage.delete(this.#key(number));
  }

  /** The newest entries, oldest of them first. */
  newest(limit: number): Entry<T>[] {
    return this.#list({ reverse: true, limit }).reverse();
  }

  /** The entries behind this number, oldest first. */
  after(number: number, limit?: number): Entry<T>[] {
    return this.#list({ start: this.#key(number + 1), ...(limit === undefined ? {} : { limit }) });
  }

  #list(options: { start?: string; reverse?: boolean; limit?: number }): Entry<T>[] {
    const prefix = `${this.#name}/`;
    const entries = storage.list<T>({ prefix, ...options });
    return entries.map(([key, value]) => ({ number: Number(key.slice(prefix.length)), value }));
  }

  #key(number: number): string {
    return `${this.#name}/${String(number).padStart(DIGITS, "0")}`;
  }
}
