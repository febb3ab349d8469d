// @ts-check
/**
 * What a page can know about the way to the server before a timer would notice. Where there is no page (a worker,
 * Node), there are no signals.
 */

/**
 * `back`: the network or the reader has returned. `doubt`: the network is said to be gone. It is a doubt and no fact,
 * because a server on this very machine stays reachable.
 *
 * @param {{ back: () => void, doubt: () => void }} heard
 * @returns {() => void} Stops watching.
 */
export function watchPage({ back, doubt }) {
  const watching = new AbortController();
  const { signal } = watching;
  if (typeof addEventListener === "function") {
    addEventListener("online", back, { signal });
    addEventListener("offline", doubt, { signal });
    addEventListener("pageshow", (event) => event.persisted && back(), { signal });
  }
  if (typeof document === "object") {
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && back(), { signal });
  }
  return () => watching.abort();
}
