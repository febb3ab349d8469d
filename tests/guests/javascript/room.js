// A test room in JavaScript: it does what messages and requests tell it, and misbehaves when it is told to.
import * as host from "dormouse:host";

const values = () => {
  const circle = { name: "circle", twice: [] };
  circle.twice.push(circle, circle.twice);
  return {
    json: { text: 'ä "q" \n \u0001 😀 \u2028', numbers: [0, 1.5, -7, 1e21, 1e-7, 123456789012], nested: [[], {}, null, true] },
    nothing: undefined,
    zero: -0,
    notNumbers: [NaN, Infinity, -Infinity],
    surrogate: "\ud800 alone",
    big: -(2n ** 80n),
    date: new Date(86_400_000),
    map: new Map([[{ key: 1 }, new Set(["a", 2])]]),
    expression: /a\/b/giu,
    error: Object.defineProperty(new RangeError("out", { cause: "because" }), "stack", { value: "at home" }),
    bytes: new Uint8Array([1, 2, 3]).subarray(1),
    floats: new Float32Array([1.5, -2]),
    view: new DataView(new ArrayBuffer(4)),
    buffer: new Uint8Array([9, 8]).buffer,
    holes: [1, , 3],
    boxed: Object("text"),
    circle,
    proto: JSON.parse('{"__proto__": 1}'),
    deep: Array.from({ length: 200 }).reduce((inner) => [inner], "deep"),
  };
};

const same = (one, other) => host.text(host.encode(one)) === host.text(host.encode(other));

const deepest = (step) => {
  let depth = 0;
  const down = () => {
    depth++;
    step(down);
  };
  try {
    down();
  } catch (error) {
    return `${error.name} after ${depth >= 50 ? "many" : depth} calls`;
  }
  return "no end";
};

/** A value that is nested as deep as its room has memory. */
const deep = (around) => {
  let value = [];
  for (let depth = 0; depth < 100_000; depth++) value = around(value);
  return value;
};

const nested = (depth) => "[".repeat(depth) + "]".repeat(depth);

