/** The component of the tests of `@dormouse/durable-objects`. */
import "../../durable-objects/src/globals.js";

import * as host from "dormouse:host";

import { hooksFor } from "../../durable-objects/src/object.js";
import { UnsupportedError } from "../../durable-objects/src/unsupported.js";
import * as workers from "../../durable-objects/src/workers.js";
import { decode } from "../clone/decode.js";
import { encode } from "../clone/encode.js";
import { Random, valueOf } from "../tests/random-values.js";
import { serveLab } from "./lab.js";

// The codec of the engine, and the reference that it is compared with.
const codec = { decode: host.decode, encode: host.encode };
const reference = { decode, encode };

serveLab({ ...workers, UnsupportedError, codec, reference, Random, valueOf }, hooksFor);
