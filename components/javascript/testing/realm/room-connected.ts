/** The bundle of the tests of `@dormouse/room/connected`. */
import "./room.js";

import * as connected from "../../room/src/connected.js";

Object.assign(globalThis, connected);
