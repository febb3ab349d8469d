// @ts-check
/** A user of the example. */

import { Visitor, until } from "./browser.js";

export class Person extends Visitor {
  /**
   * The room sockets that the page has opened, and those that have closed.
   * @type {import("playwright-core").WebSocket[]}
   */
  sockets = [];
  /** The event streams that it has requested. @type {import("playwright-core").Request[]} */
  streams = [];
  /** The POSTs that it has made. @type {import("playwright-core").Request[]} */
  posts = [];

  /**
   * @param {import("playwright-core").BrowserContext} context
   * @param {import("playwright-core").Page} page
   */
  constructor(context, page) {
    super(context, page);
    page.on("websocket", (socket) => {
      if (socket.url().includes("/api/realtime/")) this.sockets.push(socket);
    });
    page.on("request", (request) => {
      if (/\/api\/realtime\/.*\/events(\?|$)/.test(request.url())) this.streams.push(request);
      if (request.method() === "POST") this.posts.push(request);
    });
  }

  /**
   * A user who enters the lobby of the example.
   *
   * @param {import("playwright-core").Browser} browser
   * @param {string} url
   * @param {string} name
   * @param {import("playwright-core").BrowserContextOptions} [options]
   */
  static async comes(browser, url, name, options) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
    context.setDefaultTimeout(20_000);
    return Person.entersIn(context, url, name);
  }

  /**
   * The same, in another tab of an open browser.
   *
   * @param {import("playwright-core").BrowserContext} context
   * @param {string} url
   * @param {string} name
   */
  static async entersIn(context, url, name) {
    const person = new Person(context, await context.newPage());
    await person.page.goto(url);
    await person.page.getByLabel("Your name").fill(name);
    await person.page.getByRole("button", { name: "Come in" }).click();
    await person.isConnected();
    return person;
  }

  get field() {
    return this.page.getByRole("textbox", { name: "Message" });
  }

  get light() {
    return this.page.locator(".dormouse-light, #light").getByRole("status");
  }

  async isConnected() {
    await until(
      () => this.light.textContent(),
      (text) => text === "Connected",
    );
  }

  /** @param {string} text */
  async says(text) {
    await this.field.fill(text);
    await this.field.press("Enter");
  }

  /** @param {readonly string[]} contents All that is in the list, in this order. */
  async sees(contents) {
    await until(
      () => this.contents(),
      (seen) => JSON.stringify(seen) === JSON.stringify(contents),
    );
  }

  /** Sockets that are open. */
  get openSockets() {
    return this.sockets.filter((socket) => !socket.isClosed());
  }
}
