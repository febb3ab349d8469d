/** The rows of a statement. The engine is one row ahead, so that it knows the end. */
import * as host from "dormouse:host";

type Row = Record<string, unknown>;

/** Iterates over a cursor, in one of its two forms. Several iterators of a cursor share its place. */
class Rows<T> implements IterableIterator<T> {
  readonly #next: () => IteratorResult<T, undefined>;

  constructor(next: () => IteratorResult<T, undefined>) {
    this.#next = next;
  }

  next(): IteratorResult<T, undefined> {
    return this.#next();
  }

  toArray(): T[] {
    return [...this];
  }

  [Symbol.iterator](): this {
    return this;
  }
}

/** As Cloudflare returns it: without a `value`. */
const END = { done: true } as IteratorReturnResult<undefined>;

export class SqlStorageCursor {
  readonly #cursor: host.SqlCursor;
  readonly #names: string[];

  constructor(cursor: host.SqlCursor) {
    this.#cursor = cursor;
    this.#names = host.sqlColumns(cursor);
  }

  get columnNames(): string[] {
    return [...this.#names];
  }

  /** Rows that the statement has visited so far. */
  get rowsRead(): number {
    return host.sqlCounts(this.#cursor)[0];
  }

  /** Rows that it has inserted, changed and removed; entries of indexes do not count. */
  get rowsWritten(): number {
    return host.sqlCounts(this.#cursor)[1];
  }

  next(): IteratorResult<Row, undefined> {
    const values = host.sqlNext(this.#cursor);
    return values ? { done: false, value: this.#object(values) } : { ...END };
  }

  toArray(): Row[] {
    return host.sqlObjects(this.#cursor);
  }

  one(): Row {
    const values = host.sqlNext(this.#cursor);
    if (!values) throw new Error("Expected exactly one result from SQL query, but got no results.");
    if (!host.sqlIsDone(this.#cursor)) {
      host.sqlEnd(this.#cursor);
      throw new Error("Expected exactly one result from SQL query, but got multiple results.");
    }
    return this.#object(values);
  }

  /** The rows as arrays, which keep columns of the same name. */
  raw(): Rows<unknown[]> {
    return new Rows(() => {
      const value = host.sqlNext(this.#cursor);
      return value ? { done: false, value } : { ...END };
    });
  }

  [Symbol.iterator](): Rows<Row> {
    return new Rows(() => this.next());
  }

  #object(values: unknown[]): Row {
    const row: Row = {};
    for (const [at, name] of this.#names.entries()) row[name] = values[at];
    return row;
  }
}
