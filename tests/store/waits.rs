//! A commit that waits for the standby, and whose wait ends in another way: it is stored, or will be, but not safe. So
//! the outcome is unknown until a claim has told it.

use std::collections::HashMap;

use dormouse::cluster::ownership::{Answer, RoomId, Rows, Statement};
use dormouse::store::postgres::Executed;

use crate::harness::{Database, Server, until};
use crate::node::{Node, confirmed, entry};

const ROOM: RoomId = RoomId(1);

/// Ends the wait of a commit with a function of the server. Returns the answer, and the node with a new connection.
async fn interrupted(primary: &Server, standby: &Server, database: &Database, how: &str) -> (Executed, Node) {
    let mut node = Node::new(&database.target, database.new_node().await).await;
    node.own(ROOM).await;
    let statement = Statement::Round { commits: vec![node.next(ROOM)], proofs: vec![] };
    let contents = node.contents(HashMap::from([(ROOM, vec![entry(b"k", Some(b"v"))])]));
    let admin = primary.admin(database.name()).await;
    standby.pause();
    let execute = node.lane.execute(&statement, &contents);
    let interrupt = async {
        let end = format!(
            "SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'dormouse lane'"
        );
        until("the commit waits for the standby", async || !admin.query(&end, &[]).await.unwrap().is_empty()).await;
    };
    let (executed, ()) = tokio::join!(execute, interrupt);
    standby.go_on();
    node.reconnect().await;
    (executed, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_wait_is_a_warning_and_a_claim_tells_what_has_happened() {
    let (primary, standby, database) = servers().await;
    let (executed, mut node) = interrupted(&primary, &standby, &database, "pg_cancel_backend").await;
    let Answer::Done { rows: Rows::Confirmed(rooms), warned: true } = &executed.answer else { panic!("{executed:?}") };
    assert_eq!(rooms[..], [ROOM], "success, but not on the standby");
    assert_eq!(confirmed(&executed), []);
    let resolved = node.resolve(&[ROOM]).await;
    let Answer::Done { rows: Rows::Resolved(resolved), warned: false } = resolved.answer else {
        panic!("{resolved:?}")
    };
    assert_eq!((resolved[0].number, resolved[0].epoch), (1, 2));
    assert_eq!(node.read(&[ROOM]).await.read[&ROOM].len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_wait_is_lost_and_a_claim_tells_what_has_happened() {
    let (primary, standby, database) = servers().await;
    let (executed, mut node) = interrupted(&primary, &standby, &database, "pg_terminate_backend").await;
    assert_eq!(executed.answer, Answer::Lost, "{executed:?}");
    let resolved = node.resolve(&[ROOM]).await;
    let Answer::Done { rows: Rows::Resolved(resolved), warned: false } = resolved.answer else {
        panic!("{resolved:?}")
    };
    assert_eq!((resolved[0].number, resolved[0].epoch), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_without_an_end_is_lost_after_five_seconds() {
    let (_primary, standby, database) = servers().await;
    let mut node = Node::new(&database.target, database.new_node().await).await;
    node.own(ROOM).await;
    standby.pause();
    let started_at = std::time::Instant::now();
    let proof = node.round(&[], &[ROOM]).await;
    assert_eq!(proof.answer, Answer::Lost, "a proof waits for the standby too: {proof:?}");
    assert!((4.5..8.0).contains(&started_at.elapsed().as_secs_f64()));
    standby.go_on();
    node.reconnect().await;
    assert_eq!(confirmed(&node.resolve(&[ROOM]).await), [ROOM]);
}

async fn servers() -> (Server, Server, Database) {
    let primary = Server::start(&[]);
    let standby = primary.standby().await;
    let database = primary.new_database().await;
    primary.wait_for_standby().await;
    (primary, standby, database)
}
