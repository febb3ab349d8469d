//! `dormouse move`: into a database, and back.

use std::process::{Command, Output};
use std::sync::Arc;

use hyper::Method;
use tempfile::TempDir;

use crate::cluster::Server as Database;
use crate::databases::{use_no_store, use_store};
use crate::harness::{Server, request};

const CONFIG: &str = "[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n";

fn moves(directory: &TempDir, store: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dormouse"));
    command.arg("move").args(more).env("DORMOUSE_STORE", store).env_remove("DORMOUSE_DATA");
    if !more.contains(&"--data") {
        command.arg("--data").arg(directory.path().join("data"));
    }
    command.current_dir(directory.path()).output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[tokio::test]
async fn rooms_move_into_a_database_and_back_with_everything() {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    use_no_store(directory.path());
    let database = Database::shared().empty_database().await;
    let mut server = Server::in_directory(directory.clone(), CONFIG).await;
    for room in 0..20 {
        let mut ana = server.join(&format!("room-{room}"), "ana").await;
        ana.expect_text("welcome").await;
        ana.expect_reply(&format!("put tea {room}; put many x; timer 100000000 say late; say stored"), "stored").await;
    }
    let refused = moves(&directory, &database.url, &[]);
    assert!(!refused.status.success() && text(&refused).contains("is in use"), "{}", text(&refused));
    let of_token = r#"{"jti":"stolen"}"#;
    let revoked = request(server.admin_address(), Method::POST, "/revocations", &[], of_token).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    server.send_sigterm();
    server.wait_for_exit().await;
    let moved = moves(&directory, &database.url, &[]);
    assert!(moved.status.success(), "{}", text(&moved));
    assert!(text(&moved).contains("moved 20 rooms"), "{}", text(&moved));

    // The old directory is not served any more; the database is, with the same directory as its cache.
    let refused = Server::try_in_directory(directory.clone(), CONFIG).await.err().expect("it is refused");
    assert!(refused.contains("were moved into a database"), "{refused}");
    use_store(directory.path(), &database.url);
    let mut server = Server::in_directory(directory.clone(), CONFIG).await;
    for room in 0..20 {
        let mut bo = server.join(&format!("room-{room}"), "bo").await;
        bo.expect_text("welcome").await;
        bo.expect_reply("get tea", &format!("tea={room}")).await;
        bo.expect_reply("timers", "1").await;
        bo.expect_reply(&format!("put tea {}; say stored", room + 100), "stored").await;
    }
    let new = directory.path().join("new").display().to_string();
    let refused = moves(&directory, &database.url, &["--back", "--data", &new]);
    assert!(!refused.status.success() && text(&refused).contains("another server"), "{}", text(&refused));
    server.send_sigterm();
    server.wait_for_exit().await;
    let moved = moves(&directory, &database.url, &["--back", "--data", &new]);
    assert!(moved.status.success(), "{}", text(&moved));

    // The database is not served any more.
    let refused = Server::try_in_directory(directory.clone(), CONFIG).await.err().expect("it is refused");
    assert!(refused.contains("were moved into a data directory"), "{refused}");
    std::fs::remove_dir_all(directory.path().join("data")).unwrap();
    std::fs::rename(&new, directory.path().join("data")).unwrap();
    use_no_store(directory.path());
    let server = Server::in_directory(directory.clone(), CONFIG).await;
    for room in 0..20 {
        let mut cy = server.join(&format!("room-{room}"), "cy").await;
        cy.expect_text("welcome").await;
        cy.expect_reply("get tea", &format!("tea={}", room + 100)).await;
        cy.expect_reply("timers", "1").await;
    }
    let listed = request(server.admin_address(), Method::GET, "/revocations", &[], "").await.json();
    assert_eq!(listed["revocations"][0]["jti"], "stolen", "{listed}");
}

#[tokio::test]
async fn a_move_that_broke_off_goes_on_and_another_one_is_refused() {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    use_no_store(directory.path());
    let database = Database::shared().empty_database().await;
    let mut server = Server::in_directory(directory.clone(), CONFIG).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put tea hot; say stored", "stored").await;
    server.send_sigterm();
    server.wait_for_exit().await;
    assert!(moves(&directory, &database.url, &[]).status.success());
    // As if the last step had not been taken, and an entry had not been written.
    let admin = database.admin().await;
    let broken_off = "INSERT INTO dormouse.records SELECT '\\x006d6f766564', substring(value FROM 1 FOR 8) \
                      FROM dormouse.records WHERE key = '\\x00696e6361726e6174696f6e'; \
                      DELETE FROM dormouse.entries WHERE key = 'tea'";
    admin.batch_execute(broken_off).await.unwrap();
    use_store(directory.path(), &database.url);
    let refused = Server::try_in_directory(directory.clone(), CONFIG).await.err().expect("it is refused");
    assert!(refused.contains("run `dormouse move` again"), "{refused}");
    let other = Arc::new(TempDir::new().unwrap());
    drop(dormouse::store::Store::open(&other.path().join("data"), Default::default()).unwrap());
    let refused = moves(&other, &database.url, &[]);
    assert!(!refused.status.success() && text(&refused).contains("has rooms already"), "{}", text(&refused));
    let moved = moves(&directory, &database.url, &[]);
    assert!(moved.status.success(), "{}", text(&moved));
    let server = Server::in_directory(directory.clone(), CONFIG).await;
    let mut bo = server.join("lobby", "bo").await;
    bo.expect_text("welcome").await;
    bo.expect_reply("get tea", "tea=hot").await;
}
