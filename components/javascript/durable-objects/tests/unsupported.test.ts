/** The calls that Dormouse does not have: each fails by its name, with the next step. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { Instance } from "../../testing/outer/instance.js";
import { Lab, roomOf } from "../../testing/outer/objects.js";
import { World } from "../../testing/outer/world.js";

/** The text of each call, and its error in a room. RPC and Workers have tests of their own. */
const CALLS: [string, RegExp][] = [
  ["ctx.storage.getCurrentBookmark()", /^ctx.storage.getCurrentBookmark\(\) is .* `dormouse backup`/],
  ["ctx.storage.getBookmarkForTime(0)", /^ctx.storage.getBookmarkForTime\(\) is .* `dormouse backup`/],
  ["ctx.storage.onNextSessionRestoreBookmark('')", /^ctx.storage.onNextSessionRestoreBookmark\(\) is .*operator/],
  ["ctx.facets", /^ctx.facets is not supported: use a namespace/],
  ["ctx.exports", /^ctx.exports is not supported: use env/],
  ["new WebSocket('ws://a')", /^new WebSocket\(url\) is not supported: a room cannot open sockets/],
  ["fetch('http://a')", /^fetch\(\) is not supported: build the class with `dormouse-bundle --fetch`/],
  ["new EventSource('http://a')", /^EventSource is not supported/],
  ["new HTMLRewriter()", /^HTMLRewriter is not supported/],
  ["caches.default", /^caches.default is not supported: keep it in ctx.storage/],
  ["new WorkflowEntrypoint()", /^WorkflowEntrypoint is not supported: use an object with alarms/],
  ["new RpcStub()", /^RpcStub is not supported: pass data/],
  ["new CompressionStream('gzip')", /^CompressionStream is not supported: let the proxy/],
  ["new DecompressionStream('gzip')", /^DecompressionStream is not supported/],
  ["new Response('x').body.getReader({ mode: 'byob' })", /^getReader\(\{ mode: "byob" \}\) is not supported/],
];

test("every call that is not supported fails by its name, with what to do", () => {
  const lab = new Lab();
  for (const [call, pattern] of CALLS) {
    const error = lab.run(async ({ ctx }, call) => {
      try {
        await new Function("ctx", `return ${call}`)(ctx);
        return `none: ${call}`;
      } catch (error: any) {
        return error.name === "UnsupportedError" ? error.message : String(error);
      }
    }, call);
    assert.match(error, pattern);
  }
});

test("globals that are not supported can be asked for", () => {
  const types = new Lab().run(() =>
    ["caches", "fetch", "EventSource", "HTMLRewriter", "CompressionStream", "WebSocket"].map((name) =>
      new Function(`return typeof ${name}`)(),
    ),
  );
  assert.deepEqual(types, ["object", "function", "function", "function", "function", "function"]);
});

test("bindings to other products of Cloudflare are undefined", () => {
  class Env extends DurableObject {
    override fetch(): Response {
      const env = this.env as Record<string, unknown>;
      return Response.json(["KV", "BUCKET", "DB", "QUEUE", "AI"].filter((name) => env[name] !== undefined));
    }
  }
  assert.deepEqual(roomOf(Env).json(), []);
});

test("what asks for storage, the clock or chance while a module is loaded fails the build", () => {
  for (const source of ["setTimeout(() => {}, 1)", "new (class extends DurableObject {})().ctx.id.x"]) {
    assert.throws(
      () => new Instance(new World(), BUNDLE, source),
      /not available while the module is loaded|undefined/,
    );
  }
});

const BUNDLE = new URL("../realm/durable-objects.js", import.meta.url).pathname;
