//! `dormouse new`: what an author begins with.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use hyper::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{BASE, Server};

/// Dormouse's own source, which is where it is built.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn new_room(program: &Path, folder: &Path, args: &[&str]) -> Output {
    Command::new(program).current_dir(folder).args(["new", "room"]).args(args).output().expect("the binary starts")
}

fn run_dormouse(folder: &Path, args: &[&str]) -> Output {
    new_room(Path::new(env!("CARGO_BIN_EXE_dormouse")), folder, args)
}

fn output_text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn a_new_room_has_all_its_files_and_its_name_in_them() {
    let directory = TempDir::new().unwrap();
    let output = run_dormouse(directory.path(), &["rooms/my-room", "--kit", SOURCE]);
    assert!(output.status.success(), "{}", output_text(&output));
    assert!(output_text(&output).contains("cd rooms/my-room"), "{}", output_text(&output));
    let room = directory.path().join("rooms/my-room");
    let source = fs::canonicalize(SOURCE).unwrap();
    for (file, part) in [
        ("Cargo.toml", "name = \"my-room\""),
        ("Cargo.toml", &format!("path = \"{}\"", source.join("components/kit").display())),
        ("Cargo.toml", &format!("path = \"{}\"", source.join("tests/kit").display())),
        ("src/lib.rs", "dormouse_room::export!"),
        ("tests/room.rs", "TestRoom::of_crate"),
        ("dormouse.toml", "release/my_room.wasm"),
        ("README.md", "# my-room"),
        (".gitignore", "/target/"),
        ("Cargo.lock", "name = \"wasmtime\""),
        ("rust-toolchain.toml", "wasm32-wasip2"),
    ] {
        let text = read(&room.join(file));
        assert!(text.contains(part), "{file} lacks {part}:\n{text}");
        assert!(!text.contains("{{"), "{file} has a blank that was not filled in:\n{text}");
    }
}

#[test]
fn a_new_room_in_typescript_has_all_its_files_and_its_name_in_them() {
    let directory = TempDir::new().unwrap();
    let output = run_dormouse(directory.path(), &["my-room", "--language", "typescript", "--kit", SOURCE]);
    assert!(output.status.success(), "{}", output_text(&output));
    assert!(output_text(&output).contains("npm install\n  npm run dev"), "{}", output_text(&output));
    let room = directory.path().join("my-room");
    let packages = fs::canonicalize(SOURCE).unwrap().join("components/javascript");
    for (file, part) in [
        ("package.json", "\"name\": \"my-room\""),
        ("package.json", &format!("\"file:{}/room\"", packages.display())),
        ("tsconfig.json", "\"strict\": true"),
        ("src/room.ts", "extends Room<"),
        ("tests/room.test.js", "TestRoom.of(\"src/room.ts\")"),
        ("dormouse.toml", "component = \"room.wasm\"\nsource = \"src/room.ts\""),
        ("dormouse.toml", "[admin]"),
        ("README.md", "# my-room"),
        ("README.md", "make javascript-engine"),
        ("README.md", "DORMOUSE_ENGINE"),
        (".gitignore", "/node_modules/"),
    ] {
        let text = read(&room.join(file));
        assert!(text.contains(part), "{file} lacks {part}:\n{text}");
        assert!(!text.contains("{{"), "{file} has a blank that was not filled in:\n{text}");
    }
    let package = serde_json::from_str::<serde_json::Value>(&read(&room.join("package.json"))).unwrap();
    for name in ["@dormouse/bundle", "@dormouse/room", "@dormouse/test"] {
        let path = package["devDependencies"][name].as_str().unwrap().strip_prefix("file:").unwrap();
        let own = read(&Path::new(path).join("package.json"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&own).unwrap()["name"], name);
    }
    assert!(!room.join("Cargo.lock").exists());
}

#[test]
fn a_new_worker_has_all_its_files_and_its_name_in_them() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let output = command.current_dir(&directory).args(["new", "worker", "my-chat", "--kit", SOURCE]).output().unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    assert!(output_text(&output).contains("npm install\n  npm run dev"), "{}", output_text(&output));
    for (file, part) in [
        ("package.json", "\"name\": \"my-chat\""),
        ("package.json", "\"dev\": \"dormouse dev\""),
        ("tsconfig.json", "@cloudflare/workers-types"),
        ("wrangler.jsonc", "\"class_name\": \"ChatRoom\""),
        ("src/index.ts", "export class ChatRoom extends DurableObject"),
        ("public/index.html", "<title>my-chat</title>"),
        ("public/chat.js", "new WebSocket"),
        ("public/style.css", "#lines"),
        ("tests/chat.test.js", "class: \"ChatRoom\""),
        ("dormouse.toml", "router = \"dist/router.wasm\""),
        ("README.md", "DORMOUSE_ENGINE"),
        (".gitignore", "/.dormouse/"),
    ] {
        let text = read(&directory.path().join("my-chat").join(file));
        assert!(text.contains(part), "{file} lacks {part}:\n{text}");
        assert!(!text.contains("{{"), "{file} has a blank that was not filled in:\n{text}");
    }
}

