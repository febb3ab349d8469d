/** `npm create dormouse`: it finds the program dormouse and asks it for a project. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "create-dormouse-"));
after(() => rmSync(folder, { recursive: true }));

const program = join(folder, "dormouse");
writeFileSync(program, '#!/bin/sh\necho "$@"\nexit 7\n');
chmodSync(program, 0o755);

const create = (args: string[], env: Record<string, string> = { DORMOUSE_BIN: program }) => {
  const { DORMOUSE_BIN, ...rest } = process.env;
  const options = { encoding: "utf8" as const, env: { ...rest, ...env } };
  return spawnSync(process.execPath, ["create-dormouse/index.js", ...args], options);
};

test("a Worker is the usual project, and --room makes a room", () => {
  const worker = create(["my-chat", "--kit", "x"]);
  assert.deepEqual([worker.stdout, worker.status], ["new worker my-chat --kit x\n", 7]);
  assert.equal(create(["my-room", "--room"]).stdout, "new room --language typescript my-room\n");
  const onPath = create(["my-chat"], { PATH: `${folder}:${process.env["PATH"]}` });
  assert.equal(onPath.stdout, "new worker my-chat\n");
});

test("without a name it says how it is used, and without the program what to do", () => {
  assert.match(create([]).stdout, /npm create dormouse NAME/);
  const { stderr, status } = create(["my-chat"], { DORMOUSE_BIN: join(folder, "missing") });
  assert.match(stderr, /cannot be started/);
  assert.equal(status, 1);
});
