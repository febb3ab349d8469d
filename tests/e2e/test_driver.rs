//! `dormouse test-driver`: what docs/test-driver.md promises to a test kit of any language.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dormouse_bundle::{CALLER, COUNTER};
use serde_json::{Value, json};
use tempfile::TempDir;

const PAGE: &str = include_str!("../../docs/test-driver.md");

/// All answers of the driver to this input.
fn run_driver(folder: &Path, input: &[u8]) -> (Vec<Value>, Output) {
    let mut driver = Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .arg("test-driver")
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = driver.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = driver.wait_with_output().unwrap();
    writer.join().unwrap().expect("it reads all of it");
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    (lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect(), output)
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("counter.wasm"), COUNTER).unwrap();
    fs::write(folder.path().join("caller.wasm"), CALLER).unwrap();
    folder
}

fn lines(commands: &[Value]) -> Vec<u8> {
    commands.iter().map(|command| format!("{command}\n")).collect::<String>().into_bytes()
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

#[test]
fn the_documented_example_runs() {
    let block = |language: &str| PAGE.split_once(language).unwrap().1.split_once("\n```").unwrap().0;
    let commands = block("```sh\n").split('\'').filter(|piece| piece.starts_with("{\"do\"")).collect::<Vec<_>>();
    assert_eq!(commands.len(), 3);
    let (answered, output) = run_driver(folder().path(), commands.join("\n").as_bytes());
    assert!(output.status.success());
    let shown = block("```json\n").lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    assert_eq!(answered.len(), shown.len(), "{answered:?}");
    for (answered, shown) in answered.iter().zip(&shown) {
        let kind = &keys(shown)[0];
        match kind.as_str() {
            "done" => assert_eq!(keys(&answered[kind]), keys(&shown[kind]), "{answered}"),
            _ => assert_eq!(answered, shown),
        }
    }
}

#[test]
fn every_command_is_documented() {
    let (answered, _) = run_driver(folder().path(), b"{\"do\":\"dance\"}");
    let refused = answered[1]["error"].as_str().unwrap();
    let commands = refused.split_once("expected one of").expect("it lists them").1.split('`').skip(1).step_by(2);
    let missing = commands.filter(|command| !PAGE.contains(&format!("| `{{\"do\":\"{command}\""))).collect::<Vec<_>>();
    assert!(missing.is_empty(), "docs/test-driver.md lacks {missing:?}");
}

#[test]
fn an_invalid_command_gets_an_error_and_changes_nothing() {
    let mut input = b"nonsense\n{\"do\":\"dance\"}\n{\"do\":\"timers\"}\n".to_vec();
    input.extend(lines(&[
        json!({ "do": "open", "component": "nowhere.wasm" }),
        json!({ "do": "open", "component": "counter.wasm" }),
        json!({ "do": "message", "socket": 9, "message": { "text": "x" } }),
        json!({ "do": "replay" }),
        json!({ "do": "put", "key": 7, "value": "v" }),
        json!({ "do": "open", "component": "." }),
    ]));
    input.extend(vec![b'x'; (32 << 20) + 1]);
    input.extend(b"\n");
    input.extend(lines(&[
        json!({ "do": "open", "component": "counter.wasm" }),
        json!({ "do": "connect", "user": { "id": "1", "name": "ana" } }),
    ]));
    let (answered, output) = run_driver(folder().path(), &input);
    assert!(output.status.success());
    let expected = [
        "not a JSON object",
        "unknown variant `dance`",
        "open a component first",
        "nowhere.wasm cannot be read",
        "",
        "socket 9 is not in the room",
        "no event to replay",
        "bytes are a string",
        "cannot be read",
        "the line is longer than",
    ];
    for (answer, expected) in answered[1..].iter().zip(expected) {
        match expected {
            "" => assert!(answer["done"].is_object(), "{answer}"),
            says => assert!(answer["error"].as_str().is_some_and(|error| error.contains(says)), "{answer} not {says}"),
        }
    }
    assert_eq!(answered.last().unwrap()["done"]["socket"], 1, "{answered:?}");
}

#[test]
fn an_unanswered_outbound_call_fails_the_call_not_the_driver() {
    let call = json!({ "do": "call", "namespace": "SCORES", "name": "today", "command": 1 });
    let ask = |call: &Value| json!({ "do": "request", "request": { "method": "POST", "path": "/", "body": call.to_string() } });
    let opened = [
        json!({ "do": "open", "component": "caller.wasm" }),
        json!({ "do": "play", "rooms": true, "servers": false }),
        ask(&call),
    ];
    // The input ends before the answer.
    let (answered, output) = run_driver(folder().path(), &lines(&opened));
    assert!(output.status.success());
    assert_eq!(answered[3]["ask"]["to"], json!({ "room": { "namespace": "SCORES", "name": "today" } }));
    let response = &answered[4]["done"]["response"];
    assert!(response["body"].as_str().is_some_and(|body| body.contains("CallError::Failed")), "{response}");
}
