/**
 * Reasons why a turn fails although its handler did not: `ctx.abort()`, and a `blockConcurrencyWhile()` that throws or does
 * not end. Nothing of such a turn is kept, and the object is made anew, as on Cloudflare.
 */

/** The most that may be open at once, as on Cloudflare. */
const MAX_DEPTH = 64;

let open = 0;
let failure: { error: unknown } | undefined;

export const blockConcurrencyWhile = <T>(callback: () => T | Promise<T>): Promise<T> => {
  if (open >= MAX_DEPTH) throw new Error("blockConcurrencyWhile() calls are nested too deeply.");
  open++;
  const gate = (async () => callback())();
  gate.then(
    () => {
      open--;
    },
    (error: unknown) => {
      open--;
      failure ??= { error };
    },
  );
  return gate;
};

export const abort = (reason?: unknown): never => {
  const error = reason instanceof Error ? reason : new Error(String(reason ?? "ctx.abort() was called"));
  failure ??= { error };
  throw error;
};

/** Throws if the turn must fail. Called at its end. */
export const check = (): void => {
  if (failure) throw failure.error;
  if (open > 0) {
    throw new Error(
      "blockConcurrencyWhile() did not end within its turn: its callback may wait for storage and other objects, but " +
        "not for setTimeout() or a later event",
    );
  }
};
