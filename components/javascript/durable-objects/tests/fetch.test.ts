/** `fetch` to servers. */
import { DurableObject } from "cloudflare:workers";
import assert from "node:assert/strict";
import test from "node:test";

import { roomOf } from "../../testing/outer/objects.js";

class Asking extends DurableObject {
  override async fetch(request: Request): Promise<Response> {
    const { url, init } = (await request.json()) as { url: string; init: RequestInit };
    try {
      const answer = await fetch(url, init);
      return Response.json({ status: answer.status, text: await answer.text(), header: answer.headers.get("x-a") });
    } catch (error: any) {
      return Response.json({ error: `${error.name}: ${error.message}` });
    }
  }
}

/** A room whose servers answer as `answers` say, by path; and what they were asked. */
const room = (answers: Record<string, any>) => {
  const made = roomOf(Asking, { outbound: true });
  const asked: string[] = [];
  made.world.servers = (origin: string, { method, path, query, headers, body }: any) => {
    const sent = headers.filter(([name]: string[]) => ["authorization", "content-type"].includes(name as string));
    asked.push(
      [method, origin + path + (query === undefined ? "" : `?${query}`), ...sent.map(String), body].join(" ") as string,
    );
    const answer = answers[path] ?? { status: 404, body: "" };
    return typeof answer === "string" ? answer : { headers: [], body: "", ...answer };
  };
  const ask = (url: string, init: object = {}) => made.json({ body: JSON.stringify({ url, init }) });
  return { ask, asked, made };
};

test("an object asks a server, and reads its answer", () => {
  const { ask, asked } = room({ "/weather": { status: 201, headers: [["x-a", "b"]], body: "rain" } });
  const sent = { method: "POST", body: "where?", headers: { authorization: "me" } };
  assert.deepEqual(ask("https://api.example/weather?city=Lund", sent), { status: 201, text: "rain", header: "b" });
  assert.deepEqual(asked, [
    "POST https://api.example/weather?city=Lund authorization,me content-type,text/plain;charset=UTF-8 where?",
  ]);
});

test("redirects are followed as on the Web", () => {
  const to = (status: number, location: string) => ({ status, headers: [["location", location]] });
  const { ask, asked } = room({
    "/moved": to(302, "/there"),
    "/kept": to(307, "https://other.example/there"),
    "/loop": to(301, "/loop"),
    "/there": { status: 200, body: "here" },
  });
  const sent = { method: "POST", body: "x", headers: { authorization: "me" } };
  assert.equal(ask("https://api.example/moved", sent).text, "here");
  assert.equal(ask("https://api.example/kept", sent).text, "here");
  assert.deepEqual(
    asked.splice(0).map((line) => line.trim()),
    [
      "POST https://api.example/moved authorization,me content-type,text/plain;charset=UTF-8 x",
      "GET https://api.example/there authorization,me",
      "POST https://api.example/kept authorization,me content-type,text/plain;charset=UTF-8 x",
      "POST https://other.example/there content-type,text/plain;charset=UTF-8 x",
    ],
  );
  assert.equal(ask("https://api.example/moved", { redirect: "manual" }).status, 302);
  assert.match(ask("https://api.example/moved", { redirect: "error" }).error, /^TypeError: .*redirects to \/there/);
  assert.match(ask("https://api.example/loop").error, /^TypeError: .*(more than 20 redirects|as many calls)/);
});

test("an answer that does not come is an error with its reason", () => {
  const { ask } = room({ "/": "denied" });
  assert.match(ask("https://api.example/").error, /^TypeError: fetch of https:\/\/api.example: denied/);
  const upgrade = { headers: { upgrade: "websocket" } };
  assert.match(
    ask("https://api.example/", upgrade).error,
    /^UnsupportedError: fetch\(\) with Upgrade is not supported/,
  );
  const without = roomOf(Asking).json({ body: JSON.stringify({ url: "https://a.example/" }) });
  assert.equal(
    without.error,
    "UnsupportedError: fetch() is not supported: build the class with `dormouse-bundle --fetch`",
  );
});
