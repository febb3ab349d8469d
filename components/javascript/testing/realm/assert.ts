/** Assertions that run in the realm of an instance, and in the engine. */

export class AssertionError extends Error {
  override name = "AssertionError";
}

type Expected = RegExp | { name?: string; message?: RegExp | string };

const show = (value: unknown): string => {
  if (value instanceof Error) return String(value);
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Map || value instanceof Set) return `${value.constructor.name} ${show([...value])}`;
  try {
    return JSON.stringify(value, (_key, inner) => (typeof inner === "bigint" ? `${inner}n` : inner)) ?? String(value);
  } catch {
    return String(value);
  }
};

const fail = (message: string): never => {
  throw new AssertionError(message);
};

/** Whether two values are the same, with everything inside them; cycles count by their form. */
export const isDeepEqual = (a: unknown, b: unknown, seen = new Map<unknown, unknown>()): boolean => {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (seen.has(a)) return seen.get(a) === b;
  seen.set(a, b);
  if (a instanceof Date && b instanceof Date) return Object.is(a.getTime(), b.getTime());
  if (a instanceof RegExp && b instanceof RegExp) return String(a) === String(b);
  if (a instanceof Error && b instanceof Error) {
    return a.name === b.name && a.message === b.message && isDeepEqual(a.cause, b.cause, seen);
  }
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) {
    return isDeepEqual([...new Uint8Array(a)], [...new Uint8Array(b)]);
  }
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) {
    const bytes = (view: ArrayBufferView) => [...new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];
    return isDeepEqual(bytes(a), bytes(b));
  }
  if (a instanceof Map && b instanceof Map) return isDeepEqual([...a], [...b], seen);
  if (a instanceof Set && b instanceof Set) return isDeepEqual([...a], [...b], seen);
  if ([Boolean, Number, String, BigInt].some((type) => a instanceof type)) return Object.is(a.valueOf(), b.valueOf());
  const keys = Object.keys(a);
  if (Array.isArray(a) && a.length !== (b as unknown[]).length) return false;
  return (
    isDeepEqualList(keys, Object.keys(b)) &&
    keys.every((key) => isDeepEqual((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], seen))
  );
};

const isDeepEqualList = (a: string[], b: string[]): boolean =>
  a.length === b.length && a.every((key, at) => key === b[at]);

const check = (error: unknown, expected: Expected | undefined): void => {
  if (!expected) return;
  if (expected instanceof RegExp) {
    if (!expected.test(String(error))) fail(`${show(error)} does not match ${expected}`);
    return;
  }
  const { name, message } = error as Error;
  if (expected.name !== undefined && name !== expected.name) fail(`the name is ${name}, not ${expected.name}`);
  if (
    expected.message instanceof RegExp ? !expected.message.test(message) : (expected.message ?? message) !== message
  ) {
    fail(`the message is ${show(message)}, not ${expected.message}`);
  }
};

export const assert = {
  ok: (value: unknown, message?: string): void => {
    if (!value) fail(message ?? `${show(value)} is not truthy`);
  },
  equal: (actual: unknown, expected: unknown): void => {
    if (!Object.is(actual, expected)) fail(`${show(actual)} is not ${show(expected)}`);
  },
  deepEqual: (actual: unknown, expected: unknown): void => {
    if (!isDeepEqual(actual, expected)) fail(`${show(actual)} is not ${show(expected)}`);
  },
  match: (text: string, pattern: RegExp): void => {
    if (!pattern.test(text)) fail(`${show(text)} does not match ${pattern}`);
  },
  throws: (run: () => unknown, expected?: Expected): void => {
    let thrown: { error: unknown } | undefined;
    try {
      run();
    } catch (error) {
      thrown = { error };
    }
    if (!thrown) return fail("nothing was thrown");
    check(thrown.error, expected);
  },
  rejects: async (run: Promise<unknown> | (() => unknown), expected?: Expected): Promise<void> => {
    let thrown: { error: unknown } | undefined;
    try {
      await (typeof run === "function" ? run() : run);
    } catch (error) {
      thrown = { error };
    }
    if (!thrown) return fail("nothing was rejected");
    check(thrown.error, expected);
  },
};
