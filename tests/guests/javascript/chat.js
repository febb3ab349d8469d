// A test room in JavaScript: a chat that speaks as much of the protocol of the shipped one as the tests of lost messages
// need.
import * as host from "dormouse:host";

const key = (seq) => `message:${String(seq).padStart(12, "0")}`;
const json = (value) => ({ status: 200, headers: [["content-type", "application/json"]], body: JSON.stringify(value) });

export default class {
  // A cache: what is stored is true.
  last = host.getValue("last") ?? 0;

  connect() {}

  message(sender, text) {
    const { content } = JSON.parse(text);
    const message = { seq: this.last + 1, content, userId: host.user(sender).id };
    this.last = message.seq;
    host.putValues([["last", this.last], [key(this.last), message]]);
    host.broadcast(JSON.stringify({ type: "message", message }));
  }

  request({ query = "" }) {
    const after = Number(new URLSearchParams(query).get("after") ?? 0);
    const entries = host.listValues({ start: key(after + 1), end: key(999_999_999_999), limit: 500 });
    const messages = entries.map(([, message]) => message);
    return json({ messages, hasMore: messages.length > 0 && messages.at(-1).seq < this.last });
  }
}
