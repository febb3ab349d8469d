/** Sets the globals of Workers that the engine lacks. Imported before the code of the author. */
import { WebSocket, WebSocketPair, WebSocketRequestResponsePair } from "./sockets/web-socket.js";
import { clearTimeout, scheduler, setInterval, setTimeout } from "./timers.js";
import { unsupported } from "./unsupported.js";
import { Headers } from "./web/headers.js";
import { Request } from "./web/request.js";
import { Response } from "./web/response.js";

/** A class or a function that fails when it is used. */
const absent = (name: string, instead: string) =>
  function () {
    unsupported(name, instead);
  };

const NO_SERVERS = "rooms in JavaScript cannot reach servers yet; call a room in another language that can";

Object.assign(globalThis, {
  Headers,
  Request,
  Response,
  WebSocket,
  WebSocketPair,
  WebSocketRequestResponsePair,
  setTimeout,
  setInterval,
  clearTimeout,
  clearInterval: clearTimeout,
  scheduler,
  fetch: async () => unsupported("fetch()", NO_SERVERS),
  EventSource: absent("EventSource", NO_SERVERS),
  HTMLRewriter: absent("HTMLRewriter", "rewrite the text"),
  navigator: { userAgent: "Cloudflare-Workers" },
});

Object.defineProperty(globalThis, "caches", {
  configurable: true,
  get: () => unsupported("caches", "keep it in ctx.storage"),
});
