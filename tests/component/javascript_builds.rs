//! `dormouse build`: bundles that become components, and the errors of those that do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use dormouse_test::{Decision, Message, Request, TestRoom, TestRouter};
use tempfile::TempDir;

const ENGINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/javascript/dormouse-engine.wasm");

/// The folder of esbuild: that of the packages for rooms in TypeScript.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/javascript/node_modules/.bin");

/// Runs `dormouse build` in a folder.
fn build(folder: &Path, args: &[&str]) -> Output {
    assert!(Path::new(ENGINE).is_file(), "the JavaScript engine is not built: run `make javascript-engine`");
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .args(["build", "-o", "room.wasm", "--engine", ENGINE])
        .args(args)
        .current_dir(folder)
        .env("PATH", format!("{TOOLS}:{path}"))
        .output()
        .expect("the program can be run")
}

/// A folder with these files.
fn project(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    folder
}

/// Builds one file, which is a bundle already.
fn built(source: &str) -> TempDir {
    let folder = project(&[("room.js", source)]);
    let output = build(folder.path(), &["room.js", "--no-bundle"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

fn room(source: &str) -> TestRoom {
    TestRoom::of_file(built(source).path().join("room.wasm"))
}

/// The error of a file that cannot be built.
fn error(source: &str) -> String {
    let folder = project(&[("room.js", source)]);
    let output = build(folder.path(), &["room.js", "--no-bundle"]);
    assert!(!output.status.success() && !folder.path().join("room.wasm").exists());
    String::from_utf8(output.stderr).unwrap()
}

fn assert_error(source: &str, parts: &[&str]) {
    let error = error(source);
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(error.starts_with("dormouse: room.js: ") && !error.contains("wasm backtrace"), "{error}");
}

/// The component of `tests/guests/javascript/sql.js`, in the engine with SQL.
pub(crate) fn sql_room() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, file) = BUILT.get_or_init(|| {
        let folder = built(include_str!("../guests/javascript/sql.js"));
        let file = folder.path().join("room.wasm");
        (folder, file)
    });
    file
}

/// The component of `tests/guests/javascript/room.js`.
pub(crate) fn test_room() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, file) = BUILT.get_or_init(|| {
        let folder = built(include_str!("../guests/javascript/room.js"));
        let file = folder.path().join("room.wasm");
        (folder, file)
    });
    file
}

#[test]
fn an_object_a_class_and_registered_hooks_are_rooms() {
    for source in [
        "import * as host from 'dormouse:host'; export default { message(socket, text) { host.send(socket, text) }, connect() {} }",
        "import { send } from 'dormouse:host'; export default class { connect() {} message(socket, text) { send(socket, text) } }",
        "import * as host from 'dormouse:host'; host.serve({ connect() {}, message: (socket, text) => host.send(socket, text) })",
        "import { serve, send } from 'dormouse:host'; class Kit { static [Symbol.for('dormouse.serve')](own) { serve(own.hooks) }; \
         static hooks = { connect() {}, message: async (socket, text) => send(socket, text) } } export default class extends Kit {}",
    ] {
        let mut room = room(source);
        let ana = room.join("ana");
        room.send(&ana, "\"hello\"");
        assert_eq!(ana.received(), ["hello"], "{source}");
    }
}

