/** A Worker of Hono as people write them, with middleware, in the realm of a test. */
import "./environment.js";

import { serveWorker } from "../../durable-objects/src/index.js";

import app from "./hono-app.js";

serveWorker(app as never, { namespaces: { CHAT_ROOM: "CHAT_ROOM" } });
