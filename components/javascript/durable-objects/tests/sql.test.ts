/** `ctx.storage.sql`, as Cloudflare documents it. Only the engine has SQL: `npm test -- --engine durable-objects/`. */
import test from "node:test";

import type { assert as Assert } from "../../testing/realm/assert.js";
import { isEngine } from "../../testing/outer/engine.js";
import { Lab } from "../../testing/outer/objects.js";

declare const assert: typeof Assert;

const inEngine = isEngine ? {} : { skip: "only the engine has SQL" };

test("without SQL in the engine a statement fails by name, and says what to do", () => {
  if (isEngine) return;
  new Lab().run(({ storage }) => {
    assert.throws(() => storage.sql.exec("SELECT 1"), /has no SQL: run the test in the engine/);
    assert.throws(() => storage.sql.databaseSize, /has no SQL/);
  });
});

test("a cursor gives rows as objects, one by one, all at once, and exactly one", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    const three = "SELECT 1 AS n UNION ALL SELECT 'two' UNION ALL SELECT 3";
    assert.deepEqual([...sql.exec(three)], [{ n: 1 }, { n: "two" }, { n: 3 }]);
    assert.deepEqual(sql.exec(three).toArray(), [{ n: 1 }, { n: "two" }, { n: 3 }]);
    const cursor = sql.exec(three);
    assert.deepEqual(cursor.next(), { done: false, value: { n: 1 } });
    for (const { n } of cursor) {
      assert.equal(n, "two");
      break;
    }
    assert.deepEqual(cursor.toArray(), [{ n: 3 }]);
    assert.deepEqual(Object.keys(cursor.next()), ["done"]);
    const one = sql.exec("SELECT 5 AS n");
    assert.deepEqual(one.one(), { n: 5 });
    assert.deepEqual([...one], []);
    assert.throws(() => sql.exec(three).one(), /Expected exactly one result from SQL query, but got multiple results/);
    assert.throws(
      () => sql.exec("SELECT 1 WHERE false").one(),
      /Expected exactly one result from SQL query, but got no results/,
    );
  });
});

test("raw rows keep columns of the same name", inEngine, () => {
  new Lab().run(({ storage }) => {
    const cursor = storage.sql.exec("SELECT 1 AS a, 2 AS b, 3 AS a");
    assert.deepEqual(cursor.columnNames, ["a", "b", "a"]);
    assert.deepEqual([...cursor.raw()], [[1, 2, 3]]);
    assert.deepEqual(cursor.columnNames, ["a", "b", "a"]);
    assert.deepEqual(storage.sql.exec("SELECT 1 AS a, 3 AS a").one(), { a: 3 });
    const raw: any = storage.sql.exec("SELECT 1 UNION ALL SELECT 2").raw();
    assert.deepEqual(raw.next(), { done: false, value: [1] });
    assert.deepEqual(raw.toArray(), [[2]]);
    assert.deepEqual(storage.sql.exec("CREATE TABLE t (x)").columnNames, []);
  });
});

test("values come back as null, numbers, strings and buffers", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    sql.exec("CREATE TABLE kept (i INTEGER, r REAL, t TEXT, b BLOB, any)");
    const bytes = new Uint8Array([0, 1, 255]);
    sql.exec("INSERT INTO kept VALUES (?, ?, ?, ?, ?)", 7, 0.5, "é🐭\0", bytes.buffer, null);
    sql.exec("INSERT INTO kept VALUES (?, ?, ?, ?, ?)", -1, 1e300, "", new Uint16Array([258]), undefined);
    const [first, second] = sql.exec("SELECT * FROM kept").toArray() as any[];
    assert.equal(first.b instanceof ArrayBuffer, true);
    assert.deepEqual([...new Uint8Array(first.b)], [0, 1, 255]);
    assert.deepEqual({ ...first, b: 0 }, { i: 7, r: 0.5, t: "é🐭\0", b: 0, any: null });
    assert.deepEqual([...new Uint8Array(second.b)], [2, 1]);
    assert.deepEqual([second.i, second.r, second.t, second.any], [-1, 1e300, "", null]);
    // Numbers are REAL; the affinity of a column makes them INTEGER.
    const types = sql.exec("SELECT typeof(?) AS bound, typeof(i) AS stored FROM kept LIMIT 1", 1).one();
    assert.deepEqual(types, { bound: "real", stored: "integer" });
    assert.deepEqual(sql.exec("SELECT 9007199254740993 AS n, ? AS nan", NaN).one(), { n: 9007199254740992, nan: null });
  });
});

