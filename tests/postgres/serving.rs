//! What the server promises with its rooms in a database.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use rand::{Rng, RngExt};
use tempfile::TempDir;

use crate::cluster::Server as Database;
use crate::databases::use_store;
use crate::harness::{Server, TEST_TIMEOUT, within};
use crate::seeds::{random_choices, rounds, seed};
use crate::workload::{Process, Workload};

/// Crashes of a server: usually, and at most.
const CRASHES: usize = 4;
const MOST_CRASHES: usize = 40;

pub(crate) const CONFIG: &str = r#"
hibernate_after = "20ms"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "caller.wasm"
calls = ["PRESENCE"]
"#;

/// A directory with the components of [`CONFIG`].
pub(crate) fn directory() -> Arc<TempDir> {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).expect("a file");
    directory
}

/// A server in a new directory, with a database that only this test stops.
async fn server_on(database: &Database, config: &str) -> Server {
    let directory = directory();
    use_store(directory.path(), &database.empty_database().await.url);
    Server::in_directory(directory, config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_messages_survive_kill_9_and_the_loss_of_the_data_directory() {
    let (seed, rounds) = (seed(), rounds(1));
    for round in 0..rounds {
        let mut rng = random_choices(seed, round);
        let directory = directory();
        let mut workload = Workload::new(3, 3, rng.next_u64());
        for crash in 0..MOST_CRASHES {
            // A busy machine may need longer for a first message than a server lives here.
            if crash >= CRASHES && workload.totals().0 > 10 {
                break;
            }
            let mut server = Server::in_directory(directory.clone(), CONFIG).await;
            let process = Process(server.address);
            let until = Duration::from_millis(rng.random_range(5..600));
            tokio::join!(workload.run(&process, usize::MAX >> 1), async {
                tokio::time::sleep(until).await;
                server.kill();
            });
            if crash % 2 == 1 {
                std::fs::remove_dir_all(server.data().join("cache")).expect("the server has a cache");
            }
        }
        let server = Server::in_directory(directory.clone(), CONFIG).await;
        let found = workload.settle_and_check(&Process(server.address), TEST_TIMEOUT).await;
        assert_eq!(found, [], "in round {round} of the seed {seed}; the server's log:\n{}", server.log());
        let (messages, _) = workload.totals();
        assert!(messages > 10, "too little happened: {messages}");
    }
}

#[tokio::test]
async fn a_room_is_read_from_the_cache_if_it_is_the_last_state_and_else_from_the_database() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put tea hot; say stored", "stored").await;
    let server = server.crash_and_restart().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("get tea", "tea=hot").await;
    server.wait_for_count("store_cache_hits_total", 1).await;
    let (directory, config) = (server.directory.clone(), server.config().to_owned());
    let data = server.data();
    drop((ana, server));
    std::fs::remove_dir_all(data).unwrap();
    let server = Server::in_directory(directory, &config).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("get tea", "tea=hot").await;
    server.wait_for_count("store_cache_misses_total", 1).await;
}

#[tokio::test]
async fn a_cache_of_another_store_is_removed() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put tea hot; say stored", "stored").await;
    let (directory, config) = (server.directory.clone(), server.config().to_owned());
    drop((ana, server));
    use_store(directory.path(), &Database::shared().empty_database().await.url);
    let server = Server::in_directory(directory, &config).await;
    assert!(server.log().contains("the cache is of another store"), "{}", server.log());
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("get tea", "tea=").await;
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_one_has_ended() {
    let mut first = Server::unruly("").await;
    let mut ana = first.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put tea hot; say stored", "stored").await;
    let other = directory();
    use_store(other.path(), &crate::databases::store_of(&first.directory).unwrap());
    let config = format!("{}\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n", "");
    let refused = Server::try_in_directory(other.clone(), &config).await.err().expect("it is refused");
    assert!(refused.contains("another server has the rooms of this database"), "{refused}");
    first.kill();
    let second = Server::in_directory(other, &config).await;
    let mut ana = second.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("get tea", "tea=hot").await;
}

#[tokio::test]
async fn sockets_stay_while_the_database_restarts_and_nothing_that_waits_is_lost() {
    let mut database = Database::start(&[]);
    let server = server_on(&database, "[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    database.kill();
    ana.send("put tea hot; say stored").await;
    server.wait_for_log("the database does not answer").await;
    within(async {
        while server.get("/healthz").await.status != 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    database.start_again();
    ana.expect_text("stored").await;
    ana.expect_reply("get tea", "tea=hot").await;
    within(async {
        while server.get("/healthz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn after_patience_clients_are_asked_to_come_back_with_1013() {
    let mut database = Database::start(&[]);
    let config = "[store]\npatience = \"1s\"\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n";
    let server = server_on(&database, config).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    database.kill();
    ana.send("put tea hot; say stored").await;
    assert_eq!(ana.recv_close().await.0, 1013);
    let answer = server.api(Method::GET, "/rooms/lobby/x", "bo", "").await;
    assert_eq!(answer.status, 503);
    database.start_again();
    let mut ana = within(async {
        loop {
            let path = format!("{}/rooms/lobby/ws?token=id-ana:ana", crate::harness::BASE);
            match server.connect(&path, &[]).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    })
    .await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put tea cold; say stored", "stored").await;
}
