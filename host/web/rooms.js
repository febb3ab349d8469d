// @ts-check
/** The current room, which the URL names, and the rooms that the reader has visited. */

import { isRoomName } from "/client/index.js";
import { recall, remember } from "./memory.js";

const FIRST_ROOM = "lobby";
const REMEMBERED = 8;

/** @returns {string} */
export function currentRoom() {
  return roomOfHash() ?? recentRooms()[0] ?? FIRST_ROOM;
}

/** @returns {string | undefined} */
export function roomOfHash() {
  try {
    const room = decodeURIComponent(location.hash.slice(1)).trim();
    return isRoomName(room) ? room : undefined;
  } catch {
    return undefined;
  }
}

/** @param {string} room */
export function hashOf(room) {
  return `#${encodeURIComponent(room)}`;
}

/** @returns {string[]} The latest one first. */
export function recentRooms() {
  try {
    const rooms = JSON.parse(recall("rooms") ?? "[]");
    return Array.isArray(rooms) ? rooms.filter((room) => typeof room === "string" && isRoomName(room)) : [];
  } catch {
    return [];
  }
}

/** @param {string} room */
export function noteVisit(room) {
  const others = recentRooms().filter((other) => other !== room);
  remember("rooms", JSON.stringify([room, ...others].slice(0, REMEMBERED)));
}
