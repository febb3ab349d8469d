// @ts-check
/** The users who are typing. No frame says that a user stopped, so each notice expires after a short time. */

/** How long a typing notice is valid, ms. */
const TYPING_TTL_MS = 3_000;

/** How often our own notice is sent, ms: shortly before the last one expires. */
export const TYPING_EVERY_MS = 2_000;

/** @typedef {{ userId: string, userName: string }} TypingUser */

export class TypingUsers {
  /** @type {Map<string, { user: TypingUser, timer: ReturnType<typeof setTimeout> }>} */
  #typing = new Map();
  /** @type {readonly TypingUser[] | undefined} */
  #snapshot;
  #onChange;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#onChange = changed;
  }

  /** The same array until it changes. */
  get users() {
    return (this.#snapshot ??= Object.freeze(Array.from(this.#typing.values(), ({ user }) => user)));
  }

  /** @param {TypingUser} user */
  add({ userId, userName }) {
    const known = this.#typing.get(userId);
    clearTimeout(known?.timer);
    const timer = setTimeout(() => this.remove(userId), TYPING_TTL_MS);
    this.#typing.set(userId, { user: { userId, userName }, timer });
    if (known?.user.userName !== userName) this.#changed();
  }

  /** @param {string} userId */
  remove(userId) {
    clearTimeout(this.#typing.get(userId)?.timer);
    if (this.#typing.delete(userId)) this.#changed();
  }

  clear() {
    for (const userId of [...this.#typing.keys()]) this.remove(userId);
  }

  #changed() {
    this.#snapshot = undefined;
    this.#onChange();
  }
}