/// The interfaces of the contract among these imports.
fn interfaces(imports: &[String]) -> Vec<String> {
    let ours = imports.iter().filter_map(|import| import.strip_prefix("dormouse:room/"));
    let mut names = ours.map(|name| name.split('@').next().unwrap().to_owned()).collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn a_component_imports_only_what_its_bundle_needs() {
    let plain = room("export default {}");
    assert_eq!(interfaces(plain.imports()), ["access", "context", "sockets", "storage", "timers", "types", "upgrade"]);
    let connected = room("export default { world: 'connected-room' }");
    assert_eq!(
        interfaces(connected.imports()),
        ["access", "context", "outbox", "rooms", "sockets", "storage", "timers", "types", "upgrade"]
    );
    let folder = built(
        "import { permissionsIn } from 'dormouse:host'; export default { world: 'router', route: (request) => \
         request.path === '/me' ? { respond: { status: 200, body: `${permissionsIn('ROOMS', 'x')}` } } : \
         { request: { namespace: 'ROOMS', name: 'lobby', request } } }",
    );
    let router = TestRouter::of_file(folder.path().join("room.wasm"));
    assert_eq!(interfaces(router.imports()), ["access", "context", "grants", "types"]);
    assert!(matches!(router.route(Request::get("/me")), Decision::Respond(response) if response.status == 200));
    match router.route(Request::get("/messages")) {
        Decision::Request { name, request, .. } => {
            assert_eq!((name.as_str(), request.path.as_str()), ("lobby", "/messages"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_router_that_calls_rooms_imports_no_more_than_that() {
    let folder = built(
        "import { call } from 'dormouse:host'; export default { world: 'connected-router', route: (request) => \
         ({ respond: { status: 200, body: call('ROOMS', 'lobby', request) } }) }",
    );
    let router = TestRouter::of_file(folder.path().join("room.wasm"));
    assert_eq!(interfaces(router.imports()), ["access", "context", "grants", "rooms", "types"]);
    match router.route(Request::get("/me")) {
        Decision::Respond(response) => assert_eq!(response.body, b"denied"),
        other => panic!("{other:?}"),
    }
    assert_error(
        "export default { world: 'connected-router', outbound: true, route() {} }",
        &["a router reaches no servers"],
    );
}

#[test]
fn only_a_room_that_asks_for_servers_imports_requests_to_them() {
    for (outbound, is_imported) in [("true", true), ("false", false)] {
        let folder = built(&format!("export default {{ outbound: {outbound}, request() {{}} }}"));
        let engine = dormouse::guest::Engine::new(Default::default()).unwrap();
        let room = engine.room("room", &fs::read(folder.path().join("room.wasm")).unwrap()).unwrap();
        let imports = room.imports().iter().any(|import| import.starts_with("wasi:http/"));
        assert_eq!((imports, room.is_connected()), (is_imported, is_imported), "{:?}", room.imports());
    }
}

#[test]
fn the_engine_and_a_small_component_stay_small() {
    let engine = fs::metadata(ENGINE).unwrap().len();
    assert!(engine < 2_500_000, "the engine has {engine} B");
    let component = fs::metadata(test_room()).unwrap().len();
    assert!(component < 2_900_000, "a small component has {component} B");
}

#[test]
fn only_a_bundle_that_uses_sql_gets_the_engine_with_sql() {
    let bytes = |folder: &TempDir| fs::metadata(folder.path().join("room.wasm")).unwrap().len();
    let source = "import * as host from 'dormouse:host'; export default { connect() {}, message: (socket) => host.send(socket, ask()) }; \
                  const ask = () => { try { return `${host.hasSql()} ${host.sqlSize()}` } catch (error) { return error.message } };";
    let plain = built(source);
    let with_sql = built(&format!("{source} /* ctx.storage.sql */"));
    assert!(bytes(&with_sql) > bytes(&plain) + 500_000);
    let folder = project(&[("room.js", source)]);
    assert!(build(folder.path(), &["room.js", "--no-bundle", "--sql"]).status.success());
    assert!(bytes(&folder) > bytes(&plain) + 500_000);
    for (folder, answer) in [(plain, "build it with `dormouse build --sql`"), (with_sql, "true 0")] {
        let mut room = TestRoom::of_file(folder.path().join("room.wasm"));
        let ana = room.join("ana");
        room.send(&ana, "ask");
        let dormouse_test::Message::Text(text) = ana.received_raw().remove(0) else { panic!("bytes") };
        assert!(text.contains(answer), "{text}");
    }
    fs::copy(ENGINE, folder.path().join("alone.wasm")).unwrap();
    let args = ["build", "room.js", "--no-bundle", "--sql", "-o", "room.wasm", "--engine", "alone.wasm"];
    let program = env!("CARGO_BIN_EXE_dormouse");
    let output = Command::new(program).args(args).current_dir(folder.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("alone-sql.wasm is no file"), "{error}");
}

#[test]
fn the_same_bundle_gives_the_same_component() {
    let source = "const cache = new Map([[{}, Symbol('x')]]); export default { message() { return cache } }";
    let read = |folder: &TempDir| fs::read(folder.path().join("room.wasm")).unwrap();
    assert!(read(&built(source)) == read(&built(source)), "two builds differ");
}

#[test]
fn the_top_level_runs_at_build_time_and_its_memory_is_kept() {
    let folder = project(&[(
        "room.js",
        "import * as host from 'dormouse:host'; const table = Array.from({ length: 1000 }, (_, n) => n * n); await null; \
         console.log('made', table.length); export default { connect(_, socket) { host.send(socket, `${table[31]}`) } }",
    )]);
    let output = build(folder.path(), &["room.js", "--no-bundle"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("info: made 1000\n") && printed.contains("made room.wasm: a room, "), "{printed}");
    let mut room = TestRoom::of_file(folder.path().join("room.wasm"));
    assert_eq!(room.join("ana").received(), [961]);
}

#[test]
fn a_top_level_that_asks_for_a_room_a_clock_or_chance_is_refused() {
    for (source, name) in [
        ("host.get('x')", "host.get"),
        ("host.putValue('x', 1)", "host.putValue"),
        ("host.socketIds()", "host.socketIds"),
        ("host.config('x')", "host.config"),
        ("Date.now()", "Date.now"),
        ("new Date()", "new Date"),
        ("class Mine extends Date {}; new Mine()", "new Date"),
        ("Math.random()", "Math.random"),
        ("crypto.randomUUID()", "crypto.getRandomValues"),
    ] {
        let source = format!("import * as host from 'dormouse:host';\nconst ask = () => {{ {source} }};\nask();\n");
        assert_error(&source, &[name, "not available while the module is loaded", "room.js:2:"]);
    }
}

#[test]
fn a_bundle_that_cannot_be_loaded_is_refused_with_its_place() {
    assert_error("export default {\n  message( }\n};\n", &["SyntaxError", "room.js:2:"]);
    assert_error("let x = 1;\nfoo();\nexport default {}", &["ReferenceError: foo is not defined", "room.js:2:"]);
    assert_error("import fs from 'node:fs'; export default {}", &["cannot import \"node:fs\"", "Node.js"]);
    assert_error("import { x } from './rules.js'; export default {}", &["cannot import \"./rules.js\"", "bundle"]);
    assert_error("import { nothing } from 'dormouse:host'; export default {}", &["nothing"]);
    assert_error("export const room = {}", &["no default export", "export default class"]);
    assert_error("export default { message: 7 }", &["`message` is not a function"]);
    assert_error("export default { world: 'actor' }", &["\"actor\""]);
    assert_error("export default { world: 'router' }", &["`route`"]);
    assert_error("export default { migrate() {} }", &["`dataVersion`"]);
    assert_error("export default { exportUser() {} }", &["`eraseUser`"]);
    assert_error("await new Promise(() => {}); export default {}", &["awaits something that never comes"]);
    assert_error("throw 7", &["7"]);
}

#[test]
fn a_top_level_is_limited() {
    assert_error("for (;;);", &["does not come to an end"]);
    assert_error("const x = []; for (;;) x.push(new Uint8Array(1 << 20));", &["more than 64 MiB of memory"]);
    assert_error("const f = () => f() + 1; f();", &["Maximum call stack size exceeded"]);
}

#[test]
fn typescript_is_bundled_and_errors_name_its_lines() {
    let rules = "export interface Rule { max: number }\n\nexport const check = (said: string, rule: Rule): string => {\n  \
                 if (said.length > rule.max) throw new RangeError(`above ${rule.max}`);\n  return said;\n};\n";
    let entry = "import * as host from \"dormouse:host\";\nimport { check } from \"./rules\";\n\nexport default class {\n  \
                 connect(): void {}\n  message(sender: string, said: string): void {\n    \
                 host.send(sender, check(said, { max: 10 }));\n  }\n}\n";
    let folder = project(&[("src/room.ts", entry), ("src/rules.ts", rules)]);
    let output = build(folder.path(), &["src/room.ts"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut room = TestRoom::of_file(folder.path().join("room.wasm"));
    let ana = room.join("ana");
    room.send(&ana, "7");
    assert_eq!(ana.received(), [7]);
    let failure = room.try_send(&ana, dormouse_test::Message::Text("too much of it".into())).unwrap_err().to_string();
    assert!(failure.contains("RangeError: above 10"), "{failure}");
    assert!(failure.contains("src/rules.ts:4:") && failure.contains("src/room.ts:7:"), "{failure}");
}

#[test]
fn errors_of_the_bundler_are_shown_with_advice() {
    let folder =
        project(&[("room.ts", "import fs from \"fs\";\nexport default { message() { fs.readFileSync(\"x\"); } };\n")]);
    let output = build(folder.path(), &["room.ts"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("room.ts:1:15") && error.contains("no Node.js"), "{error}");

    let folder = project(&[("room.ts", "export default { message( };\n")]);
    let output = build(folder.path(), &["room.ts"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("room.ts:1:"), "{error}");

    for (args, reason) in [
        (&["missing.ts"][..], "missing.ts is no file"),
        (&["wrangler.toml"], "wrangler.toml is not read: write the same as wrangler.jsonc"),
        (&["wrangler.jsonc"], "wrangler.jsonc is no file"),
        (&["wrangler.jsonc", "--no-bundle"], "has several modules"),
        (&["room.ts", "--no-bundle"], "TypeScript, which must be bundled"),
        (&["room.ts", "--no-bundle", "--", "--minify"], "cannot be used"),
    ] {
        let output = build(folder.path(), args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(reason), "{error}");
    }
}

#[test]
fn a_module_of_node_is_refused_with_its_place_and_our_advice() {
    for name in ["fs", "node:path"] {
        let folder = project(&[("room.ts", &format!("export default {{}};\nimport {{ x }} from \"{name}\";\nx();\n"))]);
        let output = build(folder.path(), &["room.ts"]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("room.ts:2:18") && error.contains("It is a part of Node.js"), "{error}");
        assert!(!error.contains("--platform"), "{error}");
    }
}

#[test]
fn a_missing_engine_is_an_error_that_says_where_to_get_it() {
    let folder = project(&[("room.js", "export default {}")]);
    let program = folder.path().join("bin/dormouse");
    fs::create_dir(folder.path().join("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_dormouse"), &program).unwrap();
    let build = || {
        let mut command = Command::new(&program);
        command.args(["build", "room.js", "--no-bundle", "-o", "room.wasm"]).current_dir(folder.path());
        command.env_remove("DORMOUSE_ENGINE").output().unwrap()
    };
    let error = String::from_utf8(build().stderr).unwrap();
    for part in ["bin/dormouse-engine.wasm", "share/dormouse/dormouse-engine.wasm", "make javascript-engine"] {
        assert!(error.contains(part), "{error}");
    }
    fs::create_dir_all(folder.path().join("share/dormouse")).unwrap();
    fs::copy(ENGINE, folder.path().join("share/dormouse/dormouse-engine.wasm")).unwrap();
    let output = build();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_value_that_cannot_be_stored_is_named_with_its_place() {
    let folder = project(&[(
        "room.ts",
        "import * as host from \"dormouse:host\";\nexport default class {\n  connect(): void {}\n  message(): void {\n    \
         host.putValue(\"x\", { rules: { check: () => 1 } });\n  }\n}\n",
    )]);
    let output = build(folder.path(), &["room.ts"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut room = TestRoom::of_file(folder.path().join("room.wasm"));
    let ana = room.join("ana");
    let failed = room.try_send(&ana, Message::Text("x".into())).unwrap_err().to_string();
    for part in ["DataCloneError", "() => 1 could not be cloned: keep data alone", "room.ts:5"] {
        assert!(failed.contains(part), "{part:?} is not in {failed}");
    }
}

#[test]
fn a_file_that_is_no_engine_is_refused() {
    let folder = project(&[("room.js", "export default {}"), ("engine.wasm", "\0asm\u{1}\0\0\0")]);
    for engine in ["engine.wasm", "room.js"] {
        let output = Command::new(env!("CARGO_BIN_EXE_dormouse"))
            .args(["build", "room.js", "--no-bundle", "-o", "room.wasm", "--engine", engine])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("make javascript-engine"), "{error}");
    }
}

#[test]
fn a_handler_that_waits_for_a_later_turn_is_let_go_if_the_bundle_says_so() {
    let mut room = room(
        "import * as host from 'dormouse:host'; let go, soon = []; host.serve({ connect() {}, \
         async message(socket, text) { \
           if (text === 'wait') { host.send(socket, '\"begins\"'); await new Promise((done) => { go = done }); host.send(socket, '\"goes on\"') } \
           else if (text === 'soon') { await new Promise((done) => soon.push(done)); host.send(socket, '\"soon\"') } \
           else go() }, \
         idle: () => { const [next, ...rest] = soon; soon = rest; next?.(); return next !== undefined }, \
         unsettled: (event) => console.info('unsettled', event) })",
    );
    let ana = room.join("ana");
    room.send(&ana, "soon");
    assert_eq!(ana.received(), ["soon"], "`idle` has started more");
    room.send(&ana, "wait");
    assert_eq!(ana.received(), ["begins"], "the turn is kept without the rest");
    assert!(room.log().iter().any(|line| line.contains("unsettled message")));
    room.send(&ana, "go");
    assert_eq!(ana.received(), ["goes on"]);
}

#[test]
fn personal_data_and_migrations_are_exported_if_the_bundle_has_them() {
    let mut room = room(
        "import * as host from 'dormouse:host'; export default class { static dataVersion = 2; \
         static migrate(from) { if (from > 1) throw new Error('too new'); host.putValue('said', [`from ${from}`, 'x']) } \
         exportUser(user, after) { return after ? { items: ['\"last\"'] } : { items: [JSON.stringify({ user })], next: '1' } } \
         eraseUser() { host.remove('said'); return { items: 2 } } }",
    );
    assert_eq!(room.migrate(0), 2);
    assert_eq!(room.storage().len(), 1);
    assert_eq!(room.export_user("7"), [serde_json::json!({ "user": "7" }), serde_json::json!("last")]);
    assert_eq!(room.erase_user("7"), 2);
    assert!(room.storage().is_empty());
}
