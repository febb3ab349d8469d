// @ts-check
/**
 * The permissions of the user in a room, as the server has sent them. A server that requires no grants sends none: then
 * every user may read, write and be listed.
 */

/**
 * @typedef {"read" | "write" | "presence" | "moderate" | "admin"} Permission Later servers may add others.
 * @typedef {readonly string[] | undefined} Permissions `undefined`: the server has sent none.
 */

/** @type {readonly Permission[]} */
const OPEN = Object.freeze(/** @type {Permission[]} */ (["read", "write", "presence"]));

/** The code of the server's error for a command that the user may not send. */
export const FORBIDDEN = "forbidden";

/** The code of the server's error for the message of a muted user. */
export const MUTED = "muted";

/**
 * @param {Permissions} permissions
 * @param {string} permission
 */
export function may(permissions, permission) {
  return (permissions ?? OPEN).some((some) => some === permission);
}

/**
 * The permissions after the server has refused something for want of one of them.
 *
 * @param {Permissions} permissions
 * @param {string} missing
 * @returns {Permissions}
 */
export function without(permissions, missing) {
  return may(permissions, missing) ? (permissions ?? OPEN).filter((some) => some !== missing) : permissions;
}
