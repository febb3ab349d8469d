//! SQL in the JavaScript engine: its changes are those of the turn, whatever statements a room runs.

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse_test::{Fault, Message, TestClient, TestRoom};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::javascript_builds::sql_room;

dormouse_test::with_and_without_hibernation! { room();
    sql_survives_sleep_and_restarts,
    a_failed_turn_leaves_no_trace_in_the_database,
    transactions_are_undone_alone,
    too_many_changed_pages_lose_only_the_last_statement,
    random_statements_and_faults_leave_what_was_committed,
}

fn room() -> TestRoom {
    TestRoom::of_file(sql_room())
}

/// The answer to a script.
fn ask(room: &mut TestRoom, client: &TestClient, script: &str) -> Value {
    room.send(client, script);
    client.received().pop().unwrap_or_else(|| panic!("{script} gets no answer; {:?}", room.log()))
}

/// The failure of a script.
fn failure(room: &mut TestRoom, client: &TestClient, script: &str) -> String {
    let failed = room.try_send(client, Message::Text(script.into()));
    failed.expect_err(&format!("{script} should fail")).to_string()
}

/// A room with a table of numbers.
fn with_numbers(room: &mut TestRoom) -> TestClient {
    let ana = room.join("ana");
    room.send(&ana, "sql('CREATE TABLE numbers (n INTEGER PRIMARY KEY, text TEXT)')");
    room.send(&ana, "sql('INSERT INTO numbers VALUES (1, ?), (2, ?)', 'one', 'two')");
    let _ = ana.received();
    ana
}

fn sql_survives_sleep_and_restarts(mut room: TestRoom) {
    let ana = with_numbers(&mut room);
    let rows = json!([{ "n": 1, "text": "one" }, { "n": 2, "text": "two" }]);
    assert_eq!(ask(&mut room, &ana, "return sql('SELECT * FROM numbers')"), rows);
    room.restart();
    let bo = room.join("bo");
    assert_eq!(ask(&mut room, &bo, "return sql('SELECT * FROM numbers')"), rows);
    assert_eq!(ask(&mut room, &bo, "return sql('PRAGMA quick_check')"), json!([{ "quick_check": "ok" }]));
    // Keys that are texts do not meet those of SQL.
    assert_eq!(ask(&mut room, &bo, "return host.list({ end: 'zzzz' }).length"), 0);
    let backup = room.backup();
    room.send(&bo, "sql('DROP TABLE numbers')");
    room.restore(&backup);
    let cy = room.join("cy");
    assert_eq!(ask(&mut room, &cy, "return sql('SELECT * FROM numbers')"), rows);
}

fn a_failed_turn_leaves_no_trace_in_the_database(mut room: TestRoom) {
    let ana = with_numbers(&mut room);
    let change = "sql('DELETE FROM numbers WHERE n = 1'); sql('CREATE TABLE more (x)'); host.putValue('kept', 1);";
    let is_unchanged = |room: &mut TestRoom| {
        let bo = room.join("bo");
        let script = "return [value('SELECT count(*) FROM numbers'), error(() => sql('SELECT * FROM more')), \
                      host.getValue('kept') ?? null, value('PRAGMA quick_check')]";
        let answer = ask(room, &bo, script);
        assert_eq!(answer, json!([2, "Error: no such table: more: SQLITE_ERROR", null, "ok"]));
    };
    failure(&mut room, &ana, &format!("{change} throw new Error('no')"));
    is_unchanged(&mut room);
    for fault in [Fault::OutOfCpu, Fault::OutOfMemory, Fault::CommitFails, Fault::Crash] {
        let ana = room.join("ana");
        room.fail_next_turn(fault);
        failure(&mut room, &ana, change);
        is_unchanged(&mut room);
    }
}