#[test]
fn a_new_router_has_all_its_files_and_its_name_in_them() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let output =
        command.current_dir(&directory).args(["new", "router", "my-router", "--kit", SOURCE]).output().unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    for (file, part) in [
        ("Cargo.toml", "name = \"my-router\""),
        ("src/lib.rs", "dormouse_room::export_router!"),
        ("dormouse.toml", "release/my_router.wasm"),
        ("README.md", "# my-router"),
        (".gitignore", "/target/"),
        ("rust-toolchain.toml", "wasm32-wasip2"),
    ] {
        let text = read(&directory.path().join("my-router").join(file));
        assert!(text.contains(part), "{file} lacks {part}:\n{text}");
        assert!(!text.contains("{{"), "{file} has a blank that was not filled in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_router_builds_passes_its_tests_and_is_served() {
    let directory = Arc::new(TempDir::new().unwrap());
    let mut new = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    new.current_dir(directory.path()).args(["new", "router", "my-router", "--kit", SOURCE]);
    assert!(new.output().unwrap().status.success());
    let router = directory.path().join("my-router");
    let guests = Path::new(env!("CARGO_BIN_EXE_dormouse")).ancestors().nth(2).expect("it is in target").join("guests");
    for args in [&["test"][..], &["build", "--release", "--target", "wasm32-wasip2"]] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&router).args(args).arg("--target-dir").arg(&guests);
        let output = tokio::task::spawn_blocking(move || cargo.output().expect("cargo runs")).await.unwrap();
        assert!(output.status.success(), "{}", output_text(&output));
    }
    let component = "wasm32-wasip2/release/my_router.wasm";
    let expected = directory.path().join("target").join(component);
    fs::create_dir_all(expected.parent().unwrap()).unwrap();
    fs::copy(guests.join(component), expected).unwrap();

    let config = read(&router.join("dormouse.toml"));
    // It declares which namespace it names, so a configuration without that one is refused at start.
    let elsewhere = config.replace("[namespaces.ROOMS]", "[namespaces.CHATS]");
    let refused = Server::try_in_directory(directory.clone(), &elsewhere).await.err().expect("it does not start");
    assert!(refused.contains("names the namespace ROOMS; add [namespaces.ROOMS]"), "{refused}");

    let server = Server::in_directory(directory.clone(), &config).await;
    let posted = server.api(Method::POST, "/chat/lobby/messages", "bo", r#"{"content":"hi"}"#).await.json();
    assert_eq!(posted["message"]["seq"], 1);
    server.api(Method::GET, "/rooms/lobby/messages", "bo", "").await.is_problem(404);
}

#[test]
fn an_invalid_crate_name_is_refused_with_a_suggestion() {
    let directory = TempDir::new().unwrap();
    for (name, better) in [
        ("9lives", "such as my-room"),
        ("Quiz", "such as my-room"),
        ("my room", "such as my-room"),
        ("-x", "unexpected argument"),
        ("..", "such as my-room"),
        ("", "a value is required"),
        ("fn", "such as fn-room"),
        ("dormouse-room", "such as dormouse-room-room"),
        (&"a".repeat(65), "at most 64 are allowed"),
    ] {
        let output = run_dormouse(directory.path(), &[name]);
        assert!(!output.status.success(), "{name}");
        assert!(output_text(&output).contains(better), "{name}: {}", output_text(&output));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "a refused name leaves nothing behind");
}

