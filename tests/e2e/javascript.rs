//! The example room in JavaScript, served by the real binary, from code that was compiled before.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dormouse::code_cache_dir::CompiledCode;
use dormouse::config::Limits;
use dormouse::guest::Engine;
use hyper::Method;
use tempfile::TempDir;

use crate::harness::Server;

const AUCTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/examples/javascript/dist/auction.wasm");

/// Compile as a server does that starts on this data directory, by what tests have compiled before where they have.
fn compile_into(data: &Path, wasm: &[u8]) {
    let of_tests = Path::new(env!("CARGO_BIN_EXE_dormouse")).ancestors().nth(2).expect("it is in the target directory");
    let of_tests = of_tests.join("dormouse-compiled");
    let code = CompiledCode::open(&of_tests).expect("a directory of our own");
    let engine = Engine::new(Arc::new(Limits::default())).expect("an engine").with_cache(Arc::new(code));
    engine.room("auction.wasm", wasm).expect("it is a room");
    fs::create_dir(data).expect("a new directory");
    CompiledCode::open(&data.join("compiled")).expect("a directory of our own");
    for file in fs::read_dir(of_tests).expect("it is there") {
        let file = file.expect("it is there");
        fs::copy(file.path(), data.join("compiled").join(file.file_name())).expect("it can be copied");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_javascript_room_is_served_like_any_other() {
    assert!(fs::exists(AUCTION).unwrap_or(false), "the room in JavaScript is not built: run `make javascript`");
    let wasm = fs::read(AUCTION).unwrap();
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("auction.wasm"), &wasm).unwrap();
    let data = directory.path().join("data");
    tokio::task::spawn_blocking(move || compile_into(&data, &wasm)).await.unwrap();
    let config = "hibernate_after = \"100ms\"\n[namespaces.ROOMS]\ncomponent = \"auction.wasm\"\n";
    let server = Server::in_directory(directory, config).await;

    let answer = server.api(Method::POST, "/rooms/lamp/messages", "host", r#"{"thing":"a lamp"}"#).await;
    assert_eq!(answer.json()["thing"], "a lamp");
    let mut ana = server.join("lamp", "ana").await;
    let mut bo = server.join("lamp", "bo").await;
    assert_eq!(ana.recv().await["bid"], 0);
    assert_eq!(bo.recv().await["bid"], 0);
    server.wait_until_all_hibernate().await;
    ana.send("5").await;
    assert_eq!(bo.recv().await["bidder"], "ana");
    let server = server.crash_and_restart().await;
    let mut bo = server.join("lamp", "bo").await;
    // The auction ends ten seconds after the bid. The restart has taken some of them, and perhaps all.
    let mut received = bo.recv().await;
    assert_eq!(received["bid"], 5);
    while received["sold"] != true {
        received = bo.recv().await;
    }
    assert_eq!(received["bidder"], "ana");
}
