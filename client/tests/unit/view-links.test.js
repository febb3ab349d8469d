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

test("no text is lost or added", () => {
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

test("punctuation inside an address belongs to it", () => {
  expect(links("https://a.example/x(1),y.html;z")).toEqual(["https://a.example/x(1),y.html;z"]);
});

test.each([
  ["see www.a.example now", "www.a.example", "https://www.a.example"],
  ["(www.a.example/x?y=1).", "www.a.example/x?y=1", "https://www.a.example/x?y=1"],
  ["www.a.example/", "www.a.example/", "https://www.a.example/"],
  ["www.a.example:8080/x,", "www.a.example:8080/x", "https://www.a.example:8080/x"],
  ["www.bücher.example!", "www.bücher.example", "https://www.bücher.example"],
  ["write to ana@a.example.", "ana@a.example", "mailto:ana@a.example"],
  ["<ana.b+c@mail.a.example>", "ana.b+c@mail.a.example", "mailto:ana.b%2Bc@mail.a.example"],
  ["mailto:ana@a.example", "ana@a.example", "mailto:ana@a.example"],
  ["a%0Abcc%3Abo@a.example", "a%0Abcc%3Abo@a.example", "mailto:a%250Abcc%253Abo@a.example"],
])("in %j %j leads to %s", (content, text, href) => {
  expect(withLinks(content).filter((piece) => piece.href !== undefined)).toEqual([{ text, href }]);
  expect(
    withLinks(content)
      .map((piece) => piece.text)
      .join(""),
  ).toBe(content);
});

test.each([
  "www",
  "www.",
  "www.a",
  "xwww.a.example",
  "www..a.example",
  "a@b",
  "@ana",
  "ana@",
  "ana@a.",
  "ana@a.1",
  "a@b@c.example",
  "1@2.3",
])("%j is no address either", (content) => {
  expect(withLinks(content)).toEqual([{ text: content }]);
});

test("an address within an address is one", () => {
  expect(links("https://www.a.example/?to=ana@a.example www.a.example/@ana")).toEqual([
    "https://www.a.example/?to=ana@a.example",
    "https://www.a.example/@ana",
  ]);
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
  const hostile = ["www.", "www.a.", "a@", "a@a.", "a.", "-@-.", "%", "a.a@a.a ", "+-_%."].map((part) =>
    part.repeat(2_000 / part.length),
  );
  for (const content of ["http://".repeat(285), `http://${".".repeat(1_990)}`, "h".repeat(2_000), ...hostile]) {
    const start = performance.now();
    withLinks(content);
    expect(performance.now() - start).toBeLessThan(200);
  }
});
