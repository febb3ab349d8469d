/** `Headers`: names in lower case, values joined by commas. It knows nothing of requests or of the host. */

type HeadersInit = Headers | Iterable<readonly [string, string]> | Record<string, string>;

/** The characters of a token, RFC 9110. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

export class Headers {
  #values = new Map<string, string[]>();

  constructor(init?: HeadersInit | null) {
    if (init === undefined || init === null) return;
    if (init instanceof Headers) {
      for (const [name, values] of init.#values) this.#values.set(name, [...values]);
    } else if (Symbol.iterator in init) {
      for (const [name, value] of init) this.append(name, value);
    } else {
      for (const name of Object.keys(init)) this.append(name, init[name] as string);
    }
  }

  append(name: string, value: string): void {
    const key = headerName(name);
    const values = this.#values.get(key);
    if (values) values.push(headerValue(value));
    else this.#values.set(key, [headerValue(value)]);
  }

  set(name: string, value: string): void {
    this.#values.set(headerName(name), [headerValue(value)]);
  }

  get(name: string): string | null {
    return this.#values.get(headerName(name))?.join(", ") ?? null;
  }

  getSetCookie(): string[] {
    return [...(this.#values.get("set-cookie") ?? [])];
  }

  /** Cloudflare's older name for `getSetCookie`. */
  getAll(name: string): string[] {
    if (headerName(name) !== "set-cookie")
      throw new TypeError('getAll() can only be used with the header "Set-Cookie"');
    return this.getSetCookie();
  }

  has(name: string): boolean {
    return this.#values.has(headerName(name));
  }

  delete(name: string): void {
    this.#values.delete(headerName(name));
  }

  forEach(callback: (value: string, name: string, headers: Headers) => void, self?: unknown): void {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }

  /** Sorted by name. Each `set-cookie` is an entry of its own: their values may have commas. */
  *entries(): IterableIterator<[string, string]> {
    for (const name of [...this.#values.keys()].sort()) {
      const values = this.#values.get(name) ?? [];
      if (name === "set-cookie") for (const value of values) yield [name, value];
      else yield [name, values.join(", ")];
    }
  }

  *keys(): IterableIterator<string> {
    for (const [name] of this) yield name;
  }

  *values(): IterableIterator<string> {
    for (const [, value] of this) yield value;
  }

  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.entries();
  }

  get [Symbol.toStringTag](): string {
    return "Headers";
  }
}

const headerName = (name: string): string => {
  const lower = String(name).toLowerCase();
  if (!TOKEN.test(lower)) throw new TypeError(`invalid header name: ${JSON.stringify(String(name))}`);
  return lower;
};

const headerValue = (value: string): string => {
  const text = String(value).replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
  if (/[\0\r\n]/.test(text)) throw new TypeError(`invalid header value: ${JSON.stringify(text)}`);
  return text;
};