#[test]
fn existing_files_are_not_overwritten() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("quiz")).unwrap();
    fs::write(directory.path().join("quiz/Cargo.toml"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    for name in ["quiz", "link"] {
        let output = run_dormouse(directory.path(), &[name]);
        assert!(!output.status.success());
        assert!(output_text(&output).contains("exists already"), "{}", output_text(&output));
    }
    assert_eq!(read(&directory.path().join("quiz/Cargo.toml")), "mine");
    assert_eq!(fs::read_dir(directory.path().join("quiz")).unwrap().count(), 1);
}

#[test]
fn a_program_in_its_source_tree_finds_it() {
    let directory = TempDir::new().unwrap();
    let source = directory.path().canonicalize().unwrap().join("source");
    for file in ["components/kit/Cargo.toml", "tests/kit/Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        fs::create_dir_all(source.join(file).parent().unwrap()).unwrap();
        fs::copy(Path::new(SOURCE).join(file), source.join(file)).unwrap();
    }
    let program = source.join("target/debug/dormouse");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_dormouse"), &program).unwrap();
    let output = new_room(&program, directory.path(), &["quiz"]);
    assert!(output.status.success(), "{}", output_text(&output));
    let kit = source.join("components/kit");
    assert!(read(&directory.path().join("quiz/Cargo.toml")).contains(&kit.display().to_string()));
}

#[test]
fn a_program_outside_its_source_tree_asks_for_it() {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("dormouse");
    fs::copy(env!("CARGO_BIN_EXE_dormouse"), &program).unwrap();
    let lost = new_room(&program, directory.path(), &["quiz"]);
    assert!(!lost.status.success());
    assert!(output_text(&lost).contains("give its folder with --kit"), "{}", output_text(&lost));
    let wrong = new_room(&program, directory.path(), &["quiz", "--kit", "."]);
    assert!(output_text(&wrong).contains("is not the folder of Dormouse's source"), "{}", output_text(&wrong));
    assert!(!directory.path().join("quiz").exists());
    let output = new_room(&program, directory.path(), &["quiz", "--kit", SOURCE]);
    assert!(output.status.success(), "{}", output_text(&output));
    assert!(read(&directory.path().join("quiz/Cargo.toml")).contains("components/kit"));
}

/// The steps of its README, except for the target directory: the one of these tests, or it would take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_room_builds_and_is_served_with_its_own_configuration() {
    let directory = Arc::new(TempDir::new().unwrap());
    // Inside another workspace, to which it does not belong.
    fs::write(directory.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    assert!(run_dormouse(directory.path(), &["my-room", "--kit", SOURCE]).status.success());
    let room = directory.path().join("my-room");
    let guests = Path::new(env!("CARGO_BIN_EXE_dormouse")).ancestors().nth(2).expect("it is in target").join("guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&room).args(["build", "--release", "--target", "wasm32-wasip2", "--target-dir"]).arg(&guests);
    let output = tokio::task::spawn_blocking(move || cargo.output().expect("cargo runs")).await.unwrap();
    assert!(output.status.success(), "{}", output_text(&output));
    let component = "wasm32-wasip2/release/my_room.wasm";
    let expected = directory.path().join("target").join(component);
    fs::create_dir_all(expected.parent().unwrap()).unwrap();
    fs::copy(guests.join(component), expected).unwrap();

    // Another test may have the port of its admin listener.
    let config = read(&room.join("dormouse.toml")).replace("127.0.0.1:8788", "127.0.0.1:0");
    let server = Server::in_directory(directory.clone(), &config).await;
    let mut ana = server.join("any", "ana").await;
    ana.send(r#"{"text":"milk"}"#).await;
    let note = json!({ "by": "ana", "text": "milk" });
    assert_eq!(ana.recv().await, note);
    assert_eq!(server.api(Method::GET, "/rooms/any/messages", "bo", "").await.json(), json!([note]));
    assert!(read(&room.join("README.md")).contains(&format!("{BASE}/rooms/any/messages")));
}

/// The tests of a new room, compiled: the file, and the folder of the room.
fn tests_of_a_new_room(directory: &Path) -> (PathBuf, PathBuf) {
    assert!(run_dormouse(directory, &["quiz", "--kit", SOURCE]).status.success());
    let room = directory.join("quiz");
    let mut test = read(&room.join("tests/room.rs"));
    test.push_str(
        "\n#[test]\nfn somebody_who_left_says_something() {\n    let mut room = room();\n    let ana = room.join(\"ana\");\n    \
         room.leave(&ana);\n    room.send(&ana, \"{}\"); // the line to blame\n}\n",
    );
    fs::write(room.join("tests/room.rs"), test).unwrap();
    // Kept from run to run, or it would take half a minute each time.
    let target =
        Path::new(env!("CARGO_BIN_EXE_dormouse")).ancestors().nth(2).expect("it is in target").join("new-room");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&room).args(["test", "--no-run", "--message-format", "json-render-diagnostics", "--target-dir"]);
    let output = cargo.arg(&target).output().expect("cargo runs");
    assert!(output.status.success(), "{}", output_text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let reports = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tests = reports.filter_map(|report| report["executable"].as_str().map(PathBuf::from)).next_back();
    (tests.expect("there is a test"), room)
}

/// The compiled macros of serde in a target directory, in all its profiles.
fn macros_in(target: &Path) -> BTreeSet<PathBuf> {
    let folders = ["debug/deps", "release/deps", "guests/debug/deps", "guests/release/deps"];
    let files = folders.into_iter().filter_map(|folder| fs::read_dir(target.join(folder)).ok()).flatten();
    let files = files.map(|file| file.unwrap().path());
    files.filter(|file| file.to_str().is_some_and(|file| file.contains("libserde_derive-"))).collect()
}

#[test]
fn tests_of_a_new_room_run_in_the_installed_dormouse() {
    let directory = TempDir::new().unwrap();
    let (tests, room) = tests_of_a_new_room(directory.path());
    let run = |name: &str, value: &Path| {
        let mut command = Command::new(&tests);
        command
            .current_dir(&room)
            .arg("--test-threads=2")
            .env_remove("DORMOUSE_BIN")
            .env_remove("CARGO_BIN_EXE_dormouse");
        command.env_remove("RUST_BACKTRACE").env(name, value).output().expect("the tests run")
    };
    let line = read(&room.join("tests/room.rs")).lines().position(|line| line.contains("to blame")).unwrap() + 1;

    // The component of the tests takes the macros that are built for them. To build those again took longest.
    let target = tests.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).expect("cargo marks it");
    let built = macros_in(target);
    fs::remove_dir_all(target.join("wasm32-wasip2")).ok();

    // Two pass, and the third fails with its own line.
    let ran = output_text(&run("DORMOUSE_BIN", Path::new(env!("CARGO_BIN_EXE_dormouse"))));
    assert!(ran.contains("2 passed; 1 failed"), "{ran}");
    assert!(ran.contains(&format!("tests/room.rs:{line}:")) && ran.contains("socket 1 is not in the room"), "{ran}");

    assert!(target.join("wasm32-wasip2/debug/quiz.wasm").is_file(), "the component is built beside the tests");
    assert_eq!(macros_in(target), built, "macros were built a second time");

    let nowhere = output_text(&run("DORMOUSE_BIN", Path::new("/nowhere/dormouse")));
    assert!(nowhere.contains("DORMOUSE_BIN names /nowhere/dormouse, but there is no such file"), "{nowhere}");

    let bin = directory.path().join("bin");
    let other = |script: &str| {
        let program = bin.join("dormouse");
        fs::create_dir_all(&bin).unwrap();
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    };
    let hello = |version| format!("echo '{{\"hello\":{{\"protocol\":{version}}}}}'");
    let dies = other(&format!("{}; read line; echo out of luck >&2; exit 3", hello(1)));
    let died = output_text(&run("DORMOUSE_BIN", &dies));
    assert!(died.contains("ended while running `open` (exit status: 3); its output:\nout of luck"), "{died}");
    let old = other("echo \"error: unrecognized subcommand 'test-driver'\" >&2; exit 2");
    let refused = output_text(&run("DORMOUSE_BIN", &old));
    assert!(refused.contains("ended while starting") && refused.contains("unrecognized subcommand"), "{refused}");
    let talks = output_text(&run("DORMOUSE_BIN", &other("echo ready")));
    assert!(talks.contains("does not follow the test protocol of this release"), "{talks}");

    // It is found on the PATH as well.
    other(&format!("{}; read line", hello(99)));
    let path = std::env::var("PATH").unwrap();
    let found = output_text(&run("PATH", Path::new(&format!("{}:{path}", bin.display()))));
    assert!(found.contains("supports version 99 of the test protocol"), "{found}");
}

#[test]
fn a_new_room_compiles_no_engine_and_documents_its_test_kit() {
    let directory = TempDir::new().unwrap();
    assert!(run_dormouse(directory.path(), &["quiz", "--kit", SOURCE]).status.success());
    let tree = |args: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(directory.path().join("quiz")).args(["tree", "--prefix", "none"]).args(args);
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "{}", output_text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let everything = tree(&["--edges", "all"]);
    for built in ["wasmtime", "cranelift", "wit-bindgen-rust", "dormouse v"] {
        assert!(!everything.contains(built), "{built} is compiled:\n{everything}");
    }
    // `cargo doc` shows these, and the component has the first of them alone.
    assert!(tree(&["--edges", "normal"]).contains("dormouse-test v"));
    let component = tree(&["--edges", "normal", "--target", "wasm32-wasip2"]);
    assert!(component.contains("dormouse-room v") && !component.contains("dormouse-test v"), "{component}");
}
