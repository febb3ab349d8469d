// @ts-check
/**
 * The demo page, from the sign-in form to the room: start reading here.
 *
 * It asks the server how it authenticates users, asks the reader for a name or a token, and then shows one chat room
 * and the users who are present. The client in `/client/` knows the protocol; the other files here each show one thing.
 */

import { Chat, CloseCode, Presence, STATUSES, isRoomName } from "/client/index.js";
import { mutedText } from "/client/view/words.js";
import { resetColours, renderAvatar } from "./avatar.js";
import { Composer } from "./composer.js";
import { ConnectionLight } from "./connection-light.js";
import { byId, make } from "./dom.js";
import { DevIdentity, TokenIdentity } from "./identity.js";
import { recall, remember } from "./memory.js";
import { MessageList } from "./message-list.js";
import { PeoplePanel } from "./people-panel.js";
import { currentRoom, hashOf, noteVisit, recentRooms, roomOfHash } from "./rooms.js";
import { SideDrawer } from "./side-drawer.js";
import { Welcome } from "./welcome.js";
import { ActivityLine } from "./activity-line.js";

/**
 * @typedef {{ basePath: string, auth: "dev" | "jwt" }} Config
 * @typedef {import("/client/index.js").Status} Status
 */

const config = await readConfig();
const identity = config.auth === "dev" ? new DevIdentity() : new TokenIdentity();
const me = () => ({ userId: identity.userId, userName: identity.userName });
const credentials = async () => identity.credentials;

const activity = new ActivityLine();
const drawer = new SideDrawer();
const light = new ConnectionLight(() => {
  chat?.reconnect();
  presence?.reconnect();
});
const composer = new Composer({
  send,
  typing: () => chat?.notifyTyping(),
  tooLong: (count) => announce(`Not sent: ${count} characters too many`),
});
const welcome = new Welcome(identity, (room) => {
  location.hash = hashOf(room);
  enter();
});

/** @type {Chat | undefined} */
let chat;
/** @type {MessageList | undefined} */
let list;
/** @type {Presence | undefined} */
let presence;
/** @type {PeoplePanel | undefined} */
let people;
let unseen = 0;

byId("leave").addEventListener("click", () => {
  leave();
  welcome.show(currentRoom());
});
byId("statuses").addEventListener("change", (event) => {
  const status = STATUSES.find((some) => event.target instanceof HTMLInputElement && some === event.target.value);
  if (status === undefined) return;
  remember(`status.${identity.userId}`, status);
  presence?.setStatus(status);
});
byId("room-form", HTMLFormElement).addEventListener("submit", goToRoom);
byId("room-list").addEventListener("click", (event) => event.target instanceof HTMLAnchorElement && drawer.close());
addEventListener("hashchange", () => byId("app").hidden || roomOfHash() === undefined || openRoom(currentRoom()));
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") unseen = 0;
  showTitle();
});

if (await isKnown()) enter();
else welcome.show(currentRoom());

