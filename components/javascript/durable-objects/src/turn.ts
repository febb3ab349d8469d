/**
 * One event of the host, from its handler's start to the end of its turn.
 *
 * Storage is synchronous below, so a handler settles through promise reactions alone. The engine runs these until none
 * is left, then calls `idle`: the turn ends there, with what the handler returned. A handler that still waits is let go,
 * as at an await on Cloudflare: the turn is kept, and the handler goes on in a later turn of this instance that settles
 * what it waits for.
 */
import * as timers from "./timers.js";

/** The end of a handler within its turn. */
export type Outcome = { value: unknown } | { error: unknown } | "pending";

interface Turn {
  /** For the log, such as `webSocketMessage()`. */
  name: string;
  outcome: Outcome;
  /** The first error of a callback without a delay. */
  callbackError?: { error: unknown };
  end(): void;
}

let current: Turn | undefined;

/**
 * Runs a handler. `finish` makes the result of the event from what the handler has settled to; the turn fails with what
 * it throws.
 */
export const run = <T>(name: string, handler: () => unknown, finish: (outcome: Outcome) => T): Promise<T> =>
  new Promise<T>((resolve, reject) => {
    const turn: Turn = {
      name,
      outcome: "pending",
      end: () => {
        try {
          resolve(finish(turn.callbackError ?? turn.outcome));
        } catch (error) {
          reject(error);
        }
      },
    };
    current = turn;
    (async () => handler())().then(
      (value) => {
        turn.outcome = { value };
      },
      (error: unknown) => {
        turn.outcome = { error };
        if (current !== turn) console.error(`${name} failed after its turn:`, error);
      },
    );
  });

/** The engine has nothing left to run. Returns whether there is something again. */
export const idle = (): boolean => {
  const callback = timers.takeSoon();
  if (callback) {
    try {
      callback();
    } catch (error) {
      if (current) current.callbackError ??= { error };
    }
    return true;
  }
  const turn = current;
  current = undefined;
  turn?.end();
  return turn !== undefined;
};

/** Says that a handler was let go, if nothing is in sight that could settle it. */
export const warnOfPending = (name: string): void => {
  if (timers.isAnyPending()) return;
  console.warn(
    `${name} waits for something that no setTimeout() of this room will settle; it goes on only if a later event ` +
      "settles it, and is lost when the room sleeps",
  );
};
