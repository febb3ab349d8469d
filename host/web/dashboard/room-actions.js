// @ts-check
/** What an operator does to a room, each after a question. Every function resolves to whether it was done. */

import { download, send } from "./api.js";
import { ask, notice } from "./dialog.js";
import { h, name, to, visible } from "./dom.js";
import { check, counted, field, select, textInput } from "./forms.js";
import { addressOf, roomPath } from "./rooms-api.js";
import { reason } from "./wakefulness.js";

/** @typedef {import("./rooms-api.js").Place} Place */

/** The longest name that one is asked to type, in characters. For others it is the incarnation of the room. */
const TYPED_CHARACTERS = 64;
/** The longest reason of a close frame, in bytes: RFC 6455. */
const REASON_BYTES = 123;
/** The longest file name that is offered for an export, without its ending. */
const FILE_CHARACTERS = 80;

/** A room in the text of a question. @param {Place} room */
function shown(room) {
  return h("strong", {}, name(addressOf(room)));
}

/** @param {Place} room */
export function closeSockets(room) {
  const why = textInput({ name: "reason", maxlength: REASON_BYTES });
  return ask({
    title: "Close all sockets of this room?",
    consequence: h("p", {}, "The clients of ", shown(room), " are disconnected with 4410. They may come back."),
    action: "Close the sockets",
    danger: true,
    fields: [field("close-reason", "Reason for the clients", why, `At most ${REASON_BYTES} bytes; may be empty.`)],
    does: async (data) => {
      const given = String(data.get("reason") ?? "").trim();
      const { closed } = await send("POST", roomPath(room, "/close"), given ? { reason: given } : undefined);
      notice(`${counted(closed, "socket")} closed.`);
    },
  });
}

/** @param {Place} room */
export function broadcast(room) {
  const text = h("textarea", { name: "text", rows: 4, required: true });
  return ask({
    title: "Send a text to all clients?",
    consequence: h(
      "p",
      {},
      "All clients of ",
      shown(room),
      " get the text. The code of the room does not see it, so its clients must understand it: those of a chat room expect JSON.",
    ),
    action: "Send",
    fields: [field("broadcast-text", "Text", text, "At most about 8 KB.")],
    does: async (data) => {
      const { sockets } = await send("POST", roomPath(room, "/broadcast"), { text: String(data.get("text") ?? "") });
      notice(`Sent to ${counted(sockets, "socket")}.`);
    },
  });
}

/** @param {Place} room */
export function putToSleep(room) {
  return ask({
    title: "Put this room to sleep?",
    consequence: h(
      "p",
      {},
      "The instance of ",
      shown(room),
      " is dropped as soon as its turn is over. Its sockets stay open, and the next event wakes it.",
    ),
    action: "Put to sleep",
    does: async () => {
      const { asleep, wasAwake, awakeBecause } = await send("POST", roomPath(room, "/sleep"));
      const because = awakeBecause.map((/** @type {any} */ one) => reason(one, Date.now())).join("; ");
      const rest = because ? ` ${because}.` : "";
      if (!asleep) notice(`It does not sleep yet:${rest}`);
      else notice(`${wasAwake ? "It sleeps." : "It slept already."}${rest && ` It will wake soon:${rest}`}`);
    },
  });
}

/**
 * @param {Place} room
 * @param {{ sockets: number, incarnation: string }} details
 */
export function deleteRoom(room, { sockets, incarnation }) {
  const address = addressOf(room);
  const isPlain =
    visible(address) === address && [...address].length <= TYPED_CHARACTERS && !/^ | $| {2}/.test(address);
  const force = h("input", { name: "force" });
  return ask({
    title: "Delete this room?",
    consequence: [
      h(
        "p",
        {},
        "The storage, timers and posts of ",
        shown(room),
        " are removed for good. The next event for this name makes a new, empty room.",
      ),
      isPlain ? null : h("p", {}, "Its name is hard to type, so its incarnation is asked for."),
    ],
    action: "Delete for good",
    danger: true,
    typed: isPlain ? address : incarnation,
    fields: [
      check(`Force: close its sockets first (${counted(sockets, "socket")} now)`, force),
      h(
        "p",
        { class: "hint" },
        "Without force, a room with sockets is not deleted. With it, the clients are disconnected with 4410. They may come back, and then find the new, empty room.",
      ),
    ],
    does: async (data) => {
      const query = data.get("force") === null ? {} : { force: true };
      const { closed } = await send("DELETE", roomPath(room), undefined, query);
      notice(`The room is deleted${closed > 0 ? `; ${counted(closed, "socket")} closed` : ""}.`);
    },
  });
}

/** @param {Place} room */
export function exportRoom(room) {
  return ask({
    title: "Export this room?",
    consequence: h(
      "p",
      {},
      "You get a file with all that is stored of ",
      shown(room),
      ": its storage, timers and posts. The audit log names you.",
    ),
    action: "Export",
    does: async () => {
      await download(roomPath(room, "/export"), {}, `${fileName(room)}.jsonl`);
      notice("The export is in your downloads.");
    },
  });
}

/**
 * @param {{ namespaces: string[] } | { room: Place }} where
 */
export function importRoom(where) {
  const fixed = "room" in where ? where.room : undefined;
  const namespaces = "room" in where ? [where.room.namespace] : where.namespaces;
  const file = h("input", { type: "file", name: "file", accept: ".jsonl" });
  const namespace = select(
    namespaces.map((of) => [of, of]),
    fixed?.namespace,
    "namespace",
  );
  const named = textInput({ name: "name" });
  const fields = [field("import-file", "File of an export", file)];
  if (!fixed) {
    fields.unshift(
      field("import-namespace", "Namespace", namespace),
      field("import-name", "Name of the new room", named),
    );
  }
  return ask({
    title: "Import a room?",
    consequence: h(
      "p",
      {},
      ...(fixed ? ["The file becomes the room ", shown(fixed), ". "] : []),
      "The room must not exist. Its posts are sent and its timers fire here too.",
    ),
    action: "Import",
    fields,
    does: async (data) => {
      const room = fixed ?? { namespace: String(data.get("namespace")), name: String(data.get("name")) };
      const chosen = data.get("file");
      if (room.name === "") throw new Error("Give the room a name.");
      if (!(chosen instanceof File) || chosen.size === 0) throw new Error("Choose the file of an export.");
      const { entries, timers, posts } = await send("POST", roomPath(room, "/import"), chosen);
      const [kept, due, waiting] = [counted(entries, "entry"), counted(timers, "timer"), counted(posts, "post")];
      notice(`Imported: ${kept}, ${due}, ${waiting}.`);
      location.hash = to(["rooms", room.namespace, room.name]);
    },
  });
}

/** A name that every file system takes. @param {Place} room */
function fileName(room) {
  return addressOf(room)
    .replace(/[^\p{L}\p{N}_-]+/gu, "-")
    .slice(0, FILE_CHARACTERS);
}