const commands = {
  say: (sender, ...words) => host.broadcast(words.join(" ")),
  others: (sender, ...words) => host.broadcast(words.join(" "), { exceptSocket: sender }),
  put: (sender, key, value) => reply(sender, host.putValue(key, value)),
  get: (sender, key) => reply(sender, host.getValue(key) ?? "nothing"),
  keys: (sender, prefix) => reply(sender, host.list({ prefix }).map(([key]) => key).join(" ")),
  remove: (sender, key) => reply(sender, host.remove(key)),
  timer: (sender, name, ms) => reply(sender, host.setTimer(name, host.now() + Number(ms), host.utf8("tea"))),
  who: (sender) => reply(sender, `${host.user(sender).name} of ${host.socketCount()}`),
  tag: (sender, tag) => reply(sender, host.setTags(sender, [tag])),
  tagged: (sender, tag) => reply(sender, host.socketIds({ tag }).length),
  attach: (sender, text) => reply(sender, host.setAttachment(sender, host.utf8(text))),
  attached: (sender) => reply(sender, host.text(host.attachment(sender))),
  answer: (sender) => reply(sender, host.answer({ status: 200, headers: [], body: "" })),
  close: (sender, code) => reply(sender, host.close(sender, Number(code), "as you wish")),

  "put-values": () => Object.entries(values()).forEach(([name, value]) => host.putValue(`value:${name}`, value)),
  "check-values": (sender) => {
    const wrong = Object.entries(values()).filter(([name, value]) => !same(value, host.getValue(`value:${name}`)));
    const { self, again } = { self: host.getValue("value:circle"), again: host.getValue("value:map") };
    const kept = self.twice[0] === self && self.twice[1] === self.twice && again instanceof Map;
    reply(sender, wrong.length === 0 && kept ? "equal" : `not equal: ${wrong.map(([name]) => name)}`);
  },
  // Damaged values must be errors, whatever the damage is.
  "decode-damaged": (sender, rounds) => {
    const encoded = Object.values(values()).map((value) => host.encode(value));
    let [read, refused] = [0, 0];
    for (let round = 0; round < Number(rounds); round++) {
      const bytes = encoded[round % encoded.length].slice(0, Math.random() < 0.2 ? round % 40 : undefined);
      for (let hits = 0; hits < 3; hits++) bytes[Math.floor(Math.random() * bytes.length)] = Math.random() * 256;
      try {
        host.decode(bytes);
        read++;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        refused++;
      }
    }
    reply(sender, read + refused === Number(rounds) && refused > 0 ? "only errors" : `${read} ${refused}`);
  },
  random: (sender) => reply(sender, `${Math.random()} ${crypto.randomUUID()}`),
  clock: (sender) => {
    const start = Date.now();
    for (let round = 0; round < 1000; round++) if (Date.now() !== start) return reply(sender, "it moves");
    reply(sender, new Date().getTime() === start && host.now() === start ? start : "clocks differ");
  },
  digest: async (sender, text) => {
    const digest = await crypto.subtle.digest("SHA-256", host.utf8(text));
    reply(sender, new Uint8Array(digest).reduce((hex, byte) => hex + byte.toString(16).padStart(2, "0"), ""));
  },
  url: (sender, text) => reply(sender, new URL(text).searchParams.get("q")),

  // ---- misbehaviour ----
  throw: (sender, text) => {
    host.put("thrown", host.utf8("x"));
    host.broadcast("never");
    throw new TypeError(text);
  },
  loop: () => {
    for (;;);
  },
  "loop-in-a-job": () => Promise.resolve().then(commands.loop),
  "endless-jobs": () => {
    const next = () => Promise.resolve().then(next);
    next();
  },
  "many-jobs": async (sender, count) => {
    let done = 0;
    for (let number = 0; number < Number(count); number++) queueMicrotask(() => done++);
    await null;
    reply(sender, done);
  },
  memory: (sender) => {
    host.put("half", host.utf8("x"));
    const hoard = [];
    try {
      for (;;) hoard.push(new Uint8Array(1 << 20).fill(1));
    } catch {
      reply(sender, "caught");
    }
  },
  strings: (sender) => {
    host.put("half", host.utf8("x"));
    try {
      reply(sender, "xy".repeat(1 << 28).length);
    } catch (error) {
      reply(sender, `caught ${error.name}`);
    }
  },
  recursion: (sender, ...way) => {
    const ways = {
      call: (down) => down(),
      apply: (down) => Reflect.apply(down, null, []),
      spread: (down) => down(...[1, 2, 3]),
      map: (down) => [1].map(down),
      sort: (down) => [2, 1].sort(down),
      replace: (down) => "x".replace(/x/, down),
      getter: (down) => ({ get x() { return down(); } }).x,
      text: (down) => `${{ toString: down }}`,
      json: (down) => JSON.stringify({ toJSON: down }),
      proxy: (down) => new Proxy({}, { get: down }).x,
      class: (down) => new (class { constructor() { down(); } })(),
      generator: (down) => [...(function* () { yield down(); })()],
      encode: (down) => host.encode({ get x() { return down(); } }),
      parse: () => JSON.parse(nested(1_000_000)),
      "parse objects": () => JSON.parse('{"a":'.repeat(100_000)),
      stringify: () => JSON.stringify(deep((value) => [value])),
      "stringify objects": () => JSON.stringify(deep((value) => ({ value }))),
      "stringify pretty": () => JSON.stringify(deep((value) => ({ value })), (key, value) => value, 1),
      clone: () => structuredClone(deep((value) => [value])),
      flat: () => deep((value) => [value]).flat(Infinity),
      regexp: () => /^(?:(?:a*)*)*$/.test(`${"a".repeat(28)}b`),
      source: () => new Function(`return ${nested(100_000)}`),
      expression: () => new RegExp("(".repeat(100_000) + ")".repeat(100_000)),
    };
    host.put("half", host.utf8("x"));
    const words = way.join(" ");
    reply(sender, deepest(ways[words]));
  },
  prototypes: (sender) => {
    const evil = () => {
      throw new Error("evil");
    };
    Object.defineProperty(Object.prototype, "status", { get: evil, configurable: true });
    Object.defineProperty(Object.prototype, "name", { value: "evil", configurable: true });
    Object.prototype.toJSON = evil;
    Array.prototype[Symbol.iterator] = evil;
    Array.prototype.push = Array.prototype.map = evil;
    Map.prototype.forEach = Map.prototype.set = Set.prototype.add = evil;
    Uint8Array.prototype.set = String.prototype.toString = evil;
    RegExp.prototype.exec = Date.prototype.getTime = evil;
    const stored = host.putValue("evil", new Map([]));
    const read = host.getValue("evil");
    reply(sender, `${stored} ${read.size}`);
  },
  "promise-prototype": () => {
    Promise.prototype.then = () => "evil";
    Object.defineProperty(Object.prototype, "then", { get: () => (resolve) => resolve(7), configurable: true });
    return Promise.resolve(7);
  },
  never: () => new Promise(() => {}),
  rejected: (sender) => {
    Promise.reject(new Error("nobody handles this"));
    reply(sender, "done");
  },
  "put-a-function": () => host.encode({ move: () => 1 }),
  "throw-oddly": () => {
    throw { toString: commands.loop, get message() { throw 1; } };
  },
};

const reply = (socket, value) => host.send(socket, `${value}`);

export default class {
  constructor() {
    this.events = 0;
    if (host.getValue("broken")) throw new Error("broken since it woke");
  }

  connect({ query }, socket) {
    if (query === "refuse") return { status: 403, reason: "not you" };
    if (query === "answer") {
      host.putValue("asked", ++this.events);
      host.send(socket, "never");
      host.answer({ status: 503, headers: [], body: "replaced" });
      host.answer({ status: 402, headers: [["retry-after", "5"]], body: `pay, says ${this.events}` });
      return;
    }
    if (query === "bad-answer") return { status: 500, reason: host.answer({ status: 101, headers: [], body: "" }) };
    if (query === "throw") throw new Error("no door");
    host.send(socket, "welcome");
  }

  message(sender, data) {
    this.events++;
    if (typeof data !== "string") return host.send(sender, data.reverse());
    const [name, ...rest] = data.split(" ");
    if (name === "events") return reply(sender, this.events);
    return commands[name](sender, ...rest);
  }

  close(socket, code, reason, clean) {
    host.broadcast(`gone ${host.user(socket).name} ${code} ${clean}`);
  }

  timer({ name, payload, attempt }) {
    host.broadcast(`timer ${name} ${host.text(payload)} ${attempt}`);
  }

  request({ method, path, query, headers, body, user }) {
    if (path === "/bad-status") return { status: 1.5, headers: [], body: "" };
    if (path === "/nothing") return undefined;
    const text = JSON.stringify({ method, path, query, body: host.text(body), user: user?.name, headers: headers.length });
    return { status: 201, headers: [["content-type", "application/json"]], body: text };
  }
}
