/** `ctx.storage` and `ctx.storage.kv`. */
import test from "node:test";

import type { assert as Assert } from "../../testing/realm/assert.js";
import { Lab } from "../../testing/outer/objects.js";

declare const assert: typeof Assert;

test("a value comes back equal, also after hibernation", () => {
  const lab = new Lab();
  lab.run(async ({ storage }) => {
    const value = {
      text: "é🐭",
      list: [1, null, { deep: true }],
      at: new Date(5),
      seen: new Map([["a", new Set([1n])]]),
    };
    await storage.put("value", value);
    await storage.put("bytes", new Uint8Array([0, 255]));
  });
  lab.room.hibernate();
  lab.run(async ({ storage }) => {
    const value = {
      text: "é🐭",
      list: [1, null, { deep: true }],
      at: new Date(5),
      seen: new Map([["a", new Set([1n])]]),
    };
    assert.deepEqual(await storage.get("value"), value);
    assert.deepEqual(await storage.get("bytes"), new Uint8Array([0, 255]));
    assert.equal(await storage.get("absent"), undefined);
  });
});

test("arrays of keys read, write and remove many at once", () => {
  new Lab().run(async ({ storage }) => {
    await storage.put({ b: 2, a: 1, "\u{10000}": 4, "\uffff": 3 });
    const found = await storage.get(["b", "absent", "\u{10000}", "a", "\uffff", "a"]);
    assert.deepEqual(
      found,
      new Map([
        ["a", 1],
        ["b", 2],
        ["\uffff", 3],
        ["\u{10000}", 4],
      ]),
    );
    assert.equal(await storage.delete(["a", "absent", "b"]), 2);
    assert.equal(await storage.delete("a"), false);
    assert.equal(await storage.delete("\uffff"), true);
    assert.deepEqual([...(await storage.list()).keys()], ["\u{10000}"]);
  });
});

test("more than 128 keys in a call are refused", () => {
  new Lab().run(async ({ storage }) => {
    const keys = Array.from({ length: 129 }, (_, at) => `k${at}`);
    await assert.rejects(storage.get(keys), /Maximum number of keys is 128/);
    await assert.rejects(storage.delete(keys), /Maximum number of keys is 128/);
    await assert.rejects(
      storage.put(Object.fromEntries(keys.map((key) => [key, 1]))),
      /Maximum number of pairs is 128/,
    );
    await storage.put(Object.fromEntries(keys.slice(1).map((key) => [key, 1])));
    assert.equal((await storage.get(keys.slice(1))).size, 128);
  });
});

test("a list has a range, a direction and a limit", () => {
  new Lab().run(async ({ storage }) => {
    await storage.put({ a: 1, b1: 2, b2: 3, b3: 4, c: 5 });
    const keys = async (options?: DurableObjectListOptions) => [...(await storage.list(options)).keys()].join();
    assert.equal(await keys(), "a,b1,b2,b3,c");
    assert.equal(await keys({ prefix: "b" }), "b1,b2,b3");
    assert.equal(await keys({ start: "b2" }), "b2,b3,c");
    assert.equal(await keys({ startAfter: "b2" }), "b3,c");
    assert.equal(await keys({ end: "b2" }), "a,b1");
    assert.equal(await keys({ reverse: true, limit: 2 }), "c,b3");
    assert.equal(await keys({ prefix: "b", reverse: true, start: "b2" }), "b3,b2");
    assert.equal(await keys({ prefix: "b", limit: 1, startAfter: "b1" }), "b2");
    assert.equal(await keys({ end: "" }), "");
    await assert.rejects(storage.list({ limit: 0 }), /List limit must be positive/);
    await assert.rejects(storage.list({ start: "a", startAfter: "a" }), /both start and startAfter/);
  });
});

test("a list is longer than one call of the host returns", () => {
  const lab = new Lab();
  for (const part of [0, 1, 2]) {
    lab.run(({ storage }, part) => {
      for (let at = 0; at < 800; at++) storage.kv.put(`k${String(part * 800 + at).padStart(4, "0")}`, at);
    }, part);
  }
  lab.run(async ({ storage }) => {
    assert.equal((await storage.list()).size, 2400);
    const newest = await storage.list({ reverse: true, limit: 1500 });
    assert.equal([...newest.keys()].at(-1), "k0900");
  });
});

test("deleteAll removes every key and the alarm", () => {
  const lab = new Lab();
  lab.run(async ({ storage }) => {
    for (let at = 0; at < 1500; at++) storage.kv.put(`k${at}`, at);
    await storage.setAlarm(Date.now() + 1000);
    await storage.deleteAll();
    assert.equal((await storage.list()).size, 0);
    assert.equal(await storage.getAlarm(), null);
  });
});

test("options of Cloudflare's caches and gates are accepted", () => {
  new Lab().run(async ({ storage }) => {
    await storage.put("a", 1, { allowUnconfirmed: true, noCache: true });
    await storage.put({ b: 2 }, { allowUnconfirmed: true });
    assert.equal(await storage.get("a", { allowConcurrency: true, noCache: true }), 1);
    assert.equal(await storage.delete("b", { allowUnconfirmed: true }), true);
    await storage.sync();
  });
});

