/**
 * Messages that were sent before: the same key of the same user within ten minutes is stored once. A key of a record begins
 * with the ten minutes in which it was made, so that old records are the first ones.
 */

import { type ChatMessage } from "./history.js";
import type { User } from "./user.js";

const PREFIX = "retry:";
const WINDOW_MS = 10 * 60 * 1000;
const REMOVED_AT_ONCE = 128;

const periodOf = (time: number): number => Math.floor(time / WINDOW_MS);

const startOf = (period: number): string =>
  `${PREFIX}${String(period).padStart(10, "0")}:`;

/** The length of the id keeps `ab` + `c` and `a` + `bc` apart. */
const keyOf = (period: number, user: User, key: string): string =>
  `${startOf(period)}${user.id.length}:${user.id}${key}`;

export class Retries {
  readonly #storage: DurableObjectStorage;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
  }

  /** The message that the user sent before with one of these keys. */
  async find(user: User, keys: string[]): Promise<ChatMessage | undefined> {
    const now = Date.now();
    for (const key of keys) {
      for (const period of [periodOf(now), periodOf(now) - 1]) {
        const message = await this.#storage.get<ChatMessage>(
          keyOf(period, user, key),
        );
        if (message && now - message.timestamp < WINDOW_MS) return message;
      }
    }
    return undefined;
  }

  /** Notes the keys of a message. The alarm will remove them. */
  async record(
    user: User,
    keys: string[],
    message: ChatMessage,
  ): Promise<void> {
    if (keys.length === 0) return;
    for (const key of keys)
      await this.#storage.put(
        keyOf(periodOf(message.timestamp), user, key),
        message,
      );
    if ((await this.#storage.getAlarm()) === null)
      await this.#storage.setAlarm(Date.now() + 2 * WINDOW_MS);
  }

  /** Removes old records, and sets the alarm again if others are left. */
  async removeOld(): Promise<void> {
    const end = startOf(periodOf(Date.now()) - 1);
    const old = await this.#storage.list({
      prefix: PREFIX,
      end,
      limit: REMOVED_AT_ONCE,
    });
    await this.#storage.delete([...old.keys()]);
    const left = await this.#storage.list({ prefix: PREFIX, limit: 1 });
    if (left.size > 0)
      await this.#storage.setAlarm(
        Date.now() + (old.size === REMOVED_AT_ONCE ? 1 : WINDOW_MS),
      );
  }
}
