// @ts-check
/** An operator with the dashboard open. */

import { Visitor } from "./browser.js";
import { ADMIN_TOKEN } from "./server.js";

/** A configuration with a dashboard. */
export const WITH_DASHBOARD = `hibernate_after = "5s"
[identity]
auth = "dev"
[admin]
listen = "127.0.0.1:0"
token_file = "admin.token"
`;

/** A user whose name would be markup, and backwards. */
export const HOSTILE_USER = "\u202E<b>bo</b>";

/** Names that clients may choose for rooms, and that must do no harm. */
export const HOSTILE = [
  `<img src=x onerror="document.title='owned'">`,
  "<script>document.title='owned'",
  "\u202Eevil\u202D",
  "\u2066\u200B\uFEFFhidden",
  "'\"&;javascript:alert(1)",
  "x".repeat(128),
];

export class Operator extends Visitor {
  /**
   * Opens the dashboard and signs in.
   *
   * @param {import("playwright-core").Browser} browser
   * @param {string} url
   * @param {import("playwright-core").BrowserContextOptions} [options]
   */
  static async comes(browser, url, options) {
    const operator = await Operator.opens(browser, url, options);
    await operator.signsIn();
    return operator;
  }

  /**
   * Opens the dashboard.
   *
   * @param {import("playwright-core").Browser} browser
   * @param {string} url
   * @param {import("playwright-core").BrowserContextOptions} [options]
   */
  static async opens(browser, url, options) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(20_000);
    const operator = new Operator(context, await context.newPage());
    await operator.page.goto(url);
    await operator.page.getByRole("heading", { name: "Dormouse" }).waitFor();
    return operator;
  }

  async signsIn(token = ADMIN_TOKEN) {
    await this.page.getByLabel("Admin token").fill(token);
    await this.page.getByLabel("Your name").fill("Robin");
    await this.page.getByRole("button", { name: "Sign in" }).click();
  }

  /** Follows a link of the menu. @param {string} title */
  async goesTo(title) {
    await this.page.getByRole("navigation").getByRole("link", { name: title, exact: true }).click();
    await this.page.getByRole("heading", { level: 1, name: title }).waitFor();
  }

  /** Opens the page at an address of the dashboard. @param {string} hash */
  async opensPage(hash) {
    await this.page.evaluate((hash) => void (location.hash = hash), hash);
  }

  /** How far the page is wider than its window, in pixels. */
  overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  }
}