test("a value of another type cannot be bound", inEngine, () => {
  new Lab().run(({ storage }) => {
    const cases: [unknown, RegExp][] = [
      [1n, /TypeError: exec\(\): binding 2 is a bigint; bind Number\(value\) or String\(value\)/],
      [true, /binding 2 is a boolean; bind 1 or 0/],
      [{}, /binding 2 is an object; bind JSON.stringify\(value\)/],
      [[1], /binding 2 is an object/],
      [new Date(0), /binding 2 is an object/],
      [Symbol("a"), /binding 2 is a symbol/],
      [() => {}, /binding 2 is a function/],
    ];
    for (const [value, pattern] of cases) assert.throws(() => storage.sql.exec("SELECT ?, ?", 1, value), pattern);
  });
});

test("several statements run in one call, and only the last one has parameters", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    const cursor = sql.exec(
      "CREATE TABLE items (i, s); CREATE INDEX by_s ON items (s);\n INSERT INTO items VALUES (1, 'a'), (2, 'b'); SELECT i FROM items WHERE s = ? ;\n",
      "b",
    );
    assert.deepEqual([...cursor], [{ i: 2 }]);
    assert.throws(() => sql.exec("SELECT ?; SELECT 1", 1), /only the last statement can have parameters/);
    assert.throws(() => sql.exec("SELECT ?"), /Wrong number of parameter bindings for SQL query/);
    for (const empty of ["", ";", " -- comment"]) {
      assert.throws(() => sql.exec(empty), /SQL code did not contain a statement/);
    }
    // Those before the one that fails have run.
    assert.throws(
      () => sql.exec("DELETE FROM items WHERE i = 1; nonsense"),
      /near "nonsense": syntax error at offset 0/,
    );
    assert.equal(sql.exec("SELECT count(*) AS n FROM items").one()["n"], 1);
  });
});

test("errors are SQLite's, with the name of the code", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    sql.exec("CREATE TABLE checked (x TEXT CHECK (x IN ('A', 'B')), y UNIQUE)");
    assert.throws(() => sql.exec("SELECT ;"), /near ";": syntax error at offset 7: SQLITE_ERROR/);
    assert.throws(() => sql.exec("SELECT * FROM absent"), /no such table: absent/);
    assert.throws(
      () => sql.exec("INSERT INTO checked VALUES ('C', 1)"),
      /CHECK constraint failed: x IN \('A', 'B'\): SQLITE_CONSTRAINT \(extended: SQLITE_CONSTRAINT_CHECK\)/,
    );
    sql.exec("INSERT INTO checked VALUES ('A', 1)");
    assert.throws(() => sql.exec("INSERT INTO checked VALUES ('A', 1)"), /UNIQUE constraint failed: checked.y/);
    assert.throws(() => sql.exec("INSERT INTO checked (rowid) VALUES ('x')"), /datatype mismatch: SQLITE_MISMATCH/);
  });
});

