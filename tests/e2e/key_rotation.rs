//! Keys that come and go while people are in.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command_line::run;
use crate::harness::{BASE, Server, TEST_TIMEOUT};
use crate::tokens::{SECRET, now_s, request_with_token, signed_with};

const KEY_SET: &str = "[identity]\nauth = \"jwt\"\naccess = \"open\"\nleeway = \"0s\"\njwks = \"keys.json\"\n";

fn secret(name: &str) -> String {
    format!("the secret of the key {name}, which is long enough")
}

/// A set of keys, in the way in which careful people write a file.
fn write_key_set(directory: &Path, names: &[&str]) {
    let key = |name: &&str| json!({ "kty": "oct", "kid": name, "k": BASE64_URL_SAFE_NO_PAD.encode(secret(name)) });
    let set = json!({ "keys": names.iter().map(key).collect::<Vec<_>>() });
    std::fs::write(directory.join("keys.new"), set.to_string()).unwrap();
    std::fs::rename(directory.join("keys.new"), directory.join("keys.json")).unwrap();
}

fn token(key: &str, claims: Value) -> String {
    let mut all = json!({ "sub": "id-ana", "name": "ana", "exp": now_s() + 3_600 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    signed_with(&json!({ "alg": "HS256", "kid": key }), &all, secret(key).as_bytes())
}

async fn server_with_keys(names: &[&str]) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    write_key_set(directory.path(), names);
    Server::in_directory(directory, KEY_SET).await
}

/// It takes a moment, and no more than that.
async fn wait_for_status(server: &Server, token: &str, status: StatusCode) {
    let seen = async {
        while request_with_token(server, token).await.status != status {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, seen)
        .await
        .unwrap_or_else(|_| panic!("it never became {status}:\n{}", server.log()));
}

#[tokio::test]
async fn keys_rotate_and_open_sockets_go_on() {
    let server = server_with_keys(&["old"]).await;
    let old = token("old", json!({}));
    let short = token("old", json!({ "exp": now_s() + 8 }));
    let path = format!("{BASE}/rooms/lobby/ws");
    let join = async |token: &str| {
        let authorization = format!("Bearer {token}");
        server.connect(&path, &[("authorization", &authorization)]).await
    };
    let mut ana = join(&old).await.unwrap();
    let mut bo = join(&short).await.unwrap();
    let new = token("new", json!({}));
    request_with_token(&server, &new).await.is_problem(401);

    write_key_set(server.directory.path(), &["new", "old"]);
    wait_for_status(&server, &new, StatusCode::OK).await;
    assert_eq!(request_with_token(&server, &old).await.status, StatusCode::OK);

    // A token of a key that is not known makes the server look; so does, more slowly, any other.
    write_key_set(server.directory.path(), &["new"]);
    wait_for_status(&server, &old, StatusCode::UNAUTHORIZED).await;
    join(&old).await.err().unwrap().is_problem(401);
    ana.send_chat("still here").await;
    assert_eq!(ana.recv_content().await, "still here");
    assert_eq!(bo.recv_close().await.0, 4401, "until its token's own end");
    ana.send_chat("and here").await;
    assert_eq!(ana.recv_content().await, "and here");
}

#[tokio::test]
async fn sighup_reloads_keys_and_a_broken_file_changes_nothing() {
    let directory = Arc::new(TempDir::new().unwrap());
    let file = directory.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    write_key_set(directory.path(), &["a"]);
    let config = format!("{KEY_SET}keys = [{{ algorithm = \"HS256\", id = \"file\", file = \"secret\" }}]\n");
    let server = Server::in_directory(directory, &config).await;
    let claims = json!({ "sub": "1", "exp": now_s() + 3_600 });
    let by_file = |secret: &str| signed_with(&json!({ "alg": "HS256", "kid": "file" }), &claims, secret.as_bytes());
    let (first, second) = (by_file(SECRET), by_file("another secret, which is as long as the first"));
    let of_set = token("a", json!({}));
    assert_eq!(request_with_token(&server, &first).await.status, StatusCode::OK);

    std::fs::write(&file, "another secret, which is as long as the first\n").unwrap();
    request_with_token(&server, &second).await.is_problem(401);
    server.send_sighup();
    server.wait_for_log("reloaded").await;
    assert_eq!(request_with_token(&server, &second).await.status, StatusCode::OK);
    request_with_token(&server, &first).await.is_problem(401);

    // One that is too short spoils the whole: the keys stay what they were, those of the set too.
    std::fs::write(&file, "short").unwrap();
    write_key_set(server.directory.path(), &["b"]);
    server.send_sighup();
    server.wait_for_log("not reloaded; the old one stays in use: identity.keys.file").await;
    assert_eq!(request_with_token(&server, &second).await.status, StatusCode::OK);
    assert_eq!(request_with_token(&server, &of_set).await.status, StatusCode::OK);
    std::fs::remove_file(&file).unwrap();
    server.send_sighup();
    server.wait_for_log("cannot be read").await;
    assert_eq!(request_with_token(&server, &second).await.status, StatusCode::OK);
    let log = server.log();
    assert!(log.contains("ERROR"), "loudly: {log}");
}

#[tokio::test]
async fn a_torn_or_missing_key_set_keeps_the_old_keys() {
    let server = server_with_keys(&["old"]).await;
    let (old, new) = (token("old", json!({})), token("new", json!({})));
    let file = server.directory.path().join("keys.json");
    for damage in ["", "{\"keys\":[{\"kty\":\"o", "{\"keys\":[]}"] {
        std::fs::write(&file, damage).unwrap();
        let errors = server.log().matches("the old keys stay").count();
        let noticed = async {
            while server.log().matches("the old keys stay").count() == errors {
                request_with_token(&server, &new).await.is_problem(401);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, noticed).await.expect("it says so");
        assert_eq!(request_with_token(&server, &old).await.status, StatusCode::OK);
    }
    write_key_set(server.directory.path(), &["new"]);
    wait_for_status(&server, &new, StatusCode::OK).await;
    request_with_token(&server, &old).await.is_problem(401);
}

#[tokio::test]
async fn the_server_does_not_start_without_a_valid_key() {
    for (set, says) in [("", "not JSON"), ("{\"keys\":[]}", "no key that can be used"), ("gone", "cannot be read")] {
        let directory = Arc::new(TempDir::new().unwrap());
        if set != "gone" {
            std::fs::write(directory.path().join("keys.json"), set).unwrap();
        }
        let text = Server::try_in_directory(directory.clone(), KEY_SET).await.err().expect("it does not start");
        assert!(text.contains(says), "{set}: {text}");
        let output = run(&["check", "--config", directory.path().join("dormouse.toml").to_str().unwrap()]);
        assert!(!output.status.success());
    }
}
