// @ts-check
/** The paths of rooms and users at the admin listener, also of those whose names no URL can have. */

import { path } from "./api.js";

/**
 * @typedef {{ namespace: string, name: string }} Place Where a room is.
 */

/**
 * A path of a room, such as `roomPath(room, "/close")`.
 *
 * @param {Place} room
 * @param {string} [action]
 */
export function roomPath({ namespace, name }, action = "") {
  const segment = segmentOf(name);
  return `${path`/rooms/${namespace}/${segment}`}${action}${segment === name ? "" : `?name=${name}`}`;
}

/**
 * @param {string} user
 * @param {string} [action]
 */
export function userPath(user, action = "") {
  const segment = segmentOf(user);
  return `${path`/users/${segment}`}${action}${segment === user ? "" : `?user=${user}`}`;
}

/** A browser takes `.` and `..` for steps in the path; the server then reads the name in the query. @param {string} name */
function segmentOf(name) {
  return name === "." || name === ".." ? "-" : name;
}

/** The room of an address such as `ROOMS/lobby`. @param {string} address */
export function placeOf(address) {
  const slash = address.indexOf("/");
  return { namespace: address.slice(0, slash), name: address.slice(slash + 1) };
}

/** As requests write it: `ROOMS/lobby`. @param {Place} room */
export function addressOf({ namespace, name }) {
  return `${namespace}/${name}`;
}

/**
 * The names of all namespaces.
 *
 * @param {{ deploys: { target: string }[] }} status The answer of `/deploys`.
 */
export function namespacesOf({ deploys }) {
  return deploys.map(({ target }) => target).filter((target) => target !== "router");
}