test("bad keys and values are refused by their limits", () => {
  new Lab().run(async ({ storage }) => {
    const big = new Uint8Array(2 * 1024 * 1024);
    await assert.rejects(storage.put("", 1), /Keys must not be empty/);
    await assert.rejects(storage.put("k".repeat(2049), 1), /2048 bytes. A key of size 2049/);
    await assert.rejects(storage.get("é".repeat(1025)), /2048 bytes/);
    await storage.put("é".repeat(1024), 1);
    await assert.rejects(storage.put("big", big), /Values cannot be larger than 2097152 bytes/);
    await storage.put("large", big.subarray(1));
    await assert.rejects(storage.put("u", undefined), /undefined value/);
    await assert.rejects(
      storage.put("f", () => {}),
      { name: "DataCloneError" },
    );
    assert.equal(await storage.get("f"), undefined);
  });
});

test("kv is synchronous, and sees the same keys", () => {
  new Lab().run(async ({ storage }) => {
    storage.kv.put("a", { n: 1 });
    await storage.put("b", 2);
    assert.deepEqual(storage.kv.get("a"), { n: 1 });
    assert.deepEqual(
      [...storage.kv.list()],
      [
        ["a", { n: 1 }],
        ["b", 2],
      ],
    );
    assert.equal(storage.kv.delete("a"), true);
    assert.equal(storage.kv.delete("a"), false);
    assert.throws(() => storage.kv.put("u", undefined), /undefined value/);
    const first = storage.kv.list()[Symbol.iterator]();
    first.next();
    [...storage.kv.list()];
    assert.throws(() => first.next(), /invalidated/);
  });
});

test("a transaction that throws is undone, and the rest of the turn is kept", () => {
  const lab = new Lab();
  lab.run(async ({ storage }) => {
    await storage.put({ a: 1, b: 1 });
    await assert.rejects(
      storage.transaction(async (txn) => {
        await txn.put("a", 2);
        await txn.delete("b");
        await txn.put("c", 2);
        assert.equal(await txn.get("a"), 2);
        throw new Error("no");
      }),
      /no/,
    );
    assert.deepEqual(
      [...(await storage.list())],
      [
        ["a", 1],
        ["b", 1],
      ],
    );
    assert.equal(
      storage.transactionSync(() => {
        storage.kv.put("a", 3);
        return "done";
      }),
      "done",
    );
    assert.throws(() =>
      storage.transactionSync(() => {
        storage.kv.put("a", 4);
        throw new Error("no");
      }),
    );
    assert.equal(await storage.get("a"), 3);
  });
});

test("rollback() undoes a transaction without an error, and ends it", () => {
  new Lab().run(async ({ storage }) => {
    await storage.transaction(async (txn) => {
      await txn.put("a", 1);
      await txn.setAlarm(Date.now() + 1);
      txn.rollback();
      await assert.rejects(txn.put("a", 2), /has ended/);
    });
    assert.equal(await storage.get("a"), undefined);
    assert.equal(await storage.getAlarm(), null);
    await assert.rejects(
      storage.transaction(async () => storage.deleteAll()),
      /within a transaction/,
    );
  });
});

test("nested transactions are undone one by one", () => {
  new Lab().run(async ({ storage }) => {
    await storage.put("a", 0);
    await storage.transaction(async () => {
      await storage.put("a", 1);
      await assert.rejects(
        storage.transaction(async () => {
          await storage.put("a", 2);
          await storage.put("b", 2);
          throw new Error("inner");
        }),
      );
      assert.equal(await storage.get("a"), 1);
      assert.equal(await storage.get("b"), undefined);
    });
    assert.equal(await storage.get("a"), 1);
    await assert.rejects(
      storage.transaction(async () => {
        await storage.transaction(async () => storage.put("a", 5));
        throw new Error("outer");
      }),
    );
    assert.equal(await storage.get("a"), 1);
  });
});

test("two transactions at once do not undo each other's writes", () => {
  new Lab().run(async ({ storage }) => {
    await storage.put({ a: 0, b: 0 });
    let fail!: () => void;
    const failing = storage.transaction(async (txn) => {
      await txn.put("a", 1);
      await new Promise<void>((_, reject) => (fail = () => reject(new Error("no"))));
    });
    await storage.transaction(async (txn) => {
      await txn.put("a", 2);
      await txn.put("b", 2);
      fail();
      await assert.rejects(failing);
    });
    assert.equal(await storage.get("a"), 2);
    assert.equal(await storage.get("b"), 2);
  });
});

test("a failed turn writes nothing", () => {
  const lab = new Lab();
  lab.run(({ storage }) => storage.put("a", 1));
  try {
    lab.run(async ({ storage, ctx }) => {
      await storage.put("a", 2);
      ctx.abort("enough");
    });
  } catch {
    // expected
  }
  lab.run(async ({ storage }) => assert.equal(await storage.get("a"), 1));
});
