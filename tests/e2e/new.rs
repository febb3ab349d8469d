//! `dormouse new`: what an author begins with.

use std::fs;
use std::path::Path;
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

fn dormouse(folder: &Path, args: &[&str]) -> Output {
    new_room(Path::new(env!("CARGO_BIN_EXE_dormouse")), folder, args)
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn a_new_room_has_all_its_files_and_its_name_in_them() {
    let directory = TempDir::new().unwrap();
    let output = dormouse(directory.path(), &["rooms/my-room", "--kit", SOURCE]);
    assert!(output.status.success(), "{}", says(&output));
    assert!(says(&output).contains("cd rooms/my-room"), "{}", says(&output));
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
fn a_new_router_has_all_its_files_and_its_name_in_them() {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    let output =
        command.current_dir(&directory).args(["new", "router", "my-router", "--kit", SOURCE]).output().unwrap();
    assert!(output.status.success(), "{}", says(&output));
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
        assert!(output.status.success(), "{}", says(&output));
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
fn a_name_that_cargo_or_rust_would_not_take_is_refused_with_a_better_one() {
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
        (&"a".repeat(65), "64 are the most"),
    ] {
        let output = dormouse(directory.path(), &[name]);
        assert!(!output.status.success(), "{name}");
        assert!(says(&output).contains(better), "{name}: {}", says(&output));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "a refused name leaves nothing behind");
}

#[test]
fn what_is_there_already_stays_as_it_is() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("quiz")).unwrap();
    fs::write(directory.path().join("quiz/Cargo.toml"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
    for name in ["quiz", "link"] {
        let output = dormouse(directory.path(), &[name]);
        assert!(!output.status.success());
        assert!(says(&output).contains("is there already"), "{}", says(&output));
    }
    assert_eq!(read(&directory.path().join("quiz/Cargo.toml")), "mine");
    assert_eq!(fs::read_dir(directory.path().join("quiz")).unwrap().count(), 1);
}

#[test]
fn a_program_in_its_source_need_not_be_told_where_that_is() {
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
    assert!(output.status.success(), "{}", says(&output));
    let kit = source.join("components/kit");
    assert!(read(&directory.path().join("quiz/Cargo.toml")).contains(&kit.display().to_string()));
}

#[test]
fn a_program_far_from_its_source_asks_where_that_is() {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("dormouse");
    fs::copy(env!("CARGO_BIN_EXE_dormouse"), &program).unwrap();
    let lost = new_room(&program, directory.path(), &["quiz"]);
    assert!(!lost.status.success());
    assert!(says(&lost).contains("say with --kit where it is"), "{}", says(&lost));
    let wrong = new_room(&program, directory.path(), &["quiz", "--kit", "."]);
    assert!(says(&wrong).contains("is not the folder of Dormouse's source"), "{}", says(&wrong));
    assert!(!directory.path().join("quiz").exists());
    let told = new_room(&program, directory.path(), &["quiz", "--kit", SOURCE]);
    assert!(told.status.success(), "{}", says(&told));
    assert!(read(&directory.path().join("quiz/Cargo.toml")).contains("components/kit"));
}

/// What its README says, but for where cargo puts things: beside what the tests have built, or it would take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_room_builds_and_is_served_with_its_own_configuration() {
    let directory = Arc::new(TempDir::new().unwrap());
    // Inside another workspace, to which it does not belong.
    fs::write(directory.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
    assert!(dormouse(directory.path(), &["my-room", "--kit", SOURCE]).status.success());
    let room = directory.path().join("my-room");
    let guests = Path::new(env!("CARGO_BIN_EXE_dormouse")).ancestors().nth(2).expect("it is in target").join("guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(&room).args(["build", "--release", "--target", "wasm32-wasip2", "--target-dir"]).arg(&guests);
    let output = tokio::task::spawn_blocking(move || cargo.output().expect("cargo runs")).await.unwrap();
    assert!(output.status.success(), "{}", says(&output));
    let component = "wasm32-wasip2/release/my_room.wasm";
    let expected = directory.path().join("target").join(component);
    fs::create_dir_all(expected.parent().unwrap()).unwrap();
    fs::copy(guests.join(component), expected).unwrap();

    let server = Server::in_directory(directory.clone(), &read(&room.join("dormouse.toml"))).await;
    let mut ana = server.join("any", "ana").await;
    ana.says(r#"{"text":"milk"}"#).await;
    let note = json!({ "by": "ana", "text": "milk" });
    assert_eq!(ana.hears().await, note);
    assert_eq!(server.api(Method::GET, "/rooms/any/messages", "bo", "").await.json(), json!([note]));
    assert!(read(&room.join("README.md")).contains(&format!("{BASE}/rooms/any/messages")));
}
