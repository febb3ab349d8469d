/**
 * `DurableObjectId`: a name in hexadecimal digits. It has 64 digits for names of up to 31 bytes, as on Cloudflare, and
 * more for longer names. It is made for `toString` and `idFromString`, and it is not secret.
 */
import * as host from "dormouse:host";

/** The bytes of an id of 64 digits. */
const SHORT_BYTES = 32;

/** Names that `newUniqueId` makes. */
const UNIQUE = /^~[0-9a-f]{30}$/;

export class DurableObjectId {
  /** The name of the room. */
  readonly #room: string;
  /** Absent if the id came from `newUniqueId`. */
  readonly name?: string;

  constructor(room: string) {
    this.#room = room;
    if (!UNIQUE.test(room)) this.name = room;
  }

  static room(id: DurableObjectId): string {
    return id.#room;
  }

  static unique(): DurableObjectId {
    return new DurableObjectId(`~${hex(crypto.getRandomValues(new Uint8Array(15)))}`);
  }

  static parse(text: string): DurableObjectId {
    const digits = String(text);
    const bytes = /^(?:[0-9a-f]{2})+$/.test(digits) ? unhex(digits) : new Uint8Array();
    const room = host.text(bytes.subarray(1, bytes.length > SHORT_BYTES ? undefined : 1 + (bytes[0] ?? 0)));
    const id = new DurableObjectId(room);
    if (bytes.length < SHORT_BYTES || id.toString() !== digits) {
      throw new TypeError("Invalid Durable Object ID: it must be what the toString() of an id returned");
    }
    return id;
  }

  /** The length of the name, the name, and zeros. */
  toString(): string {
    const name = host.utf8(this.#room);
    const bytes = new Uint8Array(Math.max(SHORT_BYTES, 1 + name.length));
    bytes[0] = Math.min(name.length, 0xff);
    bytes.set(name, 1);
    return hex(bytes);
  }

  equals(other: DurableObjectId): boolean {
    return this.#room === other.#room;
  }

  get [Symbol.toStringTag](): string {
    return "DurableObjectId";
  }
}

const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const unhex = (digits: string): Uint8Array =>
  Uint8Array.from({ length: digits.length / 2 }, (_, at) => Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16));
