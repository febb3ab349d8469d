// @ts-check
import { Chat } from "../../src/chat.js";
import { fakeNetwork } from "./fake-socket.js";
import { eventsOf, pass } from "./helpers.js";

/** @typedef {import("../../src/protocol.js").ChatMessage} ChatMessage */

export const BASE_URL = "https://rooms.example/api/realtime";

/**
 * A message, by Bo by default.
 *
 * @param {number} seq
 * @param {Partial<ChatMessage>} [rest]
 * @returns {ChatMessage}
 */
export function message(seq, rest) {
  return {
    id: `id ${seq}`,
    userId: "bo",
    userName: "Bo",
    content: `text ${seq}`,
    timestamp: 1_000 * seq,
    seq,
    ...rest,
  };
}

/**
 * A message of a server with only the core protocol.
 *
 * @param {number} number
 * @param {Partial<ChatMessage>} [rest]
 * @returns {ChatMessage}
 */
export function coreMessage(number, rest) {
  const { seq, clientId, ...core } = message(number, rest);
  return core;
}

/**
 * @param {number} from
 * @param {number} to
 * @param {typeof message} [make]
 */
export function messages(from, to, make = message) {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => make(from + index));
}

/**
 * @param {ChatMessage[]} messages
 * @param {boolean} [resumed]
 */
export function history(messages, resumed) {
  return { type: "history", messages, ...(resumed === undefined ? {} : { resumed }) };
}

/** @param {ChatMessage} message */
export function live(message) {
  return { type: "message", message };
}

/**
 * A chat that waits for the server to accept it.
 *
 * @param {Partial<import("../../src/chat.js").ChatOptions>} [options]
 */
export async function knock(options) {
  const network = fakeNetwork();
  const chat = new Chat({ baseUrl: BASE_URL, roomId: "lobby", WebSocket: network.WebSocket, ...options });
  const received = eventsOf(chat, "messages");
  const resyncs = eventsOf(chat, "resync");
  const errors = eventsOf(chat, "error");
  chat.open();
  await pass(0);
  return {
    chat,
    network,
    received,
    resyncs,
    errors,
    /** @param {unknown} [frame] Its first. */
    greet(frame = history([])) {
      network.last.accept();
      network.last.say(frame);
    },
    /** Loses the connection, up to the next one that waits to be accepted. */
    async lose() {
      network.last.drop(1001, "retry-after=1");
      await pass(1_000);
    },
  };
}

/**
 * A chat in a room with these messages.
 *
 * @param {ChatMessage[]} [present]
 * @param {Partial<import("../../src/chat.js").ChatOptions>} [options]
 */
export async function enter(present = [], options) {
  const all = await knock(options);
  all.greet(history(present));
  return all;
}

/**
 * The stored form of a message that the chat says.
 *
 * @param {import("../../src/pending-messages.js").PendingMessage | undefined} pending
 * @param {number} seq
 */
export function storedAs(pending, seq) {
  return message(seq, { userId: "ana", userName: "Ana", content: pending?.content, clientId: pending?.clientId });
}

/** @param {Chat} chat */
export const seqs = (chat) => chat.messages.map(({ seq }) => seq);

/** @param {Promise<unknown>} promise */
export const codeOf = (promise) =>
  promise.then(
    () => "kept",
    ({ code }) => code,
  );
