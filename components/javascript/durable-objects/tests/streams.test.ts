/** Streams, blobs, forms and signals, as Workers use them. */
import nodeAssert from "node:assert/strict";
import test from "node:test";

import { Lab, roomOf } from "../../testing/outer/objects.js";
import type { assert as Assert } from "../../testing/realm/assert.js";

declare const assert: typeof Assert;

test("a body can be a stream, and be read as one", () => {
  new Lab().run(async () => {
    const chunks = ["a", "é", "😀"].map((text) => new TextEncoder().encode(text));
    const response = new Response(
      new ReadableStream({
        async pull(controller) {
          const chunk = chunks.shift();
          await Promise.resolve();
          if (chunk) controller.enqueue(chunk);
          else controller.close();
        },
      }),
    );
    assert.equal(response.headers.get("content-type"), null);
    assert.equal(await response.text(), "aé😀");
    assert.equal(response.bodyUsed, true);
    await assert.rejects(() => response.text(), /Body has already been used/);

    const read: string[] = [];
    for await (const chunk of new Response("whole").body as any) read.push(new TextDecoder().decode(chunk));
    assert.deepEqual(read, ["whole"]);
    const failing = new Response(new ReadableStream({ pull: () => Promise.reject(new Error("a bug")) }));
    await assert.rejects(() => failing.text(), /a bug/);
    await assert.rejects(() => new Response((ReadableStream as any).from([1])).bytes(), /did not return bytes/);
  });
});

test("clones of a body can both be read", () => {
  new Lab().run(async () => {
    const whole = new Response("text", { headers: { a: "b" } });
    const copy = whole.clone();
    assert.deepEqual([await whole.text(), await copy.text(), copy.headers.get("a")], ["text", "text", "b"]);
    const streamed = new Request("http://a", {
      method: "POST",
      body: (ReadableStream as any).from([new Uint8Array([1, 2])]),
    });
    const other = streamed.clone();
    assert.deepEqual(
      [[...(await streamed.bytes())], [...(await other.bytes())]],
      [
        [1, 2],
        [1, 2],
      ],
    );
    assert.throws(() => other.clone(), /already been used/);
    const [one, two] = (new Response("x").body as any).tee();
    assert.deepEqual([await new Response(one).text(), await new Response(two).text()], ["x", "x"]);
  });
});

test("a reader locks its stream, and gives it back", () => {
  new Lab().run(async () => {
    const stream = new Response("abc").body as ReadableStream;
    const reader = stream.getReader();
    assert.equal(stream.locked, true);
    assert.throws(() => stream.getReader(), /locked/);
    assert.throws(() => new Response(stream), /disturbed/);
    const { value, done } = await reader.read();
    assert.deepEqual([[...(value as Uint8Array)], done], [[97, 98, 99], false]);
    assert.equal((await reader.read()).done, true);
    await reader.closed;
    reader.releaseLock();
    assert.equal(stream.locked, false);
    await assert.rejects(() => reader.read(), /released/);

    let cancelled: unknown;
    const cancellable = new ReadableStream({ cancel: (reason) => void (cancelled = reason) });
    await cancellable.cancel("enough");
    assert.equal(cancelled, "enough");
    assert.equal((await cancellable.getReader().read()).done, true);
  });
});

