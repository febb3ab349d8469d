// @ts-check
/**
 * What a room says over a socket, as frames: each is checked before anybody acts on it, and the first one must come in
 * time. A connection that breaks either rule is left, and another one is tried after the backoff: so a state that says
 * "open" means that the room is heard. Chat and presence share it; it knows no single frame.
 */

import { ProtocolError } from "./shape.js";

/**
 * @template {{ type: string }} Frame
 * @typedef {Object} FrameListener
 * @property {string} room How the room is named in the log.
 * @property {(data: string | ArrayBuffer) => Frame | undefined} read Nothing for a frame to ignore.
 * @property {Frame["type"]} firstFrame The first frame of each connection.
 * @property {number} firstFrameTimeoutMs How long it may take.
 * @property {(frame: Frame) => void} onFrame May throw a `ProtocolError` as well.
 */

/**
 * @template {{ type: string }} Frame
 * @param {import("./room-socket.js").RoomSocket} socket
 * @param {FrameListener<Frame>} listener
 */
export function listenForFrames(socket, { room, read, firstFrame, firstFrameTimeoutMs, onFrame }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let deadline;
  /** @param {string} fault */
  const fail = (fault) => {
    console.error(`dormouse: ${room}: protocol error: ${fault}`);
    socket.failProtocol(fault);
  };
  socket.on("state", ({ state }) => {
    clearTimeout(deadline);
    if (state !== "open") return;
    deadline = setTimeout(() => fail(`no ${firstFrame} came in ${firstFrameTimeoutMs} ms`), firstFrameTimeoutMs);
  });
  socket.on("message", (data) => {
    try {
      const frame = read(data);
      if (frame === undefined) return;
      if (frame.type === firstFrame) clearTimeout(deadline);
      onFrame(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      fail(error.message);
    }
  });
}
