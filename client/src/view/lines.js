// @ts-check
/**
 * Turns a chat into the lines of a list: its messages, then the user's pending ones, and a line where a day begins.
 * Plain data, for any way of rendering.
 */

import { dayOf } from "./days.js";

/** Messages of one user that follow each other within this time, ms, form a group. */
const GROUP_WITHIN_MS = 5 * 60_000;

/**
 * @typedef {import("../protocol.js").ChatMessage} ChatMessage
 * @typedef {import("../pending-messages.js").PendingMessage} PendingMessage
 * @typedef {{ userId: string | undefined, userName: string | undefined }} Me
 * @typedef {Object} ShownMessage
 * @property {string} [id] Absent while it is pending.
 * @property {string} userId
 * @property {string} userName
 * @property {string} content
 * @property {number} timestamp
 * @property {number} [seq]
 * @property {ChatMessage["deleted"]} [deleted]
 *
 * @typedef {{ kind: "day", key: string, day: number }} DayLine
 *
 * @typedef {Object} MessageLine
 * @property {"message"} kind
 * @property {string} key
 * @property {ShownMessage} message
 * @property {PendingMessage} [pending] Absent once it is stored.
 * @property {boolean} isOwn
 * @property {boolean} opensGroup Another user wrote the message before, or it is long ago.
 *
 * @typedef {DayLine | MessageLine} Line
 */

/**
 * @param {{ messages: readonly ChatMessage[], pending: readonly PendingMessage[] }} chat
 * @param {Me} me
 * @param {ReadonlyMap<string, string>} clientIdByMessageId For the user's own messages: the `clientId` under which each
 *   was pending here. Such a message keeps its key when it is stored, so nothing flickers. The `clientId` of other
 *   users names no line, because they may use the same one twice.
 * @returns {Line[]}
 */
export function linesOf({ messages, pending }, me, clientIdByMessageId) {
  /** @type {Line[]} */
  const lines = [];
  /** @type {ShownMessage | undefined} */
  let last;
  let lastDay = NaN;
  for (const message of messages) {
    const clientId = clientIdByMessageId.get(message.id);
    add(clientId === undefined ? `stored ${message.id}` : keyOfOwn(clientId), message, undefined);
  }
  for (const own of pending) {
    // It is the newest, even if this browser's clock is behind the server's.
    const timestamp = Math.max(own.createdAt, last?.timestamp ?? 0);
    add(
      keyOfOwn(own.clientId),
      { userId: me.userId ?? "", userName: me.userName ?? "You", content: own.content, timestamp },
      own,
    );
  }
  return lines;

  /**
   * @param {string} key
   * @param {ShownMessage} message
   * @param {PendingMessage | undefined} own
   */
  function add(key, message, own) {
    const day = dayOf(message.timestamp);
    // The server's clock may be set back over midnight, but no day begins twice.
    const isNewDay = !(day <= lastDay);
    if (isNewDay) lines.push({ kind: "day", key: `day ${day}`, day });
    const opensGroup =
      isNewDay ||
      last === undefined ||
      last.userId !== message.userId ||
      message.timestamp - last.timestamp > GROUP_WITHIN_MS;
    lines.push({
      kind: "message",
      key,
      message,
      pending: own,
      isOwn: own !== undefined || message.userId === me.userId,
      opensGroup,
    });
    last = message;
    if (isNewDay) lastDay = day;
  }
}

/** How many messages are in a block. */
const BLOCK_SIZE = 50;

/**
 * Groups the lines into blocks that do not change when others are added above or below: the `seq` of a message decides
 * its block. A pending message is where it will most likely be stored, and a day is with its first message. Messages
 * without `seq` are all in one block.
 *
 * @param {readonly Line[]} lines
 * @returns {{ key: string, lines: Line[] }[]}
 */
export function blocksOf(lines) {
  /** @type {{ key: string, lines: Line[] }[]} */
  const blocks = [];
  let seq = NaN;
  let current = NaN;
  lines.forEach((line, index) => {
    const next = seqOf(line.kind === "day" ? lines[index + 1] : line) ?? seq + 1;
    if (line.kind === "message") seq = next;
    const block = Math.floor((next || 0) / BLOCK_SIZE);
    if (block !== current) blocks.push({ key: `block ${block}`, lines: [] });
    current = block;
    blocks.at(-1)?.lines.push(line);
  });
  return blocks;
}

/** @param {Line | undefined} line */
function seqOf(line) {
  return line?.kind === "message" ? line.message.seq : undefined;
}

/**
 * Whether two lists of lines are rendered alike.
 *
 * @param {readonly Line[]} before
 * @param {readonly Line[]} after
 */
export function areSameLines(before, after) {
  return before.length === after.length && before.every((line, index) => isSameLine(line, after[index]));
}

/**
 * @param {Line} a
 * @param {Line | undefined} b
 */
function isSameLine(a, b) {
  if (a.key !== b?.key) return false;
  if (a.kind === "day" || b.kind === "day") return a.kind === b.kind;
  // The `message` of a pending line is a new object each time, made from the same pending message.
  const sameContent = a.pending
    ? a.pending === b.pending && a.message.timestamp === b.message.timestamp
    : a.message === b.message;
  return sameContent && a.pending === b.pending && a.isOwn === b.isOwn && a.opensGroup === b.opensGroup;
}

/** @param {string} clientId */
function keyOfOwn(clientId) {
  return `own ${clientId}`;
}
