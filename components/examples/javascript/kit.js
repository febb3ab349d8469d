// Helpers for a room in JavaScript: JSON in storage, in messages and over HTTP.
import { broadcast as broadcastMessage } from "dormouse:room/sockets@0.1.6";
import { get, put } from "dormouse:room/storage@0.1.6";

const encode = (value) => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
const message = (value) => ({ tag: "text", val: JSON.stringify(value) });
const key = (name) => new TextEncoder().encode(name);

/** The value of a key, if there is one. */
export const read = (name) => {
  const value = get(key(name));
  return value && decode(value);
};

/** Sets the value of a key. */
export const write = (name, value) => put(key(name), encode(value));

/** Sends a message to one client. */
export const send = (socket, value) => socket.send(message(value));

/** Sends a message to all clients. */
export const broadcast = (value) => broadcastMessage(message(value), { except: { tag: "nobody" } });

/** The body of a request, if it is JSON. */
export const body = (request) => {
  try {
    return decode(request.body);
  } catch {
    return undefined;
  }
};

/** HTTP's phrases for the statuses that rooms answer with. */
const TITLES = { 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict" };

/** An HTTP response: with a value, or, if the status is 400 or higher, with an error text. */
export const response = (status, value) => ({
  status,
  headers: [["content-type", status < 400 ? "application/json" : "application/problem+json"]],
  body: encode(status < 400 ? value : { type: "about:blank", title: TITLES[status] ?? "Error", status, detail: value }),
});
