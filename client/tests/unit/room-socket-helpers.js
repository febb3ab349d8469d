// @ts-check
import { RoomSocket } from "../../src/room-socket.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, pass } from "./helpers.js";

/** @typedef {import("../../src/room-socket.js").RoomSocketOptions} RoomSocketOptions */

/**
 * A socket that waits for the server to accept it.
 *
 * @param {Partial<RoomSocketOptions>} [options]
 */
export async function connecting(options = {}) {
  const network = fakeNetwork();
  const room = new RoomSocket({ url: "wss://rooms.example/lobby/ws", WebSocket: network.WebSocket, ...options });
  const states = eventsOf(room, "state");
  const received = eventsOf(room, "message");
  room.open();
  await pass(0);
  return { room, network, states, received };
}

/** @param {Partial<RoomSocketOptions>} [options] */
export async function connected(options) {
  const all = await connecting(options);
  all.network.last.accept();
  return all;
}

/**
 * The wait after a lost attempt or connection, ms.
 *
 * @param {Awaited<ReturnType<typeof connecting>>} all
 * @param {number} [code]
 * @param {string} [reason]
 */
export function waitAfterDrop({ room, network }, code, reason) {
  network.last.drop(code, reason);
  return (room.snapshot.retryAt ?? NaN) - Date.now();
}

/**
 * Fails an attempt and waits until the next one begins.
 *
 * @param {Awaited<ReturnType<typeof connecting>>} all
 */
export async function fail(all) {
  const wait = waitAfterDrop(all);
  await pass(wait);
  return wait;
}