fn transactions_are_undone_alone(mut room: TestRoom) {
    let ana = with_numbers(&mut room);
    let script = "sql('INSERT INTO numbers VALUES (3, null)'); \
        const first = transaction(() => { sql('DELETE FROM numbers'); throw new Error('a') }); \
        const second = transaction(() => { \
            sql('INSERT INTO numbers VALUES (4, null)'); \
            transaction(() => { sql('DELETE FROM numbers'); sql('nonsense') }); \
            sql('INSERT INTO numbers VALUES (5, null)'); \
        }); \
        return [first, second ?? null, sql('SELECT n FROM numbers').map(({ n }) => n)]";
    assert_eq!(ask(&mut room, &ana, script), json!(["a", null, [1, 2, 3, 4, 5]]));
    assert_eq!(ask(&mut room, &ana, "return value('SELECT count(*) FROM numbers')"), 5);
    let script = "host.sqlBegin(); sql('DELETE FROM numbers WHERE n > 2')";
    room.send(&ana, script);
    assert!(room.log().iter().any(|line| line.contains("a transaction is still open at the end of its event")));
    assert_eq!(ask(&mut room, &ana, "return value('SELECT count(*) FROM numbers')"), 2);
}

fn too_many_changed_pages_lose_only_the_last_statement(mut room: TestRoom) {
    let ana = with_numbers(&mut room);
    let fill = "const fill = (n) => sql(`INSERT INTO numbers (text) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 \
                FROM c LIMIT ${n}) SELECT hex(zeroblob(1000)) FROM c`);";
    let script = format!("{fill} fill(5000); return error(() => fill(5000))");
    let error = ask(&mut room, &ana, &script);
    assert!(
        error.as_str().unwrap().starts_with("Error: database or disk is full: SQLITE_FULL; one event changes"),
        "{error}"
    );
    let script = "return [value('SELECT count(*) FROM numbers'), value('PRAGMA quick_check')]";
    assert_eq!(ask(&mut room, &ana, script), json!([5002, "ok"]));
    // In a transaction, all of it is lost, and the event goes on.
    let script = format!(
        "{fill} sql('DELETE FROM numbers WHERE n < 1000'); \
         const number = host.sqlBegin(); fill(1000); const full = error(() => fill(9000)); fill(1); \
         return [full.slice(0, 33), error(() => host.sqlCommit(number)), value('SELECT count(*) FROM numbers')]"
    );
    let answer = ask(&mut room, &ana, &script);
    assert_eq!((&answer[0], &answer[2]), (&json!("Error: database or disk is full: "), &json!(4004)), "{answer}");
    assert!(answer[1].as_str().unwrap().contains("Cannot commit transaction due to an earlier SQL critical error"));
    // With other writes above the limit of the turn, the turn is lost as a whole.
    let error = failure(
        &mut room,
        &ana,
        &format!(
            "{fill} fill(6000); for (const n of [1, 2, 3]) \
        host.put(`k${{n}}`, new Uint8Array(2 << 20));"
        ),
    );
    assert!(error.contains("the event has written more than 16 MiB"), "{error}");
    assert_eq!(ask(&mut room, &ana, script_of_state()), json!([4004, "ok", 0]));
}

fn script_of_state() -> &'static str {
    "return [value('SELECT count(*) FROM numbers'), value('PRAGMA quick_check'), host.list({ end: 'zz' }).length]"
}

