/** `dormouse-bundle` and the wrangler configuration. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after } from "node:test";

import { readWrangler } from "../wrangler.js";

const folder = mkdtempSync(join(tmpdir(), "dormouse-bundle-"));
after(() => rmSync(folder, { recursive: true }));

const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

const run = (...args: string[]) => spawnSync(process.execPath, ["bundle/cli.js", ...args], { encoding: "utf8" });

const WRANGLER = `{
  // comments and "quotes"
  "name": "chat", /* more */
  "main": "index.ts", "vars": { "URL": "http://a//b", "LIMITS": [1, 2,], },
  "durable_objects": { "bindings": [{ "name": "ROOMS", "class_name": "Room" }, { "name": "USERS", "class_name": "User" }] },
  "migrations": [{ "tag": "v1", "new_sqlite_classes": ["Room"] }],
  "kv_namespaces": [{ "binding": "KV", "id": "1" }],
}`;

test("a wrangler configuration gives the classes, the variables and what has no counterpart", () => {
  assert.deepEqual(readWrangler(WRANGLER), {
    main: "index.ts",
    classes: { ROOMS: "Room", USERS: "User" },
    vars: { URL: "http://a//b", LIMITS: [1, 2] },
    assets: undefined,
    ignored: ["kv_namespaces"],
  });
  assert.throws(() => readWrangler("{}"), /no "main"/);
  const other = '{"main":"a","durable_objects":{"bindings":[{"name":"A","class_name":"B","script_name":"other"}]}}';
  assert.throws(() => readWrangler(other), /A is of another script, other/);
});

test("a wrangler project becomes a module for each binding, and one for the router", () => {
  file(
    "index.ts",
    `import { DurableObject } from "cloudflare:workers";
     export class Room extends DurableObject { secret: string = "of the room"; }
     export class User extends DurableObject {}
     export default { fetch: (): Response => new Response("worker") };`,
  );
  const { status, stderr } = run(file("wrangler.jsonc", WRANGLER), "-o", join(folder, "dist"));
  assert.equal(status, 0, stderr);
  assert.match(stderr, /ignored, without a counterpart here: kv_namespaces/);
  const made = ["ROOMS.js", "ROOMS.js.map", "USERS.js", "USERS.js.map", "router.js", "router.js.map"];
  assert.deepEqual(readdirSync(join(folder, "dist")).sort(), made);
  const rooms = readFileSync(join(folder, "dist", "ROOMS.js"), "utf8");
  assert.match(rooms, /serve[0-9]*\(Room, \{\s*"namespaces": \{\s*"ROOMS": "ROOMS",\s*"USERS": "USERS"\s*\}/);
  assert.deepEqual([...new Set(rooms.match(/from "[^"]*"/g))], ['from "dormouse:host"']);
});

test("one class, one room and one Worker are bundled with their options", () => {
  const source = file("one.ts", "export class One { x: number = 1 } export default { fetch: () => null };");
  const out = join(folder, "one.js");
  const options = ["--remember", "x", "--on-error", "rollback", "--identity", "userId=id", "--namespace", "A=B"];
  assert.equal(run(source, "--class", "One", "-o", out, ...options).status, 0);
  const text = readFileSync(out, "utf8").replace(/\s/g, "");
  assert.match(
    text,
    /"namespaces":\{"A":"B"\},"onError":"rollback","remember":\["x"\],"identity":\{"query":\{"userId":"id"\}\}/,
  );
  assert.equal(run(source, "--worker", "-o", out, "--namespace", "A=B").status, 0);
  assert.match(readFileSync(out, "utf8"), /serveWorker\(/);
  const room = file("room.ts", `import { Room } from "@dormouse/room"; export default class extends Room {}`);
  assert.equal(run(room, "-o", out).status, 0);
  assert.match(readFileSync(out, "utf8"), /extends Room/);
});

test("what a room cannot have fails with a reason", () => {
  const out = join(folder, "wrong.js");
  const failing = (text: string, pattern: RegExp, ...args: string[]) => {
    const { status, stderr } = run(file("wrong.ts", text), "-o", out, ...args);
    assert.equal(status, 1);
    assert.match(stderr, pattern);
  };
  failing('import "node:fs"; export default 1', /node:fs is not supported: rooms have no modules of Node.js/);
  failing('import "cloudflare:sockets"; export default 1', /cloudflare:sockets is not supported/);
  failing('import fs from "fs"; export default fs', /wrong.ts:1:15:[^]*It is a part of Node.js/);
  assert.doesNotMatch(run(file("wrong.ts", 'import "fs"'), "-o", out).stderr, /platform/);
  failing("export default 1", /write keep or rollback/, "--class", "A", "--on-error", "never");
  failing("export default 1", /write it as NAME=VALUE/, "--class", "A", "--namespace", "A");
  assert.match(run().stderr, /one file and -o are needed/);
  assert.match(run("--help").stdout, /dormouse-bundle src\/room.ts/);
});

test("a missing class, Worker or room is named with its file, what is there, and what to write", () => {
  const out = join(folder, "missing.js");
  const failing = (args: string[], pattern: RegExp) => {
    const { status, stderr } = run(...args, "-o", out);
    assert.equal(status, 1);
    assert.match(stderr, pattern);
  };
  const source = file("missing.ts", "export class Chat {}\nexport const limit = 1;");
  failing([source, "--class", "Cat"], /missing.ts:1: there is no class Cat, and it exports Chat, limit: write `export/);
  failing(
    [source],
    /missing.ts:1: there is no default export, and it exports Chat, limit: write `export default class/,
  );
  failing([source, "--worker"], /missing.ts:1: there is no default export, which is the Worker/);
  failing([source, "--class", "Chat", "--remember", "nosuch"], /missing.ts:1: Chat has no field nosuch to remember/);
  failing([join(folder, "nowhere.ts")], /nowhere.ts does not exist/);

  const wrangler = '{\n  "main": "missing.ts",\n  "durable_objects": { "bindings": [\n    ';
  const binding = '{ "name": "ROOMS", "class_name": "Cat" }';
  const config = file("wrong.jsonc", `${wrangler}${binding}\n  ] }\n}`);
  failing([config], /there is no class Cat, and it exports Chat, limit.* in .*wrong.jsonc:4/);
  failing([file("no-json.jsonc", `${wrangler}${binding}\n] } x`)], /no-json.jsonc: line 5: it is no JSON/);
  failing([file("no-main.jsonc", '{\n"main": "lost.ts" }')], /no-main.jsonc:2: there is no .*lost.ts/);
  failing([file("wrangler.toml", "")], /wrangler.toml is not read: write the same as wrangler.jsonc/);
});

test("text files are texts, as in wrangler, and static files are named", () => {
  file("page.html", "<p>hello</p>");
  file("texts.ts", 'import page from "./page.html"; export default { fetch: () => new Response(page) };');
  const config = file("texts.jsonc", '{ "main": "texts.ts", "assets": { "directory": "public" } }');
  const { status, stdout, stderr } = run(config, "-o", join(folder, "texts"));
  assert.equal(status, 0, stderr);
  assert.match(readFileSync(join(folder, "texts", "router.js"), "utf8"), /<p>hello<\/p>/);
  assert.deepEqual(stdout.split("\n"), [
    `made ${join(folder, "texts", "router.js")}`,
    `assets ${join(folder, "public")}`,
    "",
  ]);
});
