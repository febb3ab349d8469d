// @ts-check
/**
 * Reads a room's frames from a socket for Chat and Presence. It checks each frame before they see it, and requires the
 * first frame in time. A connection that breaks either rule is closed, and another one is opened after the backoff. So
 * the state "open" means that frames of the room arrive. It knows no particular frame.
 */

import { ProtocolError } from "./shape.js";

/**
 * @template {{ type: string }} Frame
 * @typedef {Object} FrameListener
 * @property {string} room The room's name for the log.
 * @property {(data: string | ArrayBuffer) => Frame | undefined} read `undefined`: the frame is ignored.
 * @property {Frame["type"]} firstFrame The first frame of each connection.
 * @property {number} firstFrameTimeoutMs The longest wait for it.
 * @property {(frame: Frame) => void} onFrame May throw a `ProtocolError` too.
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