test("transform streams change bodies", () => {
  new Lab().run(async () => {
    const upper = new TransformStream({
      transform: (text: string, controller: any) => controller.enqueue(text.toUpperCase()),
      flush: (controller: any) => controller.enqueue("!"),
    });
    const changed = (new Response("héllo").body as any)
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(upper)
      .pipeThrough(new TextEncoderStream());
    assert.equal(await new Response(changed).text(), "HÉLLO!");

    const { readable, writable } = new IdentityTransformStream();
    const writer = writable.getWriter();
    void writer.write(new TextEncoder().encode("one "));
    void writer.write(new TextEncoder().encode("two")).then(() => writer.close());
    assert.equal(await new Response(readable).text(), "one two");

    const broken = new TransformStream({
      transform() {
        throw new Error("a bug");
      },
    });
    await assert.rejects(() => new Response((new Response("x").body as any).pipeThrough(broken)).text(), /a bug/);

    const short = new FixedLengthStream(3);
    const short_writer = short.writable.getWriter();
    void short_writer
      .write(new Uint8Array(2))
      .then(() => short_writer.close())
      .catch(() => {});
    await assert.rejects(() => new Response(short.readable).bytes(), /did not see all expected bytes/);
  });
});

test("pipeTo() writes all chunks, closes, and passes errors on", () => {
  new Lab().run(async () => {
    const seen: unknown[] = [];
    const sink = () =>
      new WritableStream({
        write: (chunk) => void seen.push(chunk),
        close: () => void seen.push("closed"),
        abort: (reason) => void seen.push(`aborted: ${(reason as Error).message}`),
      });
    await (ReadableStream as any).from([1, 2]).pipeTo(sink());
    assert.deepEqual(seen.splice(0), [1, 2, "closed"]);
    await (ReadableStream as any).from([3]).pipeTo(sink(), { preventClose: true });
    assert.deepEqual(seen.splice(0), [3]);
    const failing = new ReadableStream({ start: (controller) => controller.error(new Error("a bug")) });
    await assert.rejects(() => failing.pipeTo(sink()), /a bug/);
    assert.deepEqual(seen, ["aborted: a bug"]);
    const full = new WritableStream({ write: () => Promise.reject(new Error("full")) });
    let cancelled = "";
    const source = new ReadableStream({
      pull: (controller) => controller.enqueue(1),
      cancel: (reason) => void (cancelled = (reason as Error).message),
    });
    await assert.rejects(() => source.pipeTo(full), /full/);
    assert.equal(cancelled, "full");
  });
});

test("a streamed answer reaches the client as a whole", () => {
  const room = roomOf(
    class {
      async fetch(request: Request): Promise<Response> {
        if (new URL(request.url).pathname === "/endless") return new Response(new ReadableStream({}));
        return new Response(request.body, { status: 201, headers: { "content-type": "text/x" } });
      }
    },
  );
  const answer = room.request({ body: "ünïcode" });
  nodeAssert.deepEqual([answer.status, answer.text], [201, "ünïcode"]);
  nodeAssert.equal(room.request({ path: "/endless" }).status, 503);
});

test("blobs and files have bytes and a type", () => {
  new Lab().run(async () => {
    const blob = new Blob(["é", new Uint8Array([33]), new Blob(["?"])], { type: "Text/Plain" });
    assert.deepEqual([blob.size, blob.type, await blob.text()], [4, "text/plain", "é!?"]);
    assert.deepEqual([...(await blob.slice(2, 3).bytes())], [33]);
    const file = new File(["x"], "a.txt", { type: "text/a", lastModified: 5 });
    assert.deepEqual([file.name, file.lastModified, file instanceof Blob], ["a.txt", 5, true]);
    const response = new Response(blob);
    assert.equal(response.headers.get("content-type"), "text/plain");
    const back = await response.blob();
    assert.deepEqual([back.size, back.type], [4, "text/plain"]);
    assert.equal(await new Response(blob.stream() as any).text(), "é!?");
  });
});

