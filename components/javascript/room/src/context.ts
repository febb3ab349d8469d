/** Where and when the room runs. The clock stands still during a turn. */
import * as host from "dormouse:host";

export const context = {
  /** The room's name. */
  name: (): string => host.name(),
  /** The namespace's name, such as `ROOMS`. */
  namespace: (): string => host.namespace(),
  /** The time of this turn: Unix time in milliseconds. */
  now: (): number => host.now(),
  /** A value from the operator's configuration of this namespace. */
  config: (key: string): string | undefined => host.config(key),
  /** Names this history of the room's storage: numbers that the room stores are comparable only within one. */
  incarnation: (): string => BigInt(host.incarnation()).toString(16).padStart(16, "0"),
  /** The event that woke this instance. */
  wokenBy: (): "connect" | "message" | "close" | "timer" | "request" => host.wokenBy(),
  /** The longest message, in bytes, that every socket can be sent. */
  maxMessageBytes: (): number => host.maxMessageBytes(),
};

/** The claims and permissions of the user whom this turn is about; in `request`, the one who asks. */
export const access = {
  claims: (): Record<string, unknown> => JSON.parse(host.claims()),
  may: (permission: host.Permission): boolean => host.permissions().includes(permission),
};
