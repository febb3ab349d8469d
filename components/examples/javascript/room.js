// An auction. Each bid sets a timer to ten seconds; when it fires, the highest bid wins.
// `POST {"thing":"a lamp"}` starts it, and a client sends a number as its bid.
import { set } from "dormouse:room/timers@0.1.6";

import { body, broadcast, read, response, send, write } from "./kit.js";

const BID_TIMEOUT_MS = 10_000n;

// Read from storage each time: variables are lost when the room hibernates.
const auction = () => read("auction") ?? { thing: null, bid: 0, bidder: null, sold: false };

const change = (auction) => {
  write("auction", auction);
  broadcast(auction); // sent only after the write is on disk
  return auction;
};

export const room = {
  wake() {},

  onConnect(_request, socket) {
    send(socket, auction());
  },

  onMessage(sender, message) {
    const now = auction();
    const bid = message.tag === "text" ? Number(message.val) : NaN;
    if (!now.thing || now.sold || !(bid > now.bid)) {
      send(sender, { type: "error", code: "no_bid", message: `bid more than ${now.bid} before the auction ends` });
      return;
    }
    change({ ...now, bid, bidder: sender.user().name });
    set("end", { tag: "after", val: BID_TIMEOUT_MS }, new Uint8Array());
  },

  onClose() {},

  onTimer(_timer) {
    change({ ...auction(), sold: true });
  },

  onRequest(request) {
    if (request.method !== "POST") return response(200, auction());
    const thing = body(request)?.thing;
    if (typeof thing !== "string" || auction().thing) return response(400, "send the thing to sell, once");
    return response(200, change({ ...auction(), thing }));
  },
};