test("what Cloudflare forbids is forbidden", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    const transactions = /please use the state.storage.transaction\(\) or state.storage.transactionSync\(\) APIs/;
    for (const statement of ["BEGIN TRANSACTION", "SAVEPOINT foo", "COMMIT"]) {
      assert.throws(() => sql.exec(statement), transactions);
    }
    for (const statement of [
      "CREATE TABLE _cf_invalid (name TEXT)",
      "PRAGMA hard_heap_limit = 1024",
      "PRAGMA data_version = 5",
      "PRAGMA page_size = 8192",
      "SELECT sqlite_version()",
      "CREATE TEMP TABLE t (x)",
      "ATTACH 'a' AS b",
      "CREATE VIRTUAL TABLE v USING fts5abcd(id)",
    ]) {
      assert.throws(() => sql.exec(statement), /not authorized/);
    }
    assert.throws(() => sql.exec(Array(6).fill("SELECT 1").join(" UNION ALL ")), /too many terms in compound SELECT/);
    sql.exec("CREATE TABLE myTable (foo TEXT, bar INTEGER)");
    assert.deepEqual(
      sql
        .exec("PRAGMA table_info(myTable)")
        .toArray()
        .map((column) => column["name"]),
      ["foo", "bar"],
    );
    assert.throws(() => sql.exec("PRAGMA table_info(_cf_KV)"), /not authorized/);
    assert.deepEqual([...sql.exec("PRAGMA quick_check(100)")], [{ quick_check: "ok" }]);
    sql.exec("PRAGMA case_sensitive_like = TRUE");
    assert.equal(sql.exec("PRAGMA foreign_keys").one()["foreign_keys"], 1);
    sql.exec("ANALYZE; PRAGMA optimize");
  });
});

test("rows that were read and written are counted", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    sql.exec("CREATE TABLE counted (id INTEGER PRIMARY KEY, value TEXT)");
    const insert = sql.exec("INSERT INTO counted (value) VALUES ('a'), ('b'), ('c')");
    assert.equal(insert.rowsWritten, 3);
    const cursor = sql.exec("SELECT * FROM counted");
    cursor.next();
    assert.equal(cursor.rowsRead, 2); // one ahead
    cursor.toArray();
    assert.deepEqual([cursor.rowsRead, cursor.rowsWritten], [3, 0]);
    assert.equal(sql.exec("SELECT * FROM counted WHERE id = 2").rowsRead, 1);
    assert.equal(sql.exec("DELETE FROM counted WHERE id > 1").rowsWritten, 2);
  });
});

test("the size of the database counts pages in use", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    assert.equal(sql.databaseSize, 0);
    sql.exec("CREATE TABLE sized (x)");
    assert.equal(sql.databaseSize, 8192);
    sql.exec("DROP TABLE sized");
    assert.equal(sql.databaseSize, 4096);
  });
});

test("transactionSync undoes SQL and keys of a callback that throws", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    const count = () => sql.exec("SELECT count(*) AS n FROM t").one()["n"];
    sql.exec("CREATE TABLE t (x)");
    const result = storage.transactionSync(() => {
      sql.exec("INSERT INTO t VALUES (1)");
      storage.kv.put("kept", 1);
      return "done";
    });
    assert.equal(result, "done");
    assert.throws(
      () =>
        storage.transactionSync(() => {
          sql.exec("INSERT INTO t VALUES (2)");
          storage.kv.put("kept", 2);
          storage.transactionSync(() => sql.exec("INSERT INTO t VALUES (3)"));
          assert.throws(
            () =>
              storage.transactionSync(() => {
                sql.exec("DELETE FROM t");
                throw new Error("inner");
              }),
            /inner/,
          );
          assert.equal(count(), 3);
          sql.exec("SELECT * FROM misspelled");
        }),
      /no such table: misspelled/,
    );
    assert.deepEqual([count(), storage.kv.get("kept")], [1, 1]);
  });
});

test("a deferred foreign key that is not met rolls its transaction back", inEngine, () => {
  new Lab().run(({ storage }) => {
    const { sql } = storage;
    sql.exec("CREATE TABLE users (id INTEGER PRIMARY KEY); CREATE TABLE posts (user REFERENCES users(id))");
    assert.throws(() => sql.exec("INSERT INTO posts VALUES (1)"), /FOREIGN KEY constraint failed/);
    storage.transactionSync(() => {
      sql.exec("PRAGMA defer_foreign_keys = ON");
      sql.exec("INSERT INTO posts VALUES (1)");
      sql.exec("INSERT INTO users VALUES (1)");
    });
    assert.throws(
      () =>
        storage.transactionSync(() => {
          storage.kv.put("undone", 1);
          sql.exec("PRAGMA defer_foreign_keys = ON");
          sql.exec("INSERT INTO posts VALUES (2)");
        }),
      /FOREIGN KEY constraint failed/,
    );
    assert.equal(sql.exec("SELECT count(*) AS n FROM posts").one()["n"], 1);
    assert.equal(storage.kv.get("undone"), undefined);
  });
});

