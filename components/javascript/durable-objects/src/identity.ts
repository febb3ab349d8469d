/**
 * `identity`: for classes whose Worker writes the user into the query of the URL. With Dormouse's own router the host has
 * verified the user, and the query gets that one: what a client wrote there is replaced.
 */
import type { Request } from "dormouse:host";

/** The query parameters, and which field of the user each of them gets. */
export interface Identity {
  query: Record<string, "id" | "name">;
}

/** The query of a request with the user in it. */
export const queryWithUser = (
  { query, user, headers }: Request,
  identity: Identity | undefined,
): string | undefined => {
  if (!identity) return query;
  // Another object wrote the URL itself.
  if (user === undefined && headers.some(([name]) => name === "dormouse-caller")) return query;
  const names = Object.keys(identity.query);
  const pairs = [...new URLSearchParams(query ?? "")].filter(([name]) => !names.includes(name));
  const own = user === undefined ? [] : names.map((name) => [name, user[identity.query[name] as "id" | "name"]]);
  const text = [...pairs, ...own].map((pair) => pair.map((part) => encodeURIComponent(part as string)).join("="));
  return text.length === 0 ? undefined : text.join("&");
};