/// Runs random statements, against a map: some turns fail, some sleep between them.
fn random_statements_and_faults_leave_what_was_committed(mut room: TestRoom) {
    let seed = std::env::var("DORMOUSE_TEST_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("DORMOUSE_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ana = with_numbers(&mut room);
    room.send(&ana, "sql('CREATE INDEX by_text ON numbers (text)')");
    let mut model = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
    for _ in 0..60 {
        let before = model.clone();
        let mut script = String::new();
        for _ in 0..rng.random_range(1..6) {
            let (n, text) =
                (rng.random_range(1..200_i64), format!("{:0>1$}", rng.random_range(0..9), rng.random_range(1..3000)));
            match rng.random_range(0..4) {
                0 => {
                    model.retain(|key, _| *key < n || *key >= n + 20);
                    script += &format!("sql('DELETE FROM numbers WHERE n >= {n} AND n < {}');", n + 20);
                }
                1 => {
                    script += &format!(
                        "transaction(() => {{ sql('DELETE FROM numbers WHERE n < {n}'); throw new Error('no') }});"
                    )
                }
                _ => {
                    model.insert(n, text.clone());
                    script += &format!("sql('INSERT OR REPLACE INTO numbers VALUES (?, ?)', {n}, '{text}');");
                }
            }
        }
        match rng.random_range(0..6) {
            0 => {
                room.fail_next_turn(Fault::Crash);
                failure(&mut room, &ana, &script);
                ana = room.join("ana");
                model = before;
            }
            1 => {
                failure(&mut room, &ana, &format!("{script} throw new Error('no')"));
                model = before;
            }
            2 => {
                room.send(&ana, &script);
                room.hibernate();
            }
            _ => room.send(&ana, &script),
        }
    }
    let _ = ana.received();
    let stored =
        ask(&mut room, &ana, "return sql('SELECT n, text FROM numbers ORDER BY n').map(({ n, text }) => [n, text])");
    assert_eq!(stored, json!(model.into_iter().collect::<Vec<_>>()));
    assert_eq!(ask(&mut room, &ana, "return value('PRAGMA quick_check')"), "ok");
}

#[test]
fn a_page_that_many_statements_change_is_stored_once() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    let script = "for (let n = 0; n < 3000; n++) sql('INSERT INTO numbers (text) VALUES (?)', 'x'.repeat(40)); \
                  return host.sqlSize()";
    let bytes = ask(&mut room, &ana, script).as_u64().unwrap();
    assert_eq!(bytes, 4096 * (room.storage().len() as u64 - 1));
}

#[test]
fn chance_and_time_of_statements_are_the_turns() {
    let mut room = room();
    let ana = room.join("ana");
    let script = "return [value('SELECT random()'), value(\"SELECT unixepoch('subsec') * 1000\"), value('SELECT hex(randomblob(4))')]";
    let first = ask(&mut room, &ana, script);
    assert_eq!(first[1].as_f64().unwrap() as u64, room.now());
    room.advance(Duration::from_millis(1500));
    let second = ask(&mut room, &ana, script);
    assert_eq!(second[1].as_f64().unwrap() as u64, room.now());
    assert_ne!(first[0], second[0]);
    // The test kit runs the event again, in a new instance with the same seed, and compares.
    room.replay().unwrap();
}

#[test]
fn a_statement_without_end_loses_its_turn() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    for statement in [
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT count(*) FROM c",
        "INSERT INTO numbers (text) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT '' FROM c",
        "WITH RECURSIVE c(i) AS (SELECT randomblob(1000000) UNION SELECT randomblob(1000000) FROM c) SELECT count(*) FROM c",
    ] {
        let error = room.try_send(&ana, Message::Text(format!("sql(\"{statement}\")"))).unwrap_err().to_string();
        let expected = ["CPU", "memory", "SQLITE_FULL", "SQLITE_NOMEM", "unreachable"];
        assert!(expected.iter().any(|part| error.contains(part)), "{statement}: {error}");
        assert_eq!(ask(&mut room, &ana, "return value('SELECT count(*) FROM numbers')"), 2);
    }
}