test("transaction() undoes SQL across awaits, also with another one inside", inEngine, () => {
  const lab = new Lab();
  lab.run(async ({ storage }) => {
    const { sql } = storage;
    sql.exec("CREATE TABLE t (x)");
    await storage.transaction(async (own) => {
      sql.exec("INSERT INTO t VALUES (1)");
      await storage.put("a", 1);
      own.rollback();
    });
    assert.equal(sql.exec("SELECT count(*) AS n FROM t").one()["n"], 0);
    await storage.transaction(async () => {
      sql.exec("INSERT INTO t VALUES (2)");
      await assert.rejects(
        storage.transaction(async () => {
          await null;
          sql.exec("INSERT INTO t VALUES (3)");
          throw new Error("no");
        }),
        /no/,
      );
    });
    // The one that began first ends first.
    const first = storage.transaction(async () => {
      sql.exec("INSERT INTO t VALUES (4)");
      await null;
      await null;
    });
    const second = storage.transaction(async () => {
      sql.exec("INSERT INTO t VALUES (5)");
      await first;
    });
    await second;
    assert.deepEqual(sql.exec("SELECT x FROM t").raw().next().value, [2]);
  });
  lab.room.hibernate();
  lab.run(({ storage }) => {
    const rows = storage.sql.exec("SELECT x FROM t").toArray();
    assert.deepEqual(
      rows.map(({ x }) => x),
      [2, 4, 5],
    );
  });
});

test("a rollback that would take a later transaction with it fails the turn", inEngine, () => {
  const lab = new Lab();
  lab.run(({ storage }) => void storage.sql.exec("CREATE TABLE t (x)"));
  assertFails(() =>
    lab.run(async ({ storage }) => {
      const { sql } = storage;
      let go = () => {};
      const first = storage.transaction(async (own) => {
        sql.exec("INSERT INTO t VALUES (1)");
        await null;
        await null;
        own.rollback();
      });
      const second = storage.transaction(async () => {
        sql.exec("INSERT INTO t VALUES (2)");
        await new Promise<void>((done) => (go = done));
      });
      await first.catch(() => {});
      go();
      await second;
    }),
  );
  lab.run(({ storage }) => assert.equal(storage.sql.exec("SELECT count(*) AS n FROM t").one()["n"], 0));
});

const assertFails = (run: () => unknown): void => {
  try {
    run();
  } catch (error) {
    if (/a transaction that began later is open/.test(String(error))) return;
    throw error;
  }
  throw new Error("the turn should fail");
};

test("deleteAll deletes the database as well", inEngine, () => {
  const lab = new Lab();
  lab.run(async ({ storage }) => {
    storage.sql.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    await storage.put("a", 1);
  });
  lab.run(async ({ storage }) => {
    await storage.deleteAll();
    assert.equal(storage.sql.databaseSize, 0);
    assert.throws(() => storage.sql.exec("SELECT * FROM t"), /no such table/);
    storage.sql.exec("CREATE TABLE t (x)");
  });
  lab.room.hibernate();
  lab.run(({ storage }) => assert.deepEqual(storage.sql.exec("SELECT * FROM t").toArray(), []));
});

test("after a handler that throws its SQL stays, as its keys do", inEngine, () => {
  const lab = new Lab();
  lab.run(({ storage }) => void storage.sql.exec("CREATE TABLE t (x)"));
  try {
    lab.run(({ storage }) => {
      storage.sql.exec("INSERT INTO t VALUES (1)");
      throw new Error("after it");
    });
  } catch {}
  lab.room.hibernate();
  lab.run(({ storage }) => assert.equal(storage.sql.exec("SELECT count(*) AS n FROM t").one()["n"], 1));
});
