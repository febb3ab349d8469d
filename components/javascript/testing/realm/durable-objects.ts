/** The bundle of the tests: the package with the globals of the engine. A test adds its class, and calls `serve`. */
import "./environment.js";

import { serve, serveWorker, UnsupportedError } from "../../durable-objects/src/index.js";
import * as workers from "../../durable-objects/src/workers.js";
import { assert, isDeepEqual } from "./assert.js";

Object.assign(globalThis, { ...workers, serve, serveWorker, UnsupportedError, assert, isDeepEqual });
