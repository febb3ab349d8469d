// @ts-check
/**
 * How many event streams a browser keeps open to one server. Over HTTP/1.1 it opens six connections to a server, for
 * all its tabs together, and each stream keeps one of them. Two must stay free: one for a request, and one for the
 * first message of a tab that joins a shared stream. So four may be streams. Over HTTP/2 there is no such bound.
 */

export const MAX_STREAMS = 4;

/** @typedef {Pick<LockManager, "request">} Locks */

/** Where there are no locks, a page can count its own streams alone. By origin. @type {Map<string, number>} */
const counted = new Map();

/** Locks that the browser has, and does not give to this page: to a sandboxed frame, for one. @type {WeakSet<Locks>} */
const refused = new WeakSet();

/** @returns {Locks | undefined} Web Locks, which browsers give to secure pages alone. */
export function webLocks() {
  const locks = globalThis.navigator?.locks;
  return locks && !refused.has(locks) ? locks : undefined;
}

/** A request for a lock failed with `SecurityError` or the like: do without from now on. */
export function locksAreRefused() {
  const locks = globalThis.navigator?.locks;
  if (locks) refused.add(locks);
}

/**
 * @param {string} origin Of the server.
 * @returns {Promise<(() => void) | undefined>} Gives the place back. Nothing, where all are taken.
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
  // Outside a page nothing bounds the connections.
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
 * Whether the browser speaks HTTP/2 or HTTP/3 to a server, as far as it tells.
 *
 * @param {string} origin
 */
function isMultiplexed(origin) {
  if (typeof performance?.getEntriesByType !== "function") return false;
  const entries = ["navigation", "resource"].flatMap((type) => performance.getEntriesByType(type));
  const last = entries.findLast(({ name }) => name.startsWith(`${origin}/`));
  return /^h[23]/.test(/** @type {{ nextHopProtocol?: string } | undefined} */ (last)?.nextHopProtocol ?? "");
}