test("forms are read and written in both of their forms", () => {
  new Lab().run(async () => {
    const form = new FormData();
    form.append("name", 'a "quoted"\r\nname');
    form.append("tag", "1");
    form.append("tag", "2");
    form.append("file", new File([new Uint8Array([0, 13, 10, 45, 45, 255])], "a b.bin", { type: "x/y" }));
    const sent = new Response(form);
    assert.match(sent.headers.get("content-type") as string, /^multipart\/form-data; boundary=/);
    const received = await sent.formData();
    assert.deepEqual([received.get("name"), received.getAll("tag")], ['a "quoted"\r\nname', ["1", "2"]]);
    const file = received.get("file") as unknown as File;
    assert.deepEqual([file.name, file.type, [...(await file.bytes())]], ["a b.bin", "x/y", [0, 13, 10, 45, 45, 255]]);
    received.set("tag", "3");
    received.delete("name");
    assert.deepEqual([...received.keys()], ["tag", "file"]);

    const plain = new Request("http://a", { method: "POST", body: new URLSearchParams({ a: "1 2", b: "ü" }) });
    assert.deepEqual(
      [...(await plain.formData())],
      [
        ["a", "1 2"],
        ["b", "ü"],
      ],
    );
    await assert.rejects(
      () => new Response("{}", { headers: { "content-type": "application/json" } }).formData(),
      /json/,
    );
    const cut = { headers: { "content-type": "multipart/form-data; boundary=x" } };
    await assert.rejects(() => new Response("--x\r\ncontent", cut).formData(), /not complete/);
  });
});

test("signals abort once, with a reason", () => {
  const lab = new Lab();
  lab.run(({ memory }) => {
    const controller = new AbortController();
    const { signal } = controller;
    const seen: unknown[] = [];
    signal.addEventListener("abort", () => seen.push(signal.reason), { once: true });
    signal.onabort = (event: any) => void seen.push(event.type);
    assert.equal(signal.aborted, false);
    controller.abort("enough");
    controller.abort("again");
    assert.deepEqual(seen, ["abort", "enough"]);
    assert.throws(() => signal.throwIfAborted(), /enough/);
    assert.equal((AbortSignal.abort().reason as Error).name, "AbortError");
    assert.equal(AbortSignal.any([new AbortController().signal, signal]).reason, "enough");
    memory["silent"] = AbortSignal.timeout(1_000);
    memory["heard"] = AbortSignal.timeout(2_000);
    memory["heard"].addEventListener("abort", () => (memory["fired"] = true));
    assert.equal(memory["silent"].aborted, false);
  });
  nodeAssert.deepEqual([...lab.room.world.timers.keys()].length, 1);
  lab.room.advance(2_000);
  lab.run(({ memory }) => {
    assert.equal(memory["fired"], true);
    assert.equal(memory["silent"].reason.name, "TimeoutError");
  });
});

test("an EventTarget calls its listeners, and an error in one keeps no other from its turn", () => {
  new Lab().run(() => {
    const target = new EventTarget();
    const seen: string[] = [];
    const add = (name: string, options?: object) =>
      target.addEventListener("ping", () => void seen.push(name), options as never);
    target.addEventListener("ping", () => {
      throw new Error("a bug");
    });
    add("once", { once: true });
    target.addEventListener("ping", { handleEvent: (event: any) => void seen.push(`object ${event.detail}`) });
    const controller = new AbortController();
    add("until aborted", { signal: controller.signal });
    target.dispatchEvent(new CustomEvent("ping", { detail: 7 }));
    controller.abort();
    const event = new Event("ping", { cancelable: true });
    target.addEventListener("ping", (event: any) => event.preventDefault());
    assert.equal(target.dispatchEvent(event), false);
    assert.deepEqual(seen, ["once", "object 7", "until aborted", "object undefined"]);
  });
});

test("a request with a signal that has aborted is not sent", () => {
  const room = roomOf(
    class {
      env: any;

      constructor(_ctx: unknown, env: unknown) {
        this.env = env;
      }

      async fetch(): Promise<Response> {
        const sent = this.env.ROOMS.getByName("a").fetch("http://a", { signal: AbortSignal.abort() });
        return new Response(await sent.catch((error: Error) => error.name));
      }
    },
    { namespaces: { ROOMS: "ROOMS" } },
  );
  nodeAssert.equal(room.request().text, "AbortError");
});
