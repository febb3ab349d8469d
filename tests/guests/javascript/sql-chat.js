// A test room in JavaScript: the same chat as in `chat.js`, with its messages in SQL.
import * as host from "dormouse:host";

const sql = (query, ...bindings) => host.sqlObjects(host.sqlExec(query, bindings));
const json = (value) => ({ status: 200, headers: [["content-type", "application/json"]], body: JSON.stringify(value) });

export default class {
  constructor() {
    sql(`CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, content TEXT NOT NULL, userId TEXT NOT NULL);
         CREATE INDEX IF NOT EXISTS of_user ON messages (userId, seq);`);
  }

  connect() {}

  message(sender, text) {
    const { content, endless } = JSON.parse(text);
    if (endless) sql("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c");
    const userId = host.user(sender).id;
    const insert = "INSERT INTO messages (content, userId) VALUES (?, ?) RETURNING seq, content, userId";
    const [message] = sql(insert, content, userId);
    host.broadcast(JSON.stringify({ type: "message", message }));
  }

  request({ path, query = "" }) {
    if (path === "/check") return json(sql("PRAGMA quick_check"));
    if (path === "/size") return json(host.sqlSize());
    const after = Number(new URLSearchParams(query).get("after") ?? 0);
    const messages = sql("SELECT seq, content, userId FROM messages WHERE seq > ? ORDER BY seq LIMIT 501", after);
    return json({ messages: messages.slice(0, 500), hasMore: messages.length > 500 });
  }
}
