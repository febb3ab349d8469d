// @ts-check
/** PROTOCOL.md agrees with this client. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CloseCode } from "../../src/close-codes.js";
import { readChatFrame, readMessagesPage, readPresenceFrame } from "../../src/protocol.js";

const read = (/** @type {string} */ path) => readFileSync(new URL(path, import.meta.url), "utf8");
const DOCUMENT = read("../../PROTOCOL.md");

test("every type of the protocol is in it", () => {
  const types = Array.from(read("../../src/protocol.js").matchAll(/\btype: "(\w+)"/g), ([, type = ""]) => type);
  expect(types.length).toBeGreaterThan(10);
  for (const type of types) expect(DOCUMENT).toMatch(new RegExp(`\`${type}\`|"type":"${type}"`));
});

test("every close code that a server sends is in it", () => {
  const neverSent = [1006];
  for (const code of Object.values(CloseCode).filter((code) => !neverSent.includes(code))) {
    expect(DOCUMENT).toMatch(new RegExp(`^\\|.*\\b${code}\\b`, "m"));
  }
});

test("every example is one that the client understands", () => {
  const blocks = Array.from(DOCUMENT.matchAll(/^```json\n([^]*?)^```/gm), ([, block = ""]) => block.trim().split("\n"));
  const isFrame = (/** @type {string} */ line) => "type" in JSON.parse(line);
  const [frames, messages] = [blocks.flat().filter(isFrame), blocks.flat().filter((line) => !isFrame(line))];
  expect(messages).toHaveLength(1);
  expect(readMessagesPage({ messages: messages.map((line) => JSON.parse(line)) }).messages).toHaveLength(1);
  expect(frames.length).toBeGreaterThan(8);
  for (const frame of frames)
    expect(readChatFrame(frame) ?? readPresenceFrame(frame), frame).toEqual(JSON.parse(frame));
});
