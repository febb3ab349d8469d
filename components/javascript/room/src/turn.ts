/**
 * Whether the turn has changed something. A `ClientError` or a `Refusal` is an answer of a turn that changed nothing; behind
 * a change it fails the turn, so that nothing of it is kept.
 */

let changed: string | undefined;

/** Called at the start of each event. */
export const begin = (): void => {
  changed = undefined;
};

/** Called by what changes storage, timers or sockets, or sends. `what` is for the log. */
export const change = (what: string): void => {
  changed ??= what;
};

/** The first change of this turn; `undefined` if there was none. */
export const firstChange = (): string | undefined => changed;
