/** The component of the tests of `@dormouse/room`. */
import * as connected from "../../room/src/connected.js";
import * as kit from "../../room/src/index.js";
import { hooksFor } from "../../room/src/serve.js";
import { serveLab } from "./lab.js";

serveLab({ ...kit, ...connected }, hooksFor);
