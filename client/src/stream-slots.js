// @ts-check
/**
 * Limits how many event streams a browser keeps open to one server. Over HTTP/1.1 it opens six connections to a server,
 * for all its tabs together, and each stream occupies one. Two must stay free: one for a request, and one for the first
 * message of a tab that joins a shared stream. So four may be streams. HTTP/2 has no such limit.
 */

export const MAX_STREAMS = 4;

/** @typedef {Pick<LockManager, "request">} Locks */

/** Streams per origin. Without locks a page can only count its own. @type {Map<string, number>} */
const counted = new Map();

/** Locks that the browser has but refuses to this page, such as to a sandboxed frame. @type {WeakSet<Locks>} */
const refused = new WeakSet();

/** @returns {Locks | undefined} Web Locks: browsers give them only to secure pages. */
export function webLocks() {
  const locks = globalThis.navigator?.locks;
  return locks && !refused.has(locks) ? locks : undefined;
}

/** A request for a lock failed, for example with `SecurityError`: locks are not used from now on. */
export function locksAreRefused() {
  const locks = globalThis.navigator?.locks;
  if (locks) refused.add(locks);
}

/**
 * @param {string} origin Of the server.
 * @returns {Promise<(() => void) | undefined>} Releases the slot. `undefined` if all are taken.
 */
export async function takeSlot(origin) {
  if (isMultiplexed(origin)) return () => {};
  const locks = webLocks();
  if (!locks) return count(origin);
  try {
    for (let slot = 0; slot < MAX_STREAMS; slot += 1) {
      const release = await tryLock(locks, `dormouse stream ${slot} ${origin}`);
      if (release) return release;
    }
    return undefined;
  } catch {
    locksAreRefused();
    return count(origin);
  }
}

/**
 * @param {Locks} locks
 * @param {string} name
 * @returns {Promise<(() => void) | undefined>}
 */
function tryLock(locks, name) {
  return new Promise((resolve, reject) => {
    const held = locks.request(name, { ifAvailable: true }, (lock) => {
      if (!lock) return resolve(undefined);
      return new Promise((release) => resolve(() => release(undefined)));
    });
    held.catch(reject);
  });
}

/** @param {string} origin */
function count(origin) {
  // Outside a page the number of connections has no limit.
  if (typeof document !== "object") return () => {};
  const open = counted.get(origin) ?? 0;
  if (open >= MAX_STREAMS) return undefined;
  counted.set(origin, open + 1);
  let isHeld = true;
  return () => {
    if (isHeld) counted.set(origin, (counted.get(origin) ?? 1) - 1);
    isHeld = false;
  };
}

/**
 * Whether the browser uses HTTP/2 or HTTP/3 to a server, if it reveals it.
 *
 * @param {string} origin
 */
function isMultiplexed(origin) {
  if (typeof performance?.getEntriesByType !== "function") return false;
  const entries = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
  const last = entries.findLast(({ name }) => name.startsWith(`${origin}/`));
  return /^h[23]/.test(/** @type {{ nextHopProtocol?: string } | undefined} */ (last)?.nextHopProtocol ?? "");
}
