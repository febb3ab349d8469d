/**
 * SQL of an object: SQLite in the engine, with its pages in the room's storage. Only an engine with SQL has it; `dormouse
 * build` takes that one for a bundle that mentions the property. So this package never does, but where it defines it.
 */
import * as host from "dormouse:host";

import { SqlStorageCursor } from "./cursor.js";
import { beginSavepoints } from "./journal.js";

export class SqlStorage {
  readonly Cursor = SqlStorageCursor;

  /** Runs all statements, and returns the rows of the last one, which has the parameters. */
  exec(query: string, ...bindings: unknown[]): SqlStorageCursor {
    const values = bindings.map(bindable);
    beginSavepoints();
    return new SqlStorageCursor(host.sqlExec(String(query), values));
  }

  /** In bytes, without free pages. */
  get databaseSize(): number {
    return host.sqlSize();
  }
}

/** A value that the engine binds. Others are refused, because a text of them would be stored without a word. */
const bindable = (value: unknown, at: number): host.SqlValue => {
  if (value === undefined || value === null) return null;
  if (typeof value === "string" || typeof value === "number") return value;
  if (value instanceof ArrayBuffer || value instanceof Uint8Array) return value;
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  const advice =
    { bigint: "a bigint; bind Number(value) or String(value)", boolean: "a boolean; bind 1 or 0" }[
      typeof value as string
    ] ?? `${typeof value === "object" ? "an object" : `a ${typeof value}`}; bind JSON.stringify(value)`;
  throw new TypeError(
    `exec(): binding ${at + 1} is ${advice}. Only null, numbers, strings, ArrayBuffer and its views can be bound.`,
  );
};
