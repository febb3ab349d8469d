// @ts-check
/** What an operator does to users, each after a question. Every function resolves to whether it was done. */

import { send } from "./api.js";
import { ask, notice } from "./dialog.js";
import { h, name } from "./dom.js";
import { counted } from "./forms.js";
import { placeOf, userPath } from "./rooms-api.js";

/**
 * @typedef {{ user: string } | { user: string, room: string } | { jti: string, exp?: number }} Revoked The room is
 *   spelled as in a path, such as `rooms/lobby`.
 */

/** @param {string} text */
function strong(text) {
  return h("strong", {}, name(text));
}

/**
 * @param {string} user
 * @param {string} [room] Only from this room, such as `ROOMS/lobby`.
 */
export function disconnect(user, room) {
  const from = room === undefined ? ["everywhere"] : ["in ", strong(room)];
  return ask({
    title: room === undefined ? "Disconnect this user everywhere?" : "Disconnect this user from the room?",
    consequence: h(
      "p",
      {},
      "The sockets of ",
      strong(user),
      " are closed ",
      ...from,
      " with 4410. The user may come back: to prevent that, revoke.",
    ),
    action: "Disconnect",
    danger: true,
    does: async () => {
      const { closed } = await send("POST", userPath(user, "/disconnect"), room === undefined ? undefined : { room });
      notice(`${counted(closed, "socket")} closed.`);
    },
  });
}

/** @param {Revoked} revoked */
export function revoke(revoked) {
  return ask({
    title: "Revoke?",
    consequence: h("p", {}, ...consequence(revoked)),
    action: "Revoke",
    danger: true,
    does: async () => {
      const { closed } = await send("POST", "/revocations", revoked);
      notice(`Revoked; ${counted(closed, "socket")} closed.`);
    },
  });
}

/** @param {Revoked} revoked */
export function restore(revoked) {
  return ask({
    title: "Remove this revocation?",
    consequence: h(
      "p",
      {},
      ...described(revoked),
      " is accepted again from now on. A token that was stolen works again too.",
    ),
    action: "Remove",
    danger: true,
    does: async () => {
      await send("DELETE", "/revocations", revoked);
      notice("The revocation is removed.");
    },
  });
}

/** How a revocation names a room: the namespace as in a path, and a star that means itself. @param {string} address */
export function revokedRoom(address) {
  const room = placeOf(address);
  return `${room.namespace.toLowerCase().replaceAll("_", "-")}/${room.name.replaceAll("*", "\\*")}`;
}

/**
 * @param {Revoked} revoked
 * @returns {import("./dom.js").Child[]}
 */
export function described(revoked) {
  if ("jti" in revoked) return ["The token ", strong(revoked.jti)];
  if ("room" in revoked) return ["The user ", strong(revoked.user), " in ", strong(revoked.room)];
  return ["The user ", strong(revoked.user)];
}

/**
 * @param {Revoked} revoked
 * @returns {import("./dom.js").Child[]}
 */
function consequence(revoked) {
  if ("jti" in revoked) return [...described(revoked), " is refused everywhere, and its sockets are closed."];
  if ("room" in revoked) {
    return [...described(revoked), " is refused with any token until you remove this, and the sockets are closed."];
  }
  return [
    ...described(revoked),
    " is disconnected everywhere. All tokens issued up to now are refused; one that is issued later is accepted.",
  ];
}
