//! Each module knows one thing that the others do not, and the arrows between them go one way.

use std::fs;
use std::path::{Path, PathBuf};

/// The code of every file below a folder of the host, without comments and without its own tests.
fn code(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut files);
    assert!(!files.is_empty(), "nothing in {folder}");
    files
}

fn collect(path: &Path, files: &mut Vec<(PathBuf, String)>) {
    if path.is_file() {
        let text = fs::read_to_string(path).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap();
        let lines = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
        files.push((path.to_owned(), lines.collect::<Vec<_>>().join("\n")));
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        collect(&entry.unwrap().path(), files);
    }
}

fn never(folder: &str, words: &[&str]) {
    never_but(folder, words, "no file");
}

fn never_but(folder: &str, words: &[&str], exception: &str) {
    for (path, code) in code(folder).into_iter().filter(|(path, _)| !path.ends_with(exception)) {
        for word in words {
            assert!(!code.contains(word), "{} must not say `{word}`", path.display());
        }
    }
}

#[test]
fn dependencies_between_modules_go_one_way() {
    never("model", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::config"]);
    never("store", &["crate::edge", "crate::room", "crate::guest"]);
    never("guest", &["crate::edge", "crate::room", "crate::store"]);
    never("room", &["crate::edge"]);
    never("outbound", &["crate::edge", "crate::room", "crate::guest", "crate::store"]);
    never("revocations.rs", &["crate::edge", "crate::room", "crate::guest", "crate::store", "crate::model"]);
}

#[test]
fn each_dependency_is_used_in_one_module() {
    for folder in
        ["model", "room", "edge", "store", "outbound", "revocations.rs", "host.rs", "bin/dormouse/main.rs", "config"]
    {
        never(folder, &["wasmtime::"]);
    }
    for folder in ["model", "room", "guest", "store", "revocations.rs"] {
        never(folder, &["tokio::net", "tungstenite"]);
    }
    // `wasi:http` comes in HTTP's own types; there, and nowhere else, they are turned into plain data.
    for folder in ["model", "room", "guest", "store", "revocations.rs"] {
        never_but(folder, &["hyper::"], "guest/imports/web.rs");
    }
    for folder in ["model", "room", "guest", "outbound", "edge/http", "edge/sockets", "edge/admission", "edge/response"]
    {
        never(folder, &["fjall::"]);
    }
}

#[test]
fn parts_of_a_room_do_not_know_the_room() {
    // Only a room and its mailbox import each other; `shared`, `seat`, `reply`, `incoming` and `registry` tie them.
    let room = ["super::life", "super::mailbox", "super::shared", "super::seat", "super::reply", "super::Rooms"];
    for file in [
        "batch.rs",
        "carriers.rs",
        "local_client.rs",
        "output_gate.rs",
        "overlay.rs",
        "policy.rs",
        "posts.rs",
        "queue.rs",
        "timer_queue.rs",
        "wait_graph.rs",
    ] {
        never(&format!("room/{file}"), &room);
    }
}

#[test]
fn parts_of_a_guest_do_not_know_its_wasmtime_store() {
    for file in ["bindings", "contract", "failure", "log_limiter", "meter", "outbound", "stopwatch", "wasi"] {
        never(&format!("guest/{file}.rs"), &["StoreData"]);
    }
}

#[test]
fn each_folder_of_the_edge_knows_only_its_own_part() {
    let others = |known: &[&str]| {
        ["admission", "http", "identity", "listener", "response", "sockets"]
            .into_iter()
            .filter(|folder| !known.contains(folder))
            .map(|folder| format!("crate::edge::{folder}"))
            .collect::<Vec<_>>()
    };
    for (folder, known, never_named) in [
        // A credential is judged without a room and without a socket.
        ("edge/identity", &["identity"][..], &["crate::room", "crate::guest", "crate::store", "tokio::net"][..]),
        // Limits are counted without knowledge of what is limited.
        ("edge/admission", &["admission"], &["crate::room", "crate::guest", "crate::store", "tokio::net"]),
        ("edge/listener", &["listener", "response"], &["crate::room", "crate::guest", "crate::store"]),
        (
            "edge/sockets",
            &["sockets", "admission", "identity", "listener", "response"],
            &["crate::guest", "crate::store"],
        ),
        ("edge/response", &["response", "sockets"], &["crate::guest", "crate::store", "tungstenite"]),
        (
            "edge/http",
            &["http", "admission", "identity", "listener", "response", "sockets"],
            &["crate::store", "tungstenite"],
        ),
    ] {
        let others = others(known);
        never(folder, &others.iter().map(String::as_str).chain(never_named.iter().copied()).collect::<Vec<_>>());
    }
}
