/**
 * Errors for the calls of Cloudflare's API that Dormouse does not have.
 *
 * Such a call stays typed, because the types are Cloudflare's. So it fails when it is made: with its own name, and with
 * the next step for the author.
 */

/** Thrown by a call that Dormouse does not have. */
export class UnsupportedError extends Error {
  override name = "UnsupportedError";
}

/** Throws for `call`, such as `ws.accept()`. `instead` says what the author can do. */
export const unsupported = (call: string, instead: string): never => {
  throw new UnsupportedError(`${call} is not supported: ${instead}`);
};
