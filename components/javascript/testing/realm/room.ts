/** The bundle of the tests of `@dormouse/room`: the library with the globals of the engine. */
import "./environment.js";

import * as kit from "../../room/src/index.js";
import { serve } from "../../room/src/serve.js";
import { assert, isDeepEqual } from "./assert.js";

Object.assign(globalThis, kit, { serve, assert, isDeepEqual });
