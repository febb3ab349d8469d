/** `Headers`, `Request` and `Response`. */
import test from "node:test";

import { Lab } from "../../testing/outer/objects.js";
import type { assert as Assert } from "../../testing/realm/assert.js";

declare const assert: typeof Assert;

test("headers are case-insensitive, joined and sorted", () => {
  new Lab().run(() => {
    const headers = new Headers({ "X-B": " 1 ", accept: "a" });
    headers.append("x-b", "2");
    headers.append("Set-Cookie", "a=1, b");
    headers.append("set-cookie", "c=2");
    assert.equal(headers.get("x-B"), "1, 2");
    assert.deepEqual([...headers.keys()], ["accept", "set-cookie", "set-cookie", "x-b"]);
    assert.deepEqual(headers.getSetCookie(), ["a=1, b", "c=2"]);
    assert.deepEqual(headers.getAll("set-cookie"), ["a=1, b", "c=2"]);
    const copy = new Headers(headers);
    copy.delete("X-b");
    copy.set("accept", "b");
    assert.deepEqual([copy.has("x-b"), copy.get("x-b"), headers.has("x-b")], [false, null, true]);
    assert.deepEqual(
      [
        ...new Headers([
          ["a", "1"],
          ["a", "2"],
        ]),
      ],
      [["a", "1, 2"]],
    );
    const seen: string[] = [];
    headers.forEach((value, name) => seen.push(`${name}=${value}`));
    assert.equal(seen.length, 4);
    assert.throws(() => headers.set("a b", "c"), /invalid header name/);
    assert.throws(() => headers.set("a", "b\r\nc: d"), /invalid header value/);
  });
});

test("a request copies another one, and its init wins", () => {
  new Lab().run(async () => {
    const first = new Request("http://a/b?c", { method: "post", body: "text", headers: { "x-a": "1" } });
    assert.deepEqual(
      [first.method, first.url, first.headers.get("content-type")],
      ["POST", "http://a/b?c", "text/plain;charset=UTF-8"],
    );
    const second = new Request(first.clone(), { headers: { "x-b": "2" } });
    assert.deepEqual([second.method, second.headers.get("x-a"), second.headers.get("x-b")], ["POST", null, "2"]);
    assert.equal(await second.text(), "text");
    const moved = new Request(new URL("/d", first.url), first);
    assert.deepEqual([moved.url, moved.headers.get("x-a"), await moved.text()], ["http://a/d", "1", "text"]);
    assert.throws(() => new Request("http://a", { body: "x" }), /GET or HEAD method cannot have a body/);
    assert.throws(() => new Request("nowhere"));
    assert.equal(new Request("http://a").signal.aborted, false);
  });
});

test("a body is read once, in any form", () => {
  new Lab().run(async () => {
    const bytes = new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d]);
    assert.deepEqual(await new Response(bytes).json(), {});
    assert.deepEqual(await new Response(bytes.buffer).bytes(), bytes);
    assert.equal((await new Response(new DataView(bytes.buffer, 3)).arrayBuffer()).byteLength, 2);
    assert.equal(await new Response(new URLSearchParams({ a: "é b" })).text(), "a=%C3%A9+b");
    assert.equal(await new Response(null).text(), "");
    const response = new Response("x");
    assert.equal(response.bodyUsed, false);
    await response.text();
    assert.equal(response.bodyUsed, true);
    await assert.rejects(response.text(), /already been used/);
    assert.throws(() => response.clone(), /already been used/);
    const chunks = [];
    for await (const chunk of new Response("chunk").body!) chunks.push(new TextDecoder().decode(chunk));
    assert.deepEqual(chunks, ["chunk"]);
    const reader = new Response("ab").body!.getReader();
    assert.deepEqual([(await reader.read()).done, (await reader.read()).done], [false, true]);
  });
});

test("a response has status, type and helpers", () => {
  new Lab().run(async () => {
    const json = Response.json({ a: 1 }, { status: 201, headers: { "x-a": "b" } });
    assert.deepEqual(
      [json.status, json.ok, json.headers.get("content-type"), json.headers.get("x-a")],
      [201, true, "application/json", "b"],
    );
    assert.equal(new Response("x", json).headers.get("content-type"), "application/json");
    assert.equal(await new Response(json.body, { status: 400 }).text(), '{"a":1}');
    const redirect = Response.redirect("http://a/b", 307);
    assert.deepEqual([redirect.status, redirect.headers.get("location")], [307, "http://a/b"]);
    assert.throws(() => Response.redirect("http://a", 200), /not a redirect/);
    assert.throws(() => new Response("", { status: 600 }), /200 to 599/);
    assert.throws(() => new Response("x", { status: 204 }), /null body status/);
    assert.throws(() => new Response(null, { webSocket: new WebSocketPair()[0] }), /must have status code 101/);
    assert.equal(new Response(null, { status: 204 }).body, null);
    assert.deepEqual([new Response("x").clone().type, Response.error().ok], ["default", false]);
  });
});
