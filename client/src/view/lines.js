// @ts-check
/**
 * A chat as the lines of a list: its messages, then one's own that are not stored yet, with a line wherever a day
 * begins. Plain data, for any way of drawing them.
 */

import { dayOf } from "./days.js";

/** Within this time, ms, what one user says next belongs to what they said before. */
const GROUP_WITHIN_MS = 5 * 60_000;

/**
 * @typedef {import("../protocol.js").ChatMessage} ChatMessage
 * @typedef {import("../pending-messages.js").PendingMessage} PendingMessage
 * @typedef {{ userId: string | undefined, userName: string | undefined }} Me
 * @typedef {{ userId: string, userName: string, content: string, timestamp: number, seq?: number }} ShownMessage
 *
 * @typedef {{ kind: "day", key: string, day: number }} DayLine
 *
 * @typedef {Object} MessageLine
 * @property {"message"} kind
 * @property {string} key
 * @property {ShownMessage} message
 * @property {PendingMessage} [pending] Nothing once it is stored.
 * @property {boolean} isOwn
 * @property {boolean} opensGroup Who speaks is new, or spoke long ago.
 *
 * @typedef {DayLine | MessageLine} Line
 */

/**
 * @param {{ messages: readonly ChatMessage[], pending: readonly PendingMessage[] }} chat
 * @param {Me} me
 * @param {ReadonlyMap<string, string>} clientIdByMessageId Of one's own messages, by `id`: the `clientId` under which they were
 *   pending here. Such a message keeps its line when it becomes stored, so that nothing flickers. What others chose as
 *   `clientId` names no line: they may choose the same one twice.
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
    // Ours, and the newest, whatever this browser's clock says of the server's.
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
    // A server's clock may be set back over midnight, and no day begins twice.
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

/** How many messages stand in a block. */
const BLOCK_SIZE = 50;

/**
 * The lines in blocks that stay as they are when others come in above or below: a message's block is told by its
 * `seq`. A pending one stands where it will most likely be when it is stored, and a day with its first message.
 * Messages of a server that gives no `seq` are all one block.
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
 * Whether two lists of lines look the same.
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
  // What a pending line says is made anew each time, of the same pending message.
  const sameContent = a.pending
    ? a.pending === b.pending && a.message.timestamp === b.message.timestamp
    : a.message === b.message;
  return sameContent && a.pending === b.pending && a.isOwn === b.isOwn && a.opensGroup === b.opensGroup;
}

/** @param {string} clientId */
function keyOfOwn(clientId) {
  return `own ${clientId}`;
}
