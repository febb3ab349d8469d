// @ts-check
/** Chromium, and users of a page in it. */

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Errors that the browser itself logs when the server is down. A page cannot prevent them. */
const ABSENT_SERVER =
  /WebSocket connection to .* failed|Failed to load resource: (net::|the server responded with a status of 50\d)/;

function executable() {
  const found = process.env.CHROMIUM ?? "/usr/bin/chromium";
  if (!existsSync(found))
    throw new Error("no Chromium; install it (apt-get install chromium) or say where it is with CHROMIUM");
  return found;
}

/** @param {string[]} [more] More arguments for the browser. */
export function launch(more = []) {
  return chromium.launch({
    executablePath: executable(),
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
      ...more,
    ],
  });
}

/** A separate browser context: it shares nothing with other users. */
export class Visitor {
  /**
   * @param {import("playwright-core").BrowserContext} context
   * @param {import("playwright-core").Page} page
   */
  constructor(context, page) {
    this.context = context;
    this.page = page;
    /** @type {string[]} What the page complained of. */
    this.complaints = [];
    page.on("pageerror", (error) => this.complaints.push(String(error.stack ?? error)));
    page.on("console", (message) => {
      if (!["error", "warning"].includes(message.type()) || ABSENT_SERVER.test(message.text())) return;
      this.complaints.push(`${message.type()}: ${message.text()}`);
    });
  }

  /** The text of each message in the list. */
  contents() {
    return this.page.locator(".dormouse-bubble, .bubble").allTextContents();
  }

  /**
   * Violations of WCAG 2.2 AA.
   *
   * @returns {Promise<{ id: string, impact: string | null | undefined, nodes: string[] }[]>}
   */
  async barriers() {
    await this.page.evaluate(AXE);
    return this.page.evaluate(async () => {
      // Checked when animations have ended.
      const ending = document.getAnimations().filter(({ effect }) => effect?.getComputedTiming().endTime !== Infinity);
      await Promise.allSettled(ending.map(({ finished }) => finished));
      const { axe } = /** @type {any} */ (globalThis);
      const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
      const { violations } = await axe.run(document, { runOnly: tags });
      return violations.map((/** @type {any} */ { id, impact, nodes }) => ({
        id,
        impact,
        nodes: nodes.map((/** @type {any} */ node) => node.html),
      }));
    });
  }
}

/**
 * Waits until a condition holds, or fails the test.
 *
 * @template Value
 * @param {() => Promise<Value> | Value} look
 * @param {(value: Value) => boolean} [isSo]
 * @returns {Promise<Value>}
 */
export async function until(look, isSo = Boolean) {
  const giveUpAt = Date.now() + 20_000;
  for (;;) {
    const value = await look();
    if (isSo(value)) return value;
    if (Date.now() > giveUpAt) throw new Error(`still ${JSON.stringify(value)} after 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
