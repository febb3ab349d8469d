/** Random values that structured clone keeps: every kind, nested, shared and in cycles. */
import { VIEWS } from "../clone/format.js";

/** A sequence of numbers from a seed: xorshift. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

const TEXTS = [
  "",
  "a",
  "é🐭",
  "\ud800",
  "\udc00x",
  "__proto__",
  "toJSON",
  "constructor",
  "0",
  "1",
  "-1",
  'q"\\\n',
  "\0",
];
const NUMBERS = [0, -0, 1, -1.5, NaN, Infinity, -Infinity, 2 ** 53, 5e-324, 1e21];

export const valueOf = (random: Random, depth = 0, made: object[] = []): unknown => {
  const leaf = depth > 4 || random.below(3) === 0;
  if (leaf) return leafOf(random, made);
  const inner = () => valueOf(random, depth + 1, made);
  const size = random.below(4);
  const add = <T extends object>(object: T): T => {
    made.push(object);
    return object;
  };
  switch (random.below(7)) {
    case 0:
    case 1: {
      const object = add<Record<string, unknown>>({});
      for (let left = size; left > 0; left--) define(object, random.pick(TEXTS), inner());
      return object;
    }
    case 2: {
      const array = add<unknown[]>([]);
      for (let left = size; left > 0; left--) array.push(inner());
      return array;
    }
    case 3: {
      const array = add<unknown[]>([]);
      array[random.below(9)] = inner();
      define(array, random.pick(["x", "é", "-1"]), inner());
      return array;
    }
    case 4: {
      const map = add(new Map<unknown, unknown>());
      for (let left = size; left > 0; left--) map.set(inner(), inner());
      return map;
    }
    case 5: {
      const set = add(new Set<unknown>());
      for (let left = size; left > 0; left--) set.add(inner());
      return set;
    }
    default: {
      const error = add(new (random.pick([Error, TypeError, RangeError]))(random.pick(["", "a", "é"])));
      if (random.below(2) === 0) Object.defineProperty(error, "cause", { value: inner(), configurable: true });
      return error;
    }
  }
};

const define = (object: object, key: string, value: unknown): void => {
  Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
};

const leafOf = (random: Random, made: object[]): unknown => {
  switch (random.below(12)) {
    case 0:
      return undefined;
    case 1:
      return null;
    case 2:
      return random.below(2) === 0;
    case 3:
      return BigInt(random.below(2 ** 31)) ** BigInt(random.below(5)) * (random.below(2) ? 1n : -1n);
    case 4:
      return new Date(random.pick([0, -1, 1e12, NaN]));
    case 5:
      return new RegExp(random.pick(["a", "é|\\/", "(?:)"]), random.pick(["", "g", "gimsuy"]));
    case 6: {
      const type = random.pick(VIEWS);
      const bytes = Uint8Array.from({ length: 8 * random.below(4) }, () => random.below(256));
      return new (type as new (buffer: ArrayBuffer) => ArrayBufferView)(bytes.buffer);
    }
    case 7:
      return Uint8Array.from({ length: random.below(9) }, () => random.below(256)).buffer;
    case 8:
      return Object(random.pick<unknown>(["s", 1, false, 2n, -0]));
    case 9:
      return made.length === 0 ? "none" : random.pick(made);
    case 10:
      return random.pick(NUMBERS);
    default:
      return random.pick(TEXTS);
  }
};
