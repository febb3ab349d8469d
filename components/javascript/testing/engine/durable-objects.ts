/** The component of the tests of `@dormouse/durable-objects`. */
import "../../durable-objects/src/globals.js";

import { hooksFor } from "../../durable-objects/src/object.js";
import { UnsupportedError } from "../../durable-objects/src/unsupported.js";
import * as workers from "../../durable-objects/src/workers.js";
import { serveLab } from "./lab.js";

serveLab({ ...workers, UnsupportedError }, hooksFor);
