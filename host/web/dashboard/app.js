// @ts-check
/** The frame of the dashboard: signing in, the list of pages, and which one is shown. */

import { ApiError, session, signIn, signOut, whenSignedOut } from "./api.js";
import { notice } from "./dialog.js";
import { byId, fill, h, to } from "./dom.js";
import { banner } from "./poll.js";

/**
 * @typedef {object} Page
 * @property {(view: HTMLElement, parameters: Record<string, string>, signal: AbortSignal) => Promise<void>} show
 *   Fills the view, the heading first, before it waits for anything. `parameters` has the segments of the address and
 *   its query, by their names. The signal is aborted when the operator leaves the page: requests and timers end with
 *   it. An error is shown above the page.
 */

/**
 * The pages by their addresses. A segment that begins with `:` is a parameter.
 *
 * @type {{ path: string, title: string, inMenu?: boolean, load: () => Promise<Page> }[]}
 */
const PAGES = [
  { path: "", title: "Overview", inMenu: true, load: () => import("./pages/overview.js") },
  { path: "rooms", title: "Rooms", inMenu: true, load: () => import("./pages/rooms.js") },
  { path: "rooms/:namespace/:name", title: "Room", load: () => import("./pages/room.js") },
  { path: "users", title: "Users", inMenu: true, load: () => import("./pages/users.js") },
  { path: "users/:user", title: "User", load: () => import("./pages/user.js") },
  { path: "deploys", title: "Deploys", inMenu: true, load: () => import("./pages/deploys.js") },
  { path: "usage", title: "Usage", inMenu: true, load: () => import("./pages/usage.js") },
  { path: "revocations", title: "Revocations", inMenu: true, load: () => import("./pages/revocations.js") },
  { path: "audit", title: "Audit log", inMenu: true, load: () => import("./pages/audit.js") },
];

let leaving = new AbortController();
/** Whether the server asks for a token. */
let needsToken = true;

/**
 * @param {string} hash
 * @returns {{ page: (typeof PAGES)[number], parameters: Record<string, string> } | undefined}
 */
function find(hash) {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const given = path.split("/");
  for (const page of PAGES) {
    const expected = page.path.split("/");
    if (expected.length !== given.length) continue;
    /** @type {Record<string, string>} */
    const parameters = Object.fromEntries(new URLSearchParams(query));
    const matches = expected.every((segment, at) => {
      if (!segment.startsWith(":")) return segment === given[at];
      try {
        parameters[segment.slice(1)] = decodeURIComponent(given[at] ?? "");
      } catch {
        return false;
      }
      return true;
    });
    if (matches) return { page, parameters };
  }
  return undefined;
}

/**
 * Shows the page of the present address.
 *
 * @param {boolean} [focus] Moves the focus to the title, as after a click on a link.
 */
async function show(focus = false) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  banner();
  const found = find(location.hash);
  const view = h("div", { class: "view", id: "view" });
  byId("view").replaceWith(view);
  mark(found?.page.path.split("/")[0] ?? "");
  document.title = `${found?.page.title ?? "Nothing"} · Dormouse`;
  if (!found) {
    fill(view, h("h1", { tabindex: -1 }, "There is no such page"));
    return;
  }
  try {
    const page = await found.page.load();
    if (signal.aborted) return;
    const shown = page.show(view, found.parameters, signal);
    const title = view.querySelector("h1");
    if (focus && title && !document.querySelector("dialog[open]")) title.focus();
    await shown;
  } catch (error) {
    if (!signal.aborted) banner(error instanceof Error ? error.message : String(error));
  }
}

/** Marks a page in the menu. @param {string} path */
function mark(path) {
  for (const link of byId("pages").querySelectorAll("a")) {
    const isHere = link.dataset.path === path;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Asks for the token. @param {string} [problem] */
function askForToken(problem = "") {
  leaving.abort();
  byId("frame").hidden = byId("skip").hidden = true;
  byId("sign-in").hidden = false;
  byId("token-field").hidden = !needsToken;
  byId("sign-in-lead").textContent = needsToken
    ? "Sign in with the admin token of this server."
    : "This server asks for no token: every program on this machine may use it.";
  const alert = byId("sign-in-problem");
  alert.textContent = problem;
  alert.hidden = problem === "";
  document.title = "Dormouse dashboard";
  byId(needsToken ? "token" : "operator").focus();
}

/** Shows the page behind the form. @param {boolean} [focus] As for `show`. */
function enter(focus = false) {
  byId("sign-in").hidden = true;
  byId("frame").hidden = byId("skip").hidden = false;
  void show(focus);
}

byId("sign-in-form", HTMLFormElement).addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token", HTMLInputElement);
  try {
    await signIn(token.value.trim(), byId("operator", HTMLInputElement).value.trim());
    token.value = "";
    if (await look()) enter(true);
    else askForToken("The browser has not kept the cookie of the session.");
  } catch (error) {
    const isWrong = error instanceof ApiError && error.status === 401;
    askForToken(isWrong ? "This is not the admin token." : error instanceof Error ? error.message : String(error));
    token.select();
  }
});

byId("sign-out").addEventListener("click", async () => {
  try {
    await signOut();
  } catch {
    // The session ends by itself, and this page has forgotten it.
  }
  notice("You have signed out.");
  askForToken();
});

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});

whenSignedOut(() => {
  if (byId("sign-in").hidden) askForToken("Your session has ended.");
});

addEventListener("hashchange", () => {
  if (!byId("frame").hidden) void show(true);
});

const menu = PAGES.filter(({ inMenu }) => inMenu).map(({ path, title }) =>
  h("li", {}, h("a", { href: to(path ? [path] : []), "data-path": path }, title)),
);
fill(byId("pages"), menu);

/** Asks the server whether this page has a session. */
async function look() {
  const { signedIn, token, version } = await session();
  needsToken = token;
  byId("server").textContent = version ? `Version ${version}` : "";
  return signedIn;
}

try {
  if (await look()) enter();
  else askForToken();
} catch (error) {
  askForToken(error instanceof Error ? error.message : String(error));
}
