/**
 * Maps and sets in the memory of an object, which a sleeping room loses.
 *
 * On Cloudflare too, but there an object rarely sleeps while it is tried out. So the room says once which field will be
 * empty. With `remember` the named fields are stored at the end of each turn that changed them, and filled again before
 * the first event of the next instance.
 */
import * as host from "dormouse:host";

import * as connected from "./sockets/connected.js";
import { state, WebSocket } from "./sockets/web-socket.js";
import { internalKey } from "./storage/keys.js";

/** An entry of a field: sockets are kept by their ids. */
type Kept = { socket: string } | { value: unknown };

interface Snapshot {
  /** The ids of the sockets that were connected. A restart of the host ends all sockets without a `webSocketClose`. */
  sockets: string[];
  /** A set has keys only. */
  entries: [Kept, Kept?][];
}

type Fields = Record<string, unknown>;

/** The stored bytes of each field, as text, to see whether it changed. */
const stored = new Map<string, string>();

let hasWarned = false;

const keyOf = (field: string): Uint8Array => internalKey(`remember:${field}`);

/** Stores the fields that have changed. */
export const remember = (object: object, fields: readonly string[]): void => {
  for (const field of fields) {
    const value = (object as Fields)[field];
    if (!(value instanceof Map) && !(value instanceof Set)) continue;
    const bytes = encode(field, value);
    if (bytes === undefined) continue;
    const text = host.text(bytes);
    if (stored.get(field) === text) continue;
    const problem = host.put(keyOf(field), bytes);
    if (problem !== null) throw new RangeError(`remember: the field ${field} cannot be stored: ${problem}`);
    stored.set(field, text);
  }
};

/** Fills the fields of a new object. */
export const recall = (object: object, fields: readonly string[]): void => {
  for (const field of fields) {
    const bytes = host.get(keyOf(field));
    const value = (object as Fields)[field];
    if (bytes === undefined || (!(value instanceof Map) && !(value instanceof Set))) continue;
    const record = host.decode(bytes) as Snapshot;
    // With all of its sockets gone the host has restarted. What the field says about clients is then untrue.
    const isStale = record.sockets.length > 0 && !record.sockets.some((id) => connected.connected(id));
    if (isStale) continue;
    stored.set(field, host.text(bytes));
    for (const [key, entry] of record.entries) fill(value, key, entry);
  }
};

/** After a connect: warns if a field holds data by WebSocket that the next sleep ends. */
export const warnOfLoss = (object: object, socket: WebSocket, remembered: readonly string[]): void => {
  if (hasWarned || host.attachment(socket[state].id as string).length > 0) return;
  for (const [field, value] of Object.entries(object)) {
    const isLost = (value instanceof Map || value instanceof Set) && value.has(socket) && !remembered.includes(field);
    if (!isLost) continue;
    hasWarned = true;
    console.warn(
      `${object.constructor.name || "object"}.${field} holds data by WebSocket; it is empty when the room wakes from hibernation. ` +
        `Keep it with ws.serializeAttachment(), or build with remember: ["${field}"]`,
    );
  }
};

const encode = (field: string, value: Map<unknown, unknown> | Set<unknown>): Uint8Array | undefined => {
  const entries: Snapshot["entries"] =
    value instanceof Map
      ? [...value].map(([key, entry]) => [keep(key), keep(entry)])
      : [...value].map((key) => [keep(key)]);
  try {
    return host.encode({ sockets: connected.ids(), entries } satisfies Snapshot);
  } catch (error) {
    console.error(`remember: the field ${field} has a value that cannot be stored:`, error);
    return undefined;
  }
};

const keep = (value: unknown): Kept => (value instanceof WebSocket ? { socket: value[state].id ?? "" } : { value });

const fill = (field: Map<unknown, unknown> | Set<unknown>, key: Kept, entry?: Kept): void => {
  const made = [key, entry ?? { value: undefined }].map((kept) =>
    "socket" in kept ? connected.connected(kept.socket) : kept.value,
  );
  if ("socket" in key && made[0] === undefined) return; // its client has left
  if (entry && "socket" in entry && made[1] === undefined) return;
  if (field instanceof Map) field.set(made[0], made[1]);
  else field.add(made[0]);
};
