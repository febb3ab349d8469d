//! The place of everything that a server keeps beside the messages of rooms: in the database, or in files of its data
//! directory. `docs/postgres.md` has a table of this, and each row of it has a test here or in the modules of `tests/e2e` that
//! `main.rs` names. Everything is looked at after `kill -9`.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::admin::{admin, command, failure, printed};
use crate::cluster::Server as Database;
use crate::command_line;
use crate::databases::{store_of, use_no_store, use_store};
use crate::deploy;
use crate::harness::{BASE, Server, within};
use crate::migration;
use crate::tokens::{request_with_token, server_with_secret, token_with};

/// Stores an entry in a room of `tests/guests/unruly`.
async fn put(server: &Server, room: &str, entry: &str) {
    let mut ana = server.join(room, "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply(&format!("put {entry}; say stored"), "stored").await;
}

async fn value(server: &Server, room: &str, key: &str) -> String {
    let mut bo = server.join(room, "bo").await;
    bo.expect_text("welcome").await;
    bo.send(&format!("get {key}")).await;
    bo.recv_text().await
}

#[tokio::test]
async fn revocations_are_in_the_database_and_the_audit_log_is_not() {
    let server = server_with_secret("[admin]\nlisten = \"127.0.0.1:0\"\n").await;
    let ana = token_with(&json!({ "sub": "ana", "iat": 1 }));
    assert_eq!(request_with_token(&server, &ana).await.status, StatusCode::OK);
    printed(&command(&server, &["revoke", "user", "ana"]).await);
    assert!(!server.log().contains("with another data directory"), "{}", server.log());
    let mut server = server.crash_and_restart().await;
    assert_eq!(request_with_token(&server, &ana).await.status, StatusCode::UNAUTHORIZED);
    assert!(printed(&command(&server, &["audit"]).await).contains("user ana"));
    assert!(!server.log().contains("with another data directory"), "{}", server.log());
    server.kill();
    // The machine is lost. What was copied before is put back later.
    let (directory, config, data) = (server.directory.clone(), server.config().to_owned(), server.data());
    drop(server);
    let copy = directory.path().join("copy");
    fs::rename(&data, &copy).unwrap();
    let server = Server::in_directory(directory.clone(), &config).await;
    let log = server.log();
    assert!(log.contains("served with another data directory") && log.contains("erasures.json"), "{log}");
    assert_eq!(request_with_token(&server, &ana).await.status, StatusCode::UNAUTHORIZED);
    drop(server);
    fs::copy(copy.join("audit.log"), data.join("audit.log")).unwrap();
    // A list that an earlier release has written.
    let bo = token_with(&json!({ "sub": "bo", "iat": 1 }));
    let list = json!({ "version": 1, "revocations": [{ "user": "bo", "before": 2_000_000_000 }, { "jti": "j" }] });
    fs::write(data.join("revocations.json"), list.to_string()).unwrap();
    let server = Server::in_directory(directory, &config).await;
    for token in [&ana, &bo] {
        assert_eq!(request_with_token(&server, token).await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(!data.join("revocations.json").exists() && data.join("revocations.json.moved").exists());
    printed(&command(&server, &["revocations", "remove", "user", "bo"]).await);
    let server = server.crash_and_restart().await;
    assert_eq!(request_with_token(&server, &bo).await.status, StatusCode::OK, "it is not read again");
    assert!(printed(&command(&server, &["audit"]).await).contains("user ana"));
}

#[tokio::test]
async fn deployed_components_are_files_and_without_them_no_older_code_runs_on_newer_data() {
    let server = deploy::start().await;
    let (mut ana, _) = deploy::join(&server, "lobby", "ana").await;
    deploy::say(&mut ana, "one").await;
    let newer = migration::of_data("v2", "good", 2);
    migration::settle(&server, &newer).await;
    deploy::say(&mut ana, "two").await;
    drop(ana);
    let mut server = server.crash_and_restart().await;
    let (mut ana, _) = deploy::join(&server, "lobby", "ana").await;
    assert_eq!(deploy::say(&mut ana, "three").await["version"], "v2", "its file is still there");
    server.kill();
    let (directory, config, data) = (server.directory.clone(), server.config().to_owned(), server.data());
    drop((ana, server));
    fs::remove_dir_all(&data).unwrap();
    let server = Server::in_directory(directory, &config).await;
    assert!(server.log().contains("deployed components"), "{}", server.log());
    let (mut bo, _) = deploy::join(&server, "other", "bo").await;
    assert_eq!(deploy::say(&mut bo, "one").await["version"], "v1", "the code of the configuration");
    let path = format!("{BASE}/rooms/lobby/ws?token=id-ana:ana");
    assert!(server.connect(&path, &[]).await.is_err(), "its data has version 2");
    server.wait_for_log("the data of the room has version 2 and could not be migrated").await;
    // As the docs say: deploy again what was lost.
    migration::settle(&server, &newer).await;
    let (mut ana, _) = deploy::join(&server, "lobby", "ana").await;
    let four = deploy::say(&mut ana, "four").await;
    assert_eq!((&four["seq"], &four["version"]), (&json!(4), &json!("v2")));
}

#[tokio::test]
async fn a_backup_is_refused_with_advice_and_makes_no_directory() {
    let server = Server::unruly("").await;
    let refused = admin(&server, Method::GET, "/backup", "").await;
    refused.is_problem(409);
    let directory = server.directory.path().join("backup");
    let said = failure(&command(&server, &["backup", directory.to_str().unwrap()]).await);
    assert!(said.contains("the rooms are in a database") && said.contains("docs/postgres.md"), "{said}");
    assert!(!directory.exists());
    let audit = admin(&server, Method::GET, "/audit", "").await.json();
    assert_eq!(audit["entries"], json!([]), "nothing was begun");
}

#[tokio::test]
async fn a_dump_of_the_running_database_is_restored_and_the_server_says_what_went_back() {
    let mut server = Server::unruly("").await;
    put(&server, "lobby", "tea hot").await;
    put(&server, "other", "tea black").await;
    let database = Database::shared().database(store_of(&server.directory).unwrap().rsplit('/').next().unwrap());
    let dump = database.dump();
    put(&server, "lobby", "tea cold").await;
    server.kill();
    let (directory, config) = (server.directory.clone(), server.config().to_owned());
    drop(server);
    let restored = Database::shared().empty_database().await;
    restored.restore(&dump);
    use_store(directory.path(), &restored.url);
    // The cache is of a later moment.
    let server = Server::in_directory(directory, &config).await;
    assert_eq!(value(&server, "lobby", "tea").await, "tea=hot");
    assert_eq!(value(&server, "other", "tea").await, "tea=black");
    server.wait_for_log("store went back: ROOMS/lobby had 2, has 1").await;
    assert!(!server.log().contains("went back: ROOMS/other"), "{}", server.log());
    assert_eq!(server.count("store_went_back_total").await, 1);
    put(&server, "lobby", "tea mild").await;
    let server = server.crash_and_restart().await;
    assert_eq!(value(&server, "lobby", "tea").await, "tea=mild");
}

#[tokio::test]
async fn a_backup_of_a_data_directory_is_restored_there_and_moved_into_the_database() {
    let directory = Arc::new(TempDir::new().unwrap());
    fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    use_no_store(directory.path());
    let config = "[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n";
    let server = Server::in_directory(directory.clone(), config).await;
    put(&server, "lobby", "tea hot").await;
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    printed(&command(&server, &["backup", &path("backup")]).await);
    drop(server);
    fs::remove_dir_all(path("data")).unwrap();
    let database = Database::shared().empty_database().await;
    let restore = ["restore", &path("backup"), "--data", &path("data")];
    let said = printed(&command_line::run_with_store(&restore, &database.url));
    assert!(said.contains("nothing was restored into the database"), "{said}");
    let said = printed(&command_line::run_with_store(&["move", "--data", &path("data")], &database.url));
    assert!(said.contains("moved 1 rooms") || said.contains("moved 1 room"), "{said}");
    use_store(directory.path(), &database.url);
    let server = Server::in_directory(directory.clone(), config).await;
    assert!(!server.log().contains("with another data directory"), "{}", server.log());
    let server = server.crash_and_restart().await;
    assert_eq!(value(&server, "lobby", "tea").await, "tea=hot");
}

#[tokio::test]
async fn a_deleted_room_stays_deleted_after_kill_9_and_its_rows_are_removed() {
    let server = Server::unruly("").await;
    put(&server, "lobby", "tea hot").await;
    put(&server, "other", "tea black").await;
    let deleted = printed(&command(&server, &["rooms", "delete", "ROOMS/lobby", "--force"]).await);
    assert!(deleted.contains("lobby"), "{deleted}");
    let server = server.crash_and_restart().await;
    assert_eq!(value(&server, "lobby", "tea").await, "tea=");
    assert_eq!(value(&server, "other", "tea").await, "tea=black");
    let database = Database::shared().database(store_of(&server.directory).unwrap().rsplit('/').next().unwrap());
    let rows = database.admin().await;
    within(async {
        loop {
            let query = "SELECT count(*), (SELECT count(*) FROM dormouse.deleted) FROM dormouse.entries";
            let row = rows.query_one(query, &[]).await.unwrap();
            if (row.get::<_, i64>(0), row.get::<_, i64>(1)) == (1, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // It does not come back from the cache either.
    let server = server.crash_and_restart().await;
    assert_eq!(value(&server, "lobby", "tea").await, "tea=");
}
