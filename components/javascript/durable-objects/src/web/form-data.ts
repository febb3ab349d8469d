/** `FormData`, and its two forms in a body: `multipart/form-data` and `application/x-www-form-urlencoded`. */
import * as host from "dormouse:host";

import { Blob, File, joined } from "./blob.js";

type Value = string | File;

export class FormData {
  #entries: [string, Value][] = [];

  append(name: string, value: unknown, fileName?: string): void {
    this.#entries.push([String(name), valueOf(value, fileName)]);
  }

  set(name: string, value: unknown, fileName?: string): void {
    const at = this.#entries.findIndex(([known]) => known === String(name));
    if (at < 0) return this.append(name, value, fileName);
    this.#entries[at] = [String(name), valueOf(value, fileName)];
    this.#entries = this.#entries.filter(([known], index) => index <= at || known !== String(name));
  }

  delete(name: string): void {
    this.#entries = this.#entries.filter(([known]) => known !== String(name));
  }

  get(name: string): Value | null {
    return this.#entries.find(([known]) => known === String(name))?.[1] ?? null;
  }

  getAll(name: string): Value[] {
    return this.#entries.filter(([known]) => known === String(name)).map(([, value]) => value);
  }

  has(name: string): boolean {
    return this.#entries.some(([known]) => known === String(name));
  }

  forEach(callback: (value: Value, name: string, form: FormData) => void, self?: unknown): void {
    for (const [name, value] of this.#entries) callback.call(self, value, name, this);
  }

  *entries(): IterableIterator<[string, Value]> {
    yield* this.#entries;
  }

  *keys(): IterableIterator<string> {
    for (const [name] of this.#entries) yield name;
  }

  *values(): IterableIterator<Value> {
    for (const [, value] of this.#entries) yield value;
  }

  [Symbol.iterator](): IterableIterator<[string, Value]> {
    return this.entries();
  }

  get [Symbol.toStringTag](): string {
    return "FormData";
  }
}

const valueOf = (value: unknown, fileName?: string): Value => {
  if (!(value instanceof Blob)) return String(value);
  if (value instanceof File && fileName === undefined) return value;
  return new File([value], fileName ?? "blob", { type: value.type });
};

/** A form as a body, with its content type. */
export const encodeForm = (form: FormData): { bytes: Uint8Array; type: string } => {
  const boundary = `----dormouse${crypto.randomUUID().replaceAll("-", "")}`;
  const quoted = (text: string) => text.replaceAll("\r", "%0D").replaceAll("\n", "%0A").replaceAll('"', "%22");
  const pieces: Uint8Array[] = [];
  const add = (text: string) => void pieces.push(host.utf8(text));
  for (const [name, value] of form) {
    add(`--${boundary}\r\ncontent-disposition: form-data; name="${quoted(name)}"`);
    if (typeof value === "string") {
      add(`\r\n\r\n${value.replace(/\r\n|\r|\n/g, "\r\n")}\r\n`);
      continue;
    }
    add(`; filename="${quoted(value.name)}"\r\ncontent-type: ${value.type || "application/octet-stream"}\r\n\r\n`);
    pieces.push(Blob.bytes(value));
    add("\r\n");
  }
  add(`--${boundary}--\r\n`);
  return { bytes: joined(pieces), type: `multipart/form-data; boundary=${boundary}` };
};

/** The form in a body with this content type. */
export const parseForm = (bytes: Uint8Array, contentType: string | null): FormData => {
  const type = (contentType ?? "").split(";")[0]?.trim().toLowerCase();
  if (type === "application/x-www-form-urlencoded") {
    const form = new FormData();
    for (const [name, value] of new URLSearchParams(host.text(bytes))) form.append(name, value);
    return form;
  }
  const boundary = /;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(contentType ?? "");
  if (type !== "multipart/form-data" || !boundary) {
    throw new TypeError(
      `formData(): the content type is ${JSON.stringify(contentType)}, neither multipart/form-data nor a plain form`,
    );
  }
  return parseMultipart(bytes, host.utf8(`--${boundary[1] ?? boundary[2]}`));
};

const HEADERS_END = new Uint8Array([13, 10, 13, 10]);

const parseMultipart = (bytes: Uint8Array, delimiter: Uint8Array): FormData => {
  const form = new FormData();
  let at = indexOf(bytes, delimiter, 0);
  while (at >= 0) {
    const start = at + delimiter.length;
    if (bytes[start] === 45 && bytes[start + 1] === 45) return form; // "--": the end
    const next = indexOf(bytes, delimiter, start);
    const body = indexOf(bytes, HEADERS_END, start);
    if (next < 0 || body < 0 || body > next) break;
    addPart(form, host.text(bytes.subarray(start, body)), bytes.slice(body + HEADERS_END.length, next - 2));
    at = next;
  }
  throw new TypeError("formData(): the body is not complete");
};

const addPart = (form: FormData, headers: string, content: Uint8Array): void => {
  const disposition = /^content-disposition:(.*)$/im.exec(headers)?.[1] ?? "";
  const name = parameter(disposition, "name");
  if (name === undefined) throw new TypeError("formData(): a part has no name");
  const fileName = parameter(disposition, "filename");
  if (fileName === undefined) return form.append(name, host.text(content));
  const type = /^content-type:(.*)$/im.exec(headers)?.[1]?.trim() ?? "application/octet-stream";
  form.append(name, new File([content], fileName, { type }));
};

const parameter = (disposition: string, name: string): string | undefined => {
  const found = new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]+))`, "i").exec(disposition);
  const text = found?.[1]?.replace(/\\(.)/g, "$1") ?? found?.[2];
  return text?.replaceAll("%0D", "\r").replaceAll("%0A", "\n").replaceAll("%22", '"');
};

const indexOf = (bytes: Uint8Array, wanted: Uint8Array, from: number): number => {
  const first = wanted[0] as number;
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (at + wanted.length > bytes.length) return -1;
    let same = 1;
    while (same < wanted.length && bytes[at + same] === wanted[same]) same++;
    if (same === wanted.length) return at;
  }
  return -1;
};
