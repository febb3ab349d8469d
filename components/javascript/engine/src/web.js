// The globals of the Web that QuickJS lacks, and the functions with which the engine reads and makes values. This runs
// before a bundle, so it may keep the original functions: a bundle that replaces `Map.prototype.set` harms only itself.
(() => {
  const host = globalThis.__host;
  const native = globalThis.__native;
  const { apply } = Reflect;
  const define = (name, value) =>
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  const global = (values) => Object.keys(values).forEach((name) => define(name, values[name]));

  // ---- values, for codec.rs ----

  const { forEach: eachOfMap, set: setOfMap } = Map.prototype;
  const { forEach: eachOfSet, add: addToSet } = Set.prototype;
  const { getTime } = Date.prototype;
  const getter = (prototype, name) => Object.getOwnPropertyDescriptor(prototype, name).get;
  const sourceOf = getter(RegExp.prototype, "source");
  const flagsOf = getter(RegExp.prototype, "flags");
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
  const viewGetters = ["buffer", "byteOffset", "byteLength"];
  const partsOfArray = viewGetters.map((name) => getter(typedArray, name));
  const partsOfDataView = viewGetters.map((name) => getter(DataView.prototype, name));
  const { isView } = ArrayBuffer;
  const tagOf = Object.prototype.toString;
  const { getPrototypeOf, hasOwn } = Object;
  const bytesPrototype = Uint8Array.prototype;
  const { test: matches } = RegExp.prototype;
  const hidden = (object, name, value) =>
    Object.defineProperty(object, name, { value, writable: true, enumerable: false, configurable: true });
  const errors = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError };
  const views = [
    Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array,
    Float64Array, BigInt64Array, BigUint64Array, DataView,
  ];
  const originals = { Map, Set, Date, RegExp, BigInt, Object, Uint8Array, DataView };
  const domExceptions = DOMException.prototype;
  const { setPrototypeOf } = Object;
  const OriginalError = Error;
  /** A DOMException that the log can show: those of QuickJS have no class of an error. */
  const domException = (message, name) => {
    const error = setPrototypeOf(new OriginalError(message), domExceptions);
    hidden(error, "name", name);
    return error;
  };
  function DOMExceptionHere(message = "", name = "Error") {
    const given = typeof name === "object" && name !== null ? name.name : name;
    return domException(`${message}`, `${given ?? "Error"}`);
  }
  DOMExceptionHere.prototype = domExceptions;
  define("DOMException", DOMExceptionHere);
  hidden(DOMExceptionHere, "name", "DOMException");
  hidden(domExceptions, "constructor", DOMExceptionHere);
  const unboxers = [Number, String, Boolean, BigInt].map((type) => type.prototype.valueOf);
  const viewBytes = (view) => {
    const parts = apply(tagOf, view, []) === "[object DataView]" ? partsOfDataView : partsOfArray;
    const [buffer, offset, length] = parts.map((part) => apply(part, view, []));
    return new originals.Uint8Array(buffer, offset, length);
  };

  // The samples are in the order of the classes in codec.rs.
  globalThis.__codec = {
    samples: [
      {}, [], new Map(), new Set(), new Date(0), /./, new Error(), new ArrayBuffer(0), Object(0), Object(""),
      Object(false), Object(0n), ...views.map((View) => new View(new ArrayBuffer(0))),
    ],
    functions: {
      __proto__: null,
      mapEntries(map) {
        const entries = [];
        let length = 0;
        apply(eachOfMap, map, [(value, key) => { entries[length++] = key; entries[length++] = value; }]);
        return entries;
      },
      setValues(set) {
        const values = [];
        let length = 0;
        apply(eachOfSet, set, [(value) => { values[length++] = value; }]);
        return values;
      },
      dateValue: (date) => apply(getTime, date, []),
      regExpParts: (expression) => [apply(sourceOf, expression, []), apply(flagsOf, expression, [])],
      errorParts(error) {
        const parts = [`${error.name}`, `${error.message}`, typeof error.stack === "string" ? error.stack : undefined];
        if (hasOwn(error, "cause")) parts[3] = error.cause;
        return parts;
      },
      unboxed(box) {
        for (const unbox of unboxers) {
          try {
            return apply(unbox, box, []);
          } catch {
            // It is of another type.
          }
        }
      },
      viewBytes,
      isBytes: (view) => getPrototypeOf(view) === bytesPrototype,
      shown: (value) => (typeof value === "object" ? apply(tagOf, value, []) : String(value)),
      makeMap: () => new originals.Map(),
      fillMap(map, entries) {
        for (let index = 0; index + 1 < entries.length; index += 2) {
          apply(setOfMap, map, [entries[index], entries[index + 1]]);
        }
        return map;
      },
      makeSet: () => new originals.Set(),
      fillSet(set, values) {
        for (let index = 0; index < values.length; index++) apply(addToSet, set, [values[index]]);
        return set;
      },
      makeDate: (time) => new originals.Date(time),
      makeRegExp: (source, flags) => new originals.RegExp(source, flags),
      makeError(name, message) {
        const error = new (hasOwn(errors, name) ? errors[name] : Error)(message);
        if (!hasOwn(errors, name)) hidden(error, "name", name);
        return error;
      },
      fillError(error, stack, cause) {
        if (stack === undefined) delete error.stack;
        else hidden(error, "stack", stack);
        if (cause.length > 0) hidden(error, "cause", cause[0]);
        return error;
      },
      makeBigInt(digits) {
        if (!apply(matches, /^-?[0-9]+$/, [digits])) throw new Error("these bytes are not an encoded value");
        return originals.BigInt(digits);
      },
      boxed: (value) => originals.Object(value),
      makeBuffer: (bytes) => bytes.buffer,
      makeView(number, bytes) {
        const View = views[number];
        if (View === undefined) throw new Error("these bytes are not an encoded value");
        return new View(bytes.buffer);
      },
      dataCloneError: (message) => domException(message, "DataCloneError"),
    },
  };

  // ---- texts and bytes ----

  /** The bytes of a buffer or a view. */
  const bytesOf = (source) => {
    if (source instanceof Uint8Array) return source;
    if (isView(source)) return viewBytes(source);
    if (source instanceof ArrayBuffer) return new Uint8Array(source);
    throw new TypeError("a buffer or a view of one is expected");
  };

  class TextEncoder {
    get encoding() {
      return "utf-8";
    }
    encode(text = "") {
      return host.utf8(`${text}`);
    }
    encodeInto(text, target) {
      let read = 0;
      let written = 0;
      for (const character of `${text}`) {
        const bytes = host.utf8(character);
        if (written + bytes.length > target.length) break;
        target.set(bytes, written);
        written += bytes.length;
        read += character.length;
      }
      return { read, written };
    }
  }

  const UTF8_LABELS = ["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"];
  class TextDecoder {
    #fatal;
    #ignoreBom;
    #rest = new Uint8Array();
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!UTF8_LABELS.includes(`${label}`.trim().toLowerCase())) {
        throw new RangeError(`TextDecoder: the engine decodes only UTF-8, not "${label}"`);
      }
      this.#fatal = Boolean(fatal);
      this.#ignoreBom = Boolean(ignoreBOM);
    }
    get encoding() {
      return "utf-8";
    }
    get fatal() {
      return this.#fatal;
    }
    get ignoreBOM() {
      return this.#ignoreBom;
    }
    decode(source, { stream = false } = {}) {
      let bytes = source === undefined ? new Uint8Array() : bytesOf(source);
      if (this.#rest.length > 0) {
        const joined = new Uint8Array(this.#rest.length + bytes.length);
        joined.set(this.#rest);
        joined.set(bytes, this.#rest.length);
        bytes = joined;
      }
      // A character that a later piece completes waits for it.
      const kept = stream ? incompleteBytes(bytes) : 0;
      this.#rest = bytes.slice(bytes.length - kept);
      bytes = bytes.subarray(0, bytes.length - kept);
      if (this.#fatal && !native.isUtf8(bytes)) throw new TypeError("TextDecoder: the bytes are not UTF-8");
      const text = host.text(bytes);
      return !this.#ignoreBom && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  }
  const incompleteBytes = (bytes) => {
    for (let back = 1; back <= Math.min(3, bytes.length); back++) {
      const byte = bytes[bytes.length - back];
      if (byte < 0x80) return 0;
      if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0;
    }
    return 0;
  };

  // ---- URLs ----

  const PARTS = [
    "href", "origin", "protocol", "username", "password", "host", "hostname", "port", "pathname", "search", "hash",
  ];

  class URLSearchParams {
    #pairs = []; // name and value in turn
    #changed = () => {};
    constructor(init = "") {
      if (init !== null && (typeof init === "object" || typeof init === "function")) {
        if (typeof init[Symbol.iterator] === "function") {
          for (const [name, value] of init) this.#pairs.push(`${name}`, `${value}`);
        } else {
          for (const name of Object.keys(init)) this.#pairs.push(name, `${init[name]}`);
        }
      } else {
        const text = `${init}`;
        this.#pairs = native.parseQuery(text.startsWith("?") ? text.slice(1) : text);
      }
    }
    /** The parameters of a URL, which change it. */
    static of(query, changed) {
      const parameters = new URLSearchParams(query);
      parameters.#changed = () => changed(parameters);
      return parameters;
    }
    static read(parameters, query) {
      parameters.#pairs = native.parseQuery(query);
    }
    #indices(name, value) {
      const found = [];
      for (let index = 0; index < this.#pairs.length; index += 2) {
        if (this.#pairs[index] === name && (value === undefined || this.#pairs[index + 1] === value)) found.push(index);
      }
      return found;
    }
    get size() {
      return this.#pairs.length / 2;
    }
    append(name, value) {
      this.#pairs.push(`${name}`, `${value}`);
      this.#changed();
    }
    delete(name, value) {
      for (const index of this.#indices(`${name}`, value === undefined ? value : `${value}`).reverse()) {
        this.#pairs.splice(index, 2);
      }
      this.#changed();
    }
    get(name) {
      const [index] = this.#indices(`${name}`);
      return index === undefined ? null : this.#pairs[index + 1];
    }
    getAll(name) {
      return this.#indices(`${name}`).map((index) => this.#pairs[index + 1]);
    }
    has(name, value) {
      return this.#indices(`${name}`, value === undefined ? value : `${value}`).length > 0;
    }
    set(name, value) {
      const [first, ...others] = this.#indices(`${name}`);
      if (first === undefined) return this.append(name, value);
      this.#pairs[first + 1] = `${value}`;
      for (const index of others.reverse()) this.#pairs.splice(index, 2);
      this.#changed();
    }
    sort() {
      const entries = [...this].sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0));
      this.#pairs = entries.flat();
      this.#changed();
    }
    forEach(callback, self) {
      for (const [name, value] of this) callback.call(self, value, name, this);
    }
    *entries() {
      for (let index = 0; index < this.#pairs.length; index += 2) yield [this.#pairs[index], this.#pairs[index + 1]];
    }
    *keys() {
      for (const [name] of this.entries()) yield name;
    }
    *values() {
      for (const [, value] of this.entries()) yield value;
    }
    [Symbol.iterator]() {
      return this.entries();
    }
    toString() {
      return native.writeQuery(this.#pairs);
    }
    get [Symbol.toStringTag]() {
      return "URLSearchParams";
    }
  }
  const { of: parametersOf, read: readParameters } = URLSearchParams;
  delete URLSearchParams.of;
  delete URLSearchParams.read;

  class URL {
    #parts;
    #parameters;
    constructor(input, base) {
      const parts = native.parseUrl(`${input}`, base === undefined ? undefined : `${base}`);
      if (parts === undefined) throw new TypeError(`Invalid URL: ${input}`);
      this.#parts = parts;
    }
    static canParse(input, base) {
      return native.parseUrl(`${input}`, base === undefined ? undefined : `${base}`) !== undefined;
    }
    static parse(input, base) {
      return URL.canParse(input, base) ? new URL(input, base) : null;
    }
    static part(url, index) {
      return url.#parts[index];
    }
    static change(url, name, value) {
      const parts = native.setUrl(url.#parts[0], name, `${value}`);
      if (parts === undefined) throw new TypeError(`Invalid URL: ${value}`);
      url.#parts = parts;
      if (url.#parameters && (name === "href" || name === "search")) readParameters(url.#parameters, url.search.slice(1));
    }
    get searchParams() {
      this.#parameters ??= parametersOf(this.search, (parameters) => {
        this.#parts = native.setUrl(this.#parts[0], "search", `${parameters}`);
      });
      return this.#parameters;
    }
    toString() {
      return this.#parts[0];
    }
    toJSON() {
      return this.#parts[0];
    }
    get [Symbol.toStringTag]() {
      return "URL";
    }
  }
  const { part: partOf, change: changePart } = URL;
  delete URL.part;
  delete URL.change;
  PARTS.forEach((name, index) => {
    Object.defineProperty(URL.prototype, name, {
      get() {
        return partOf(this, index);
      },
      set: name === "origin" ? undefined : function (value) {
        changePart(this, name, value);
      },
      enumerable: true,
      configurable: true,
    });
  });

  // ---- crypto ----

  const algorithmName = (algorithm) => `${algorithm?.name ?? algorithm}`.toUpperCase();
  const notSupported = (text) => domException(text, "NotSupportedError");
  const hashOf = (algorithm) => algorithmName(algorithm?.hash ?? "SHA-256");
  const copy = (source) => bytesOf(source).slice();

  class CryptoKey {
    #secret;
    constructor(secret, algorithm, extractable, usages) {
      this.#secret = secret;
      Object.assign(this, { type: "secret", algorithm, extractable, usages });
    }
    static secret(key) {
      return key.#secret;
    }
  }
  const secretOf = CryptoKey.secret;
  delete CryptoKey.secret;

  const codeOf = (algorithm, key, data) => {
    if (algorithmName(algorithm) !== "HMAC") throw notSupported("crypto.subtle: the engine signs with HMAC only");
    return native.hmac(key.algorithm.hash.name, secretOf(key), copy(data));
  };
  /** The bytes of the blocks of a hash, which are the length of a new key. */
  const BLOCK_BYTES = { "SHA-1": 64, "SHA-256": 64, "SHA-384": 128, "SHA-512": 128 };
  const isEqual = (one, other) => {
    // The time must not tell how many bytes are right.
    let difference = one.length ^ other.length;
    for (let index = 0; index < one.length; index++) difference |= one[index] ^ other[index];
    return difference === 0;
  };
  const subtle = {
    async generateKey(algorithm, extractable, usages) {
      if (algorithmName(algorithm) !== "HMAC") {
        throw notSupported("crypto.subtle.generateKey: the engine makes keys for HMAC only");
      }
      const length = BLOCK_BYTES[hashOf(algorithm)];
      if (!length) throw notSupported(`the engine has no ${hashOf(algorithm)}`);
      return subtle.importKey("raw", host.randomBytes(length), algorithm, extractable, usages);
    },
    /** Cloudflare's own. */
    timingSafeEqual(one, other) {
      const [left, right] = [bytesOf(one), bytesOf(other)];
      if (left.length !== right.length) throw new TypeError("Input buffers must have the same byte length");
      return isEqual(left, right);
    },
    async digest(algorithm, data) {
      const digest = native.digest(algorithmName(algorithm), copy(data));
      if (!digest) throw notSupported(`crypto.subtle.digest: the engine has no ${algorithmName(algorithm)}`);
      return digest.buffer;
    },
    async importKey(format, secret, algorithm, extractable, usages) {
      if (format !== "raw" || algorithmName(algorithm) !== "HMAC") {
        throw notSupported("crypto.subtle.importKey: the engine takes raw keys for HMAC only");
      }
      const hash = hashOf(algorithm);
      if (!native.hmac(hash, new Uint8Array(1), new Uint8Array())) throw notSupported(`the engine has no ${hash}`);
      const bytes = copy(secret);
      const its = { name: "HMAC", hash: { name: hash }, length: bytes.length * 8 };
      return new CryptoKey(bytes, its, Boolean(extractable), [...usages]);
    },
    async exportKey(format, key) {
      if (format !== "raw") throw notSupported("crypto.subtle.exportKey: the engine gives raw keys only");
      if (!key.extractable) throw domException("the key is not extractable", "InvalidAccessError");
      return secretOf(key).slice().buffer;
    },
    async sign(algorithm, key, data) {
      return codeOf(algorithm, key, data).buffer;
    },
    async verify(algorithm, key, signature, data) {
      return isEqual(codeOf(algorithm, key, data), copy(signature));
    },
  };
  for (const name of ["encrypt", "decrypt", "deriveBits", "deriveKey", "wrapKey", "unwrapKey"]) {
    subtle[name] = async () => {
      throw notSupported(`crypto.subtle.${name}: the engine has hashes and HMAC only`);
    };
  }
  const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const crypto = {
    subtle,
    getRandomValues(view) {
      bytesOf(view).set(host.randomBytes(view.byteLength));
      return view;
    },
    randomUUID() {
      const bytes = host.randomBytes(16);
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    },
  };
  // QuickJS would seed its own numbers once, so every room would draw the same.
  const { random } = host;
  delete host.random;
  Math.random = () => random();

  // ---- time ----

  // While the top level runs there is no time. The original comes back when it has run.
  const OriginalDate = Date;
  const noTime = (name) => {
    if (host.building()) {
      throw new Error(
        `${name}: not available while the module is loaded; the top level runs once, when the component is built, so ask ` +
          "for the time in an event or in the constructor",
      );
    }
  };
  const now = () => {
    noTime("Date.now");
    return OriginalDate.now();
  };
  const DateWithoutTime = new Proxy(OriginalDate, {
    apply(target, self, list) {
      noTime("Date");
      return apply(target, self, list);
    },
    construct(target, list, type) {
      if (list.length === 0) noTime("new Date");
      return Reflect.construct(target, list, type === DateWithoutTime ? target : type);
    },
    get: (target, name) => (name === "now" ? now : target[name]),
  });
  define("Date", DateWithoutTime);
  define("__endOfTopLevel", () => {
    if (globalThis.Date === DateWithoutTime) define("Date", OriginalDate);
  });

  // ---- the log ----

  const MAX_DEPTH = 3;
  const MAX_ITEMS = 100;
  const quoted = (value, depth) => (typeof value === "string" ? JSON.stringify(value) : shown(value, depth));
  const listed = (items, depth) => {
    const texts = items.slice(0, MAX_ITEMS).map((item) => quoted(item, depth + 1));
    if (items.length > MAX_ITEMS) texts.push(`… ${items.length - MAX_ITEMS} more`);
    return texts.join(", ");
  };
  const pairs = (entries, depth, join) => {
    const texts = entries.slice(0, MAX_ITEMS).map(([key, value]) => join(key, quoted(value, depth + 1)));
    if (entries.length > MAX_ITEMS) texts.push(`… ${entries.length - MAX_ITEMS} more`);
    return texts.length > 0 ? `{ ${texts.join(", ")} }` : "{}";
  };
  const shown = (value, depth = 0) => {
    if (typeof value === "string") return value;
    if (typeof value === "bigint") return `${value}n`;
    if (typeof value === "function") return `[function ${value.name || "(anonymous)"}]`;
    if (typeof value !== "object" || value === null) return String(value);
    if (value instanceof Error) {
      const stack = value.stack ? `\n${value.stack.trimEnd()}` : "";
      const cause = value.cause === undefined || depth >= MAX_DEPTH ? "" : `\ncaused by ${shown(value.cause, depth + 1)}`;
      return `${value.name}: ${value.message}${stack}${cause}`;
    }
    if (value instanceof OriginalDate) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
    if (value instanceof RegExp || value instanceof URL || value instanceof URLSearchParams) return String(value);
    if (depth >= MAX_DEPTH) return Array.isArray(value) ? "[…]" : "{…}";
    if (Array.isArray(value)) return `[${listed(value, depth)}]`;
    const type = value.constructor?.name;
    const name = type && type !== "Object" ? `${type} ` : "";
    if (value instanceof Map) return name + pairs([...value], depth, (key, text) => `${quoted(key, depth + 1)} => ${text}`);
    if (value instanceof Set) return `${name}{${listed([...value], depth)}}`;
    if (value instanceof ArrayBuffer) return `${name}(${value.byteLength} bytes)`;
    if (isView(value)) return value instanceof DataView ? `${name}(${value.byteLength} bytes)` : `${name}[${listed([...value.subarray(0, MAX_ITEMS)], depth)}]`;
    return name + pairs(Object.entries(value), depth, (key, text) => `${key}: ${text}`);
  };
  /** As everywhere: `%s` and the like in the first text take the place of values. */
  const formatted = (values) => {
    let used = 0;
    const [first] = values;
    const all = values.map((value) => shown(value));
    if (typeof first === "string" && values.length > 1 && first.includes("%")) {
      all[0] = first.replace(/%[sdifoOjc%]/g, (sign) => {
        if (sign === "%%") return "%";
        if (used + 1 >= values.length) return sign;
        const value = values[++used];
        if (sign === "%c") return "";
        if (sign === "%i") return `${Math.trunc(Number(value))}`;
        return sign === "%d" || sign === "%f" ? `${Number(value)}` : all[used];
      });
      all.splice(1, used);
    }
    return all.join(" ");
  };
  const line = (level) => (...values) => {
    let text;
    try {
      text = formatted(values);
    } catch (error) {
      text = `a value that cannot be shown: ${error?.message}`;
    }
    host.log(level, text);
  };
  const [debug, info, warn, error] = [0, 1, 2, 3].map(line);
  const nothing = () => {};
  const counts = new Map();
  const console = {
    debug, trace: debug, info, log: info, dir: info, table: info, warn, error,
    assert: (truth, ...values) => (truth ? undefined : error("Assertion failed:", ...values)),
    group: info, groupCollapsed: info, groupEnd: nothing, clear: nothing,
    count: (label = "default") => {
      counts.set(label, (counts.get(label) ?? 0) + 1);
      info(`${label}: ${counts.get(label)}`);
    },
    countReset: (label = "default") => void counts.delete(label),
    // Time stands still in a turn.
    time: nothing,
    timeLog: (label = "default", ...values) => info(`${label}: 0ms`, ...values),
    timeEnd: (label = "default") => info(`${label}: 0ms`),
  };

  const enqueue = globalThis.queueMicrotask;
  const queueMicrotask = (callback) => {
    if (typeof callback !== "function") throw new TypeError("queueMicrotask: a function is expected");
    enqueue(() => {
      try {
        callback();
      } catch (thrown) {
        error("queueMicrotask:", thrown);
      }
    });
  };

  global({
    console, queueMicrotask, crypto, CryptoKey, TextEncoder, TextDecoder, URL, URLSearchParams,
    structuredClone: (value) => host.decode(host.encode(value)),
    // Time stands still in a turn, so nothing takes any. As on Cloudflare it is the time since 1970.
    performance: { now: () => host.now(), timeOrigin: 0, mark() {}, measure() {} },
    self: globalThis,
  });
})();
