/** Errors that are for a client, not for the log: nothing of their turn is kept. */

/** The longest code and text that a client gets, in UTF-16 code units. */
const MAX_TEXT = 500;

/**
 * The client did something wrong. The sender of a message gets an `error` frame, and the caller of a call its answer, with
 * this code and this text. Throw it before the turn changes anything.
 */
export class ClientError extends Error {
  override name = "ClientError";
  /** For programs, such as `not_your_turn`. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message.length > MAX_TEXT ? `${message.slice(0, MAX_TEXT).replace(/[\ud800-\udbff]$/, "")}…` : message);
    this.code = code;
  }
}

/** A connection or a request is refused: the client gets this status and this reason. */
export class Refusal extends Error {
  override name = "Refusal";
  /** 400 to 599. */
  readonly status: number;

  constructor(status: number, reason: string) {
    super(reason);
    if (!Number.isInteger(status) || status < 400 || status > 599) {
      throw new RangeError(`a refusal has a status of 400 to 599, not ${status}`);
    }
    this.status = status;
  }
}
