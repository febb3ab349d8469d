/**
 * Checks of what clients send. A check is a function that returns the value with its type, or throws a `ClientError`; any
 * library with the interface "Standard Schema" (such as Zod or Valibot) has checks too.
 *
 *     const said = is.object({ text: is.text({ max: 200 }), to: is.optional(is.text()) });
 *     type Said = Checked<typeof said>;
 */
import { ClientError } from "./errors.js";

/** A function that checks a value. */
export type Check<T> = (value: unknown, path?: string) => T;

/** The part of Standard Schema that is used: https://standardschema.dev. */
export interface StandardSchema<T> {
  readonly "~standard": {
    validate(value: unknown): { value: T } | { issues: readonly Issue[] } | Promise<unknown>;
  };
}

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { key: PropertyKey })[] | undefined;
}

/** A check, or a schema of another library. */
export type Schema<T> = Check<T> | StandardSchema<T>;

/** The type that a schema gives. */
export type Checked<S> = S extends Schema<infer T> ? T : never;

/** Checks a value. `code` is that of the `ClientError`. */
export const checked = <T>(schema: Schema<T>, value: unknown, code: string): T => {
  if (typeof schema === "function") {
    try {
      return schema(value, "");
    } catch (error) {
      throw error instanceof Wrong ? new ClientError(code, error.message) : error;
    }
  }
  const result = schema["~standard"].validate(value);
  if (result instanceof Promise) throw new TypeError("the schema is asynchronous; rooms are not");
  if ("value" in result) return result.value;
  throw new ClientError(code, "issues" in result ? result.issues.map(shown).join("; ") : "it is not valid");
};

const shown = ({ message, path = [] }: Issue): string => {
  const keys = path.map((part) => String(typeof part === "object" ? part.key : part));
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
};

/** A check of `is` failed. `checked` gives it its code. */
class Wrong extends Error {
  constructor(path: string | undefined, must: string) {
    super(`${path || "it"} must ${must}`);
  }
}

const at = (path: string | undefined, key: string | number): string => (path ? `${path}.${key}` : String(key));

const countCharacters = (text: string): number => {
  let characters = 0;
  for (const _ of text) characters++;
  return characters;
};

const range = (min: number, max: number): string => {
  if (min === -Infinity) return `at most ${max}`;
  return max === Infinity ? `at least ${min}` : `${min} to ${max}`;
};

/** The properties of an object check; those that may be absent are optional. */
type Properties<S> = { [K in keyof S as undefined extends Checked<S[K]> ? never : K]: Checked<S[K]> } & {
  [K in keyof S as undefined extends Checked<S[K]> ? K : never]?: Checked<S[K]>;
};

export const is = {
  /** A text of `min` to `max` characters of Unicode (code points). Default: 1 to 1,000. */
  text:
    ({ min = 1, max = 1000 }: { min?: number; max?: number } = {}): Check<string> =>
    (value, path) => {
      if (typeof value !== "string") throw new Wrong(path, "be a text");
      // A character has one or two units, so most texts need no counting.
      const isWithin = value.length >= 2 * min && value.length <= max;
      const characters = isWithin ? min : countCharacters(value);
      if (characters < min || characters > max) throw new Wrong(path, `have ${min} to ${max} characters`);
      return value;
    },

  /** A finite number of `min` to `max`. */
  number:
    ({ min = -Infinity, max = Infinity }: { min?: number; max?: number } = {}): Check<number> =>
    (value, path) => {
      if (typeof value !== "number" || !Number.isFinite(value)) throw new Wrong(path, "be a number");
      if (value < min || value > max) throw new Wrong(path, `be ${range(min, max)}`);
      return value;
    },

  /** A whole number of `min` to `max`. */
  integer:
    (range: { min?: number; max?: number } = {}): Check<number> =>
    (value, path) => {
      if (!Number.isSafeInteger(value)) throw new Wrong(path, "be a whole number");
      return is.number(range)(value, path);
    },

  boolean: (): Check<boolean> => (value, path) => {
    if (typeof value !== "boolean") throw new Wrong(path, "be true or false");
    return value;
  },

  /** One of these values. */
  oneOf:
    <const T extends readonly (string | number | boolean | null)[]>(...values: T): Check<T[number]> =>
    (value, path) => {
      const found = values.find((one) => one === value);
      if (found === undefined) throw new Wrong(path, `be one of ${JSON.stringify(values).slice(1, -1)}`);
      return found;
    },

  /** A list of at most `max` elements. Default: 100. */
  list:
    <T>(element: Check<T>, { max = 100 }: { max?: number } = {}): Check<T[]> =>
    (value, path) => {
      if (!Array.isArray(value)) throw new Wrong(path, "be a list");
      if (value.length > max) throw new Wrong(path, `have at most ${max} elements`);
      return value.map((one, index) => element(one, at(path, index)));
    },

  /** An object with these properties. Others are left out. */
  object:
    <S extends Record<string, Check<any>>>(properties: S): Check<Properties<S>> =>
    (value, path) => {
      if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Wrong(path, "be an object");
      const entries = Object.entries(properties).map(([key, check]) => {
        const property = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
        return [key, check(property, at(path, key))];
      });
      return Object.fromEntries(entries.filter(([, property]) => property !== undefined));
    },

  /** The value may be absent. */
  optional:
    <T>(check: Check<T>): Check<T | undefined> =>
    (value, path) =>
      value === undefined ? undefined : check(value, path),

  /** Any JSON. */
  anything: (): Check<unknown> => (value) => value,
};