#[test]
fn large_and_deep_statements_are_errors() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    for (script, expected) in [
        ("value('SELECT zeroblob(1000000000)')", "string or blob too big: SQLITE_TOOBIG"),
        ("value('SELECT ?', new Uint8Array(3 << 20))", "string or blob too big: SQLITE_TOOBIG"),
        ("sql('SELECT 1;'.repeat(20000))", "statement too long: SQLITE_TOOBIG"),
        ("sql('SELECT ' + ' not '.repeat(500) + '1')", "Expression tree is too large (maximum depth 100)"),
        ("sql('SELECT 1 IN (' + '?,'.repeat(101) + '?)', ...Array(102).fill(1))", "too many SQL variables"),
        ("sql(`CREATE TABLE wide (${Array.from({ length: 101 }, (_, n) => `c${n}`)})`)", "too many columns on wide"),
        ("value(`SELECT '' LIKE '${'%'.repeat(51)}'`)", "LIKE or GLOB pattern too complex"),
        ("sql('SELECT 1', 1)", "Wrong number of parameter bindings for SQL query."),
        ("sql('SELECT ?; SELECT 1')", "only the last statement can have parameters."),
        ("sql(' -- nothing')", "SQL code did not contain a statement."),
        ("value('SELECT 1 FROM numbers WHERE n = ?', {})", "a Uint8Array is expected, not object"),
    ] {
        let error = ask(&mut room, &ana, &format!("return error(() => {script})"));
        assert!(error.as_str().unwrap().contains(expected), "{script}: {error}");
    }
    let script = "const open = []; for (let n = 0; n < 500; n++) open.push(host.sqlExec('SELECT * FROM numbers', [])); \
                  return open.map((cursor) => host.sqlNext(cursor)[0]).join('')";
    assert_eq!(ask(&mut room, &ana, script), "1".repeat(500));
}

#[test]
fn statements_that_would_break_the_database_are_refused() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    for statement in [
        "ATTACH 'x' AS y",
        "VACUUM",
        "VACUUM INTO 'x'",
        "PRAGMA journal_mode = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA synchronous = OFF",
        "PRAGMA page_size = 8192",
        "PRAGMA max_page_count = 9",
        "CREATE TEMP TABLE t (x)",
        "CREATE TABLE _cf_x (x)",
        "ALTER TABLE numbers RENAME TO _CF_x",
        "CREATE INDEX _cf_i ON numbers (text)",
        "SELECT sqlite_version()",
        "SELECT load_extension('x')",
        "SELECT writefile('a', 'b')",
        "CREATE VIRTUAL TABLE t USING dbstat",
        "DELETE FROM sqlite_master",
    ] {
        let error = ask(&mut room, &ana, &format!("return error(() => sql(\"{statement}\"))"));
        let error = error.as_str().unwrap();
        let expected =
            ["not authorized", "authorization denied", "no such function", "no such module", "may not be modified"];
        assert!(expected.iter().any(|part| error.contains(part)), "{statement}: {error}");
    }
    for statement in ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "BEGIN IMMEDIATE"] {
        let error = ask(&mut room, &ana, &format!("return error(() => sql('{statement}'))"));
        assert!(
            error.as_str().unwrap().contains("please use the state.storage.transaction() or"),
            "{statement}: {error}"
        );
    }
    assert_eq!(ask(&mut room, &ana, "return value('PRAGMA quick_check')"), "ok");
}

#[test]
fn a_deleted_database_is_gone_with_its_cursors() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    // Extensions have statements of their own, which end with their tables.
    room.send(&ana, "sql(`CREATE VIRTUAL TABLE words USING fts5(word); INSERT INTO words VALUES ('tea')`)");
    let _ = ana.received();
    let script = "const cursor = host.sqlExec('SELECT * FROM numbers', []); host.sqlNext(cursor); \
                  sql(\"SELECT * FROM words WHERE words MATCH 'tea'\"); host.sqlDelete(); \
                  return [error(() => host.sqlNext(cursor)), host.sqlNext(cursor) ?? null, host.sqlSize(), \
                  error(() => sql('SELECT * FROM numbers'))]";
    let answer = ask(&mut room, &ana, script);
    assert_eq!(answer[0], "Error: SQL cursor was closed because the database was deleted.");
    assert_eq!((&answer[1], &answer[2]), (&json!(null), &json!(0)));
    assert!(answer[3].as_str().unwrap().contains("no such table: numbers"));
    assert!(room.storage().is_empty());
    let script = "sql('CREATE TABLE numbers (n)'); return value('SELECT count(*) FROM numbers')";
    assert_eq!(ask(&mut room, &ana, script), 0);
    // A turn that fails deletes nothing.
    failure(&mut room, &ana, "host.sqlDelete(); throw new Error('no')");
    assert_eq!(ask(&mut room, &ana, "return value('SELECT count(*) FROM numbers')"), 0);
}

