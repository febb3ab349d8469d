// @ts-check
/** The columns of a list of revocations. */

import { ago, name, time, userLink } from "./dom.js";
import { rowActions } from "./forms.js";
import { restore } from "./user-actions.js";

/**
 * @typedef {{ user?: string, room?: string, before?: number, jti?: string, exp?: number }} Revocation An entry of the
 *   server's list.
 */

/**
 * @param {(action: Promise<boolean>) => void} then Called with each action that the operator begins.
 * @returns {import("./dom.js").Column[]}
 */
export function revocationColumns(then) {
  return [
    { title: "Refused", cell: kindOf },
    { title: "User or token", cell: ({ user, jti }) => (user === undefined ? name(jti ?? "") : userLink(user)) },
    { title: "Room", cell: ({ room }) => room !== undefined && name(room) },
    { title: "In force", cell: inForce },
    {
      title: "Action",
      cell: (entry) => rowActions(entry.user ?? entry.jti ?? "", ["Remove…", () => then(restore(revokedBy(entry)))]),
    },
  ];
}

/** @param {Revocation} entry */
function kindOf({ user, room }) {
  if (user === undefined) return "token";
  return room === undefined ? "all tokens of a user" : "user in one room";
}

/** For which tokens, and until when. @param {Revocation} entry */
function inForce({ before, exp }) {
  if (before !== undefined) return ["for tokens issued up to ", time(before * 1000)];
  return exp === undefined ? "until you remove it" : ["until the token expires, ", ago(exp * 1000)];
}

/**
 * The revocation that an entry came from.
 *
 * @param {Revocation} entry
 * @returns {import("./user-actions.js").Revoked}
 */
function revokedBy({ user = "", room, jti }) {
  if (jti !== undefined) return { jti };
  return room === undefined ? { user } : { user, room };
}
