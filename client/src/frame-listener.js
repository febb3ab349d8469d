// @ts-check
/**
 * What a room says over a socket, as frames: each is checked before anybody acts on it, and the first one must come in
 * time. A connection that breaks either rule is left, and another one is tried after the backoff: so a state that says
 * "open" means that the room is heard. Chat and presence share it; it knows no single frame.
 */

import { ProtocolError } from "./shape.js";

/**
 * @template {{ type: string }} Frame
 * @typedef {Object} Conversation
 * @property {string} room How the room is named in the log.
 * @property {(data: string | ArrayBuffer) => Frame | undefined} read Nothing for a frame to ignore.
 * @property {Frame["type"]} greeting The first frame of each connection.
 * @property {number} greetedWithinMs How long it may take.
 * @property {(frame: Frame) => void} hear May throw a `ProtocolError` as well.
 */

/**
 * @template {{ type: string }} Frame
 * @param {import("./room-socket.js").RoomSocket} socket
 * @param {Conversation<Frame>} conversation
 */
export function converse(socket, { room, read, greeting, greetedWithinMs, hear }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let deadline;
  /** @param {string} fault */
  const distrust = (fault) => {
    console.error(`dormouse: ${room}: protocol error: ${fault}`);
    socket.distrust(fault);
  };
  socket.on("state", ({ state }) => {
    clearTimeout(deadline);
    if (state !== "open") return;
    deadline = setTimeout(() => distrust(`no ${greeting} came in ${greetedWithinMs} ms`), greetedWithinMs);
  });
  socket.on("message", (data) => {
    try {
      const frame = read(data);
      if (frame === undefined) return;
      if (frame.type === greeting) clearTimeout(deadline);
      hear(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      distrust(error.message);
    }
  });
}