/** @returns {Promise<Config>} */
async function readConfig() {
  for (;;) {
    try {
      const response = await fetch("/config.json", { cache: "no-store" });
      if (response.ok) return await response.json();
    } catch {
      // The server has just sent this page, so it will probably answer soon.
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}

/** Whether the server lets the reader in without the sign-in form. */
async function isKnown() {
  if (identity instanceof DevIdentity) return Boolean(identity.userName);
  if (identity.token) return true;
  const response = await fetch(`${config.basePath}/presence/list`).catch(() => undefined);
  return response?.ok ?? false;
}

function enter() {
  byId("app").hidden = false;
  showMe();
  const status = /** @type {Status | undefined} */ (recall(`status.${identity.userId}`));
  presence = new Presence({ baseUrl: config.basePath, userId: identity.userId, status, credentials });
  people = new PeoplePanel(presence, () => me().userId);
  presence.open();
  openRoom(currentRoom());
}

/** @param {string} [problem] */
function leave(problem) {
  list?.leave();
  chat?.close();
  presence?.close();
  chat = list = presence = people = undefined;
  byId("app").hidden = true;
  document.title = "Dormouse";
  if (problem) welcome.show(currentRoom(), problem);
}

/** @param {string} roomId */
function openRoom(roomId) {
  if (chat?.roomId === roomId) return;
  list?.leave();
  chat?.close();
  const room = new Chat({ baseUrl: config.basePath, roomId, userId: identity.userId, credentials });
  chat = room;
  resetColours();
  showMe();
  people?.show();
  list = new MessageList(room, me, announce);
  // A room that was left may still emit "closed".
  room.on("state", (event) => {
    if (chat !== room) return;
    light.show(event);
    if (event.state === "closed" && event.close?.code === CloseCode.unauthorized) leave(refusal());
  });
  room.on("stored", ({ message }) => {
    if (identity instanceof DevIdentity || identity.userId === message.userId) return;
    identity.learnUser(message);
    showMe();
    people?.show();
  });
  room.on("permissions", () => chat === room && composer.setRefusal(refusalOf(room)));
  room.on("muted", () => chat === room && composer.setRefusal(refusalOf(room)));
  room.on("typing", () => chat === room && activity.typing(room.typing));
  room.on("joined", ({ userName }) => activity.joinLeave(`${userName} came in`));
  room.on("left", ({ userName }) => activity.joinLeave(`${userName} left`));
  room.on("error", ({ message, clientId }) => announce(clientId ? `Not sent: ${message}` : message));
  room.on("messages", ({ added, from }) => {
    if (from === "history") people?.show(); // the authors of messages have colours now
    if (from === "live" && document.visibilityState === "hidden") unseen += added.length;
    showTitle();
  });
  activity.typing([]);
  activity.joinLeave("");
  noteVisit(roomId);
  showRooms(roomId);
  showTitle();
  byId("room-title").textContent = roomId;
  composer.enter(roomId);
  room.open();
}

/**
 * Why the reader may not write.
 *
 * @param {Chat} room
 */
function refusalOf({ mutedUntil, canWrite }) {
  if (mutedUntil !== undefined) return mutedText(mutedUntil);
  return canWrite ? undefined : "You may read this room, and not write in it.";
}

function refusal() {
  return identity instanceof DevIdentity
    ? "The server did not accept this name."
    : "Your token was not accepted, or has expired. Paste a fresh one.";
}

/** @param {string} text */
function send(text) {
  chat?.send(text).catch((error) => {
    // The list shows the state of an accepted message; any other returns to the text field.
    if (!["too-many", "not-connected", "read-only"].includes(error.code)) return;
    composer.restore(text);
    announce(`Not sent: ${error.message}`);
  });
  list?.follow();
}

/** @param {SubmitEvent} event */
function goToRoom(event) {
  event.preventDefault();
  const field = byId("room-name", HTMLInputElement);
  const room = field.value.trim();
  const isPossible = isRoomName(room);
  byId("room-problem").textContent = isPossible || room === "" ? "" : "A name has 1 to 128 bytes, and no slash.";
  if (!isPossible) return field.focus();
  field.value = "";
  location.hash = hashOf(room);
  drawer.close();
}

/** @param {string} current */
function showRooms(current) {
  const rooms = [...new Set([...recentRooms(), current])].sort((a, b) => a.localeCompare(b));
  byId("room-list").replaceChildren(
    ...rooms.map((room) => {
      const link = make("a", { class: "room-link" }, room);
      link.href = hashOf(room);
      if (room === current) link.setAttribute("aria-current", "page");
      return make("li", {}, link);
    }),
  );
}

function showMe() {
  const { userId = "", userName = "You" } = me();
  renderAvatar(byId("me-avatar"), { userId, userName });
  byId("me-name").textContent = userName;
}

function showTitle() {
  if (chat) document.title = `${unseen > 0 ? `(${unseen}) ` : ""}${chat.roomId} · Dormouse`;
}

/** @param {string} text */
function announce(text) {
  const line = make("p", {}, text);
  byId("announcer").append(line);
  setTimeout(() => line.remove(), 10_000);
}
