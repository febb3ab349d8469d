// @ts-check
/**
 * Signals of a page that the connection may be lost or possible again, before a timer would notice. Without a page (a
 * worker, Node) there are none.
 */

/**
 * `back`: the network or the reader has returned. `doubt`: the browser says that it is offline. That is not certain: a
 * server on the same machine stays reachable.
 *
 * @param {{ back: () => void, doubt: () => void }} signals
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