#[test]
fn a_cursor_may_be_kept_between_turns_of_its_instance() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    let open = "memory.cursor = host.sqlExec('SELECT n FROM numbers', []); return host.sqlNext(memory.cursor)";
    assert_eq!(ask(&mut room, &ana, open), json!([1]));
    room.send(&ana, "sql('INSERT INTO numbers VALUES (3, null)')");
    let _ = ana.received();
    let next = "return memory.cursor ? [host.sqlNext(memory.cursor), host.sqlNext(memory.cursor), host.sqlCounts(memory.cursor)] : 0";
    assert_eq!(ask(&mut room, &ana, next), json!([[2], [3], [3, 0]]));
    room.hibernate();
    assert_eq!(ask(&mut room, &ana, next), 0);
}

#[test]
fn a_statement_whose_rows_nobody_reads_has_written_all() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    let script = "const cursor = host.sqlExec(\"INSERT INTO numbers (text) VALUES ('a'), ('b'), ('c') RETURNING n\", []); \
                  memory.cursor = cursor; return [host.sqlNext(cursor), host.sqlCounts(cursor)[1]]";
    assert_eq!(ask(&mut room, &ana, script), json!([[3], 3]));
    assert_eq!(
        ask(&mut room, &ana, "return [...host.sqlNext(memory.cursor), host.sqlIsDone(memory.cursor)]"),
        json!([4, false])
    );
    room.hibernate();
    assert_eq!(ask(&mut room, &ana, "return value('SELECT count(*) FROM numbers')"), 5);
}

#[test]
fn a_prepared_statement_follows_a_table_that_changes() {
    let mut room = room();
    let ana = with_numbers(&mut room);
    let script = "const all = () => sql('SELECT * FROM numbers WHERE n = 1')[0]; const before = all(); \
                  sql('ALTER TABLE numbers ADD COLUMN more DEFAULT 7'); return [before, all()]";
    let rows = json!([{ "n": 1, "text": "one" }, { "n": 1, "text": "one", "more": 7 }]);
    assert_eq!(ask(&mut room, &ana, script), rows);
}

#[test]
fn full_text_search_and_json_are_there() {
    let mut room = room();
    let ana = room.join("ana");
    let script = "sql(`CREATE VIRTUAL TABLE documents USING fts5(title, body, tokenize = porter); \
        INSERT INTO documents VALUES ('tea', 'drinking tea'), ('milk', 'drinks of milk')`); \
        sql(\"INSERT INTO documents(documents) VALUES ('optimize')\"); \
        return [sql(\"SELECT title FROM documents WHERE documents MATCH 'drink' ORDER BY title\").length, \
        value(\"SELECT snippet(documents, 1, '<', '>', '', 3) FROM documents WHERE documents MATCH 'tea'\"), \
        value(`SELECT json_extract('{\"a\":[1,2]}', '$.a[1]')`), value('SELECT round(cos(0) + pow(2, 3))')]";
    assert_eq!(ask(&mut room, &ana, script), json!([2, "drinking <tea>", 2, 9]));
    room.hibernate();
    let script = "return value(\"SELECT count(*) FROM documents WHERE documents MATCH 'milk'\")";
    assert_eq!(ask(&mut room, &ana, script), 1);
}
