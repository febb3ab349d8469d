// @ts-check
import { expect, test } from "vitest";
import { withLinks } from "../../src/view/links.js";

/** @param {string} content */
const links = (content) => withLinks(content).flatMap(({ href }) => href ?? []);

test("an address becomes a link, and the rest stays as it was", () => {
  expect(withLinks("see https://a.example/x?y=1#z and http://b.example")).toEqual([
    { text: "see " },
    { text: "https://a.example/x?y=1#z", href: "https://a.example/x?y=1#z" },
    { text: " and " },
    { text: "http://b.example", href: "http://b.example" },
  ]);
});

test("nothing is lost and nothing added", () => {
  for (const content of ["", "plain", " (https://a.example/), twice: https://a.example/!? ", "https://a.example"]) {
    expect(
      withLinks(content)
        .map(({ text }) => text)
        .join(""),
    ).toBe(content);
  }
  expect(withLinks("")).toEqual([]);
});

test.each([
  ["https://a.example.", "https://a.example"],
  ["(https://a.example/x)", "https://a.example/x"],
  ["[https://a.example/x]", "https://a.example/x"],
  ["{https://a.example/x}", "https://a.example/x"],
  ["https://a.example/x, and", "https://a.example/x"],
  ["is it https://a.example/x?", "https://a.example/x"],
  ["https://a.example/x!!!", "https://a.example/x"],
  ["https://a.example/x; https", "https://a.example/x"],
  ["https://a.example/x:", "https://a.example/x"],
  ["'https://a.example/x'", "https://a.example/x"],
  ['"https://a.example/x"', "https://a.example/x"],
  ["<https://a.example/x>", "https://a.example/x"],
])("in %j the signs around it belong to the sentence", (content, href) => {
  expect(links(content)).toEqual([href]);
});

test("signs inside of an address belong to it", () => {
  expect(links("https://a.example/x(1),y.html;z")).toEqual(["https://a.example/x(1),y.html;z"]);
});

test.each([
  "javascript:alert(1)",
  "JAVASCRIPT://a.example/%0aalert(1)",
  "data:text/html,x",
  "ftp://a.example",
  "a.example",
  "//a.example/",
  "http://",
  "https://[oops",
  "https://a.example:99999999/x",
])("%j is no link", (content) => {
  expect(withLinks(content)).toEqual([{ text: content }]);
});

test("markup stays text", () => {
  expect(withLinks("<b>hi</b>")).toEqual([{ text: "<b>hi</b>" }]);
});

test("the longest message is searched at once, whatever it holds", () => {
  for (const content of ["http://".repeat(285), `http://${".".repeat(1_990)}`, "h".repeat(2_000)]) {
    const start = performance.now();
    withLinks(content);
    expect(performance.now() - start).toBeLessThan(200);
  }
});
