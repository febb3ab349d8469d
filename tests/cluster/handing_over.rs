//! Rooms that go from node to node with their sockets: when a node ends, and when one joins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dormouse::cluster::link::wire::{self, Down, Up};
use dormouse::cluster::link::{Bounds, ClusterKey, Greeting, Versions, dial};
use rand::{Rng, RngExt};

use crate::harness::{BASE, Client, TEST_TIMEOUT, within};
use crate::nodes::{Balanced, CONFIG, Closes, Nodes, UNRULY, metric};
use crate::seeds::{random_choices, rounds, seed};
use crate::workload::Workload;

/// Ends a node in order.
async fn end(nodes: &mut Nodes, index: usize) -> String {
    let mut server = nodes.nodes[index].take().expect("it lives");
    server.send_sigterm();
    let status = server.wait_for_exit().await;
    assert!(status.success(), "{}", server.log());
    server.log()
}

/// A client of a room that does as it is told.
async fn join_unruly(nodes: &Nodes, index: usize, room: &str, name: &str) -> Client {
    let mut client = nodes.node(index).join(room, name).await;
    client.expect_text("welcome").await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_other_nodes_outlive_a_node_that_ends() {
    let mut nodes = Nodes::start(3, UNRULY).await;
    let room = nodes.room_of(0).await;
    let mut clients = Vec::new();
    let mut ids = Vec::new();
    for (index, name) in [(1, "ana"), (2, "bo")] {
        let mut client = join_unruly(&nodes, index, &room, name).await;
        client.send("id").await;
        ids.push(client.recv_text().await);
        client.expect_reply(&format!("note of {name}; tag {name}; say noted"), "noted").await;
        clients.push(client);
    }
    clients[0].expect_reply("put tea hot; say stored", "stored").await;
    end(&mut nodes, 0).await;
    for (index, name) in ["ana", "bo"].into_iter().enumerate() {
        let client = &mut clients[index];
        // The auto-response is given without the room, so it does not wake it.
        client.expect_reply("ping", "pong").await;
        client.expect_reply("notes", &format!("of {name}")).await;
        client.expect_reply("id", &ids[index]).await;
        client.expect_reply("who", name).await;
        client.expect_reply("count", "2").await;
        client.expect_reply("get tea", "tea=hot").await;
        client.expect_reply(&format!("tagged {name}"), &format!("tagged {name}")).await;
    }
    clients[0].send("all together").await;
    for client in &mut clients {
        client.expect_text("together").await;
    }
    assert!(matches!(nodes.owner(&room).await, Some(1 | 2)));
    // Others hear of one that leaves.
    let mut bo = clients.pop().unwrap();
    bo.close_and_wait().await;
    assert!(clients[0].recv_text().await.starts_with("gone id-bo"));
    let followed = metric(nodes.node(1), "hand_over_sockets_total{followed=\"yes\"}").await;
    assert_eq!(followed, 1);
}

/// Sends numbered messages to all, one after another, and returns all that it has heard until it has heard `last`.
async fn talk(client: &mut Client, name: &str, has_ended: &AtomicBool) -> Vec<String> {
    let mut heard = Vec::new();
    let mut number = 0;
    let mut is_last = false;
    while !is_last {
        is_last = has_ended.load(Ordering::Relaxed) && number > 20;
        let message = format!("{name} {number}");
        client.send(&format!("all {message}")).await;
        number += 1;
        // Two are always on their way.
        let wanted = match number {
            1 => continue,
            _ if is_last => message,
            _ => format!("{name} {}", number - 2),
        };
        while heard.last() != Some(&wanted) {
            heard.push(client.recv_text().await);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    heard
}

/// Everything that one of the two has said, and in the same order for both, as far as both were heard.
fn check_heard(heard: &[Vec<String>; 2]) {
    for (own, name) in [(0, "ana"), (1, "bo")] {
        let of = |list: &[String]| list.iter().filter(|text| text.starts_with(name)).cloned().collect::<Vec<_>>();
        let said = of(&heard[own]);
        let expected = (0..said.len()).map(|number| format!("{name} {number}")).collect::<Vec<_>>();
        assert_eq!(said, expected, "each was heard once, in order");
        let there = of(&heard[1 - own]);
        assert!(said.starts_with(&there), "{there:?}");
    }
    let common = heard[0].len().min(heard[1].len());
    assert_eq!(heard[0][..common], heard[1][..common], "both have heard the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_on_their_way_follow_the_room() {
    let mut nodes = Nodes::start(3, UNRULY).await;
    let room = nodes.room_of(0).await;
    let mut ana = join_unruly(&nodes, 1, &room, "ana").await;
    let mut bo = join_unruly(&nodes, 2, &room, "bo").await;
    let has_ended = AtomicBool::new(false);
    let ends = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        end(&mut nodes, 0).await;
        has_ended.store(true, Ordering::Relaxed);
    };
    let (heard_by_ana, heard_by_bo, ()) =
        tokio::join!(talk(&mut ana, "ana", &has_ended), talk(&mut bo, "bo", &has_ended), ends);
    check_heard(&[heard_by_ana, heard_by_bo]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_gets_its_share_and_sockets_stay() {
    let mut nodes = Nodes::start(2, UNRULY).await;
    let mut rooms = Vec::new();
    for number in 0..20 {
        let room = format!("shared-{number}");
        let ana = join_unruly(&nodes, 0, &room, "ana").await;
        let bo = join_unruly(&nodes, 1, &room, "bo").await;
        rooms.push((room, ana, bo));
    }
    let third = nodes.add().await;
    nodes.until_all_know(3).await;
    let (room, ana, bo) = &mut rooms[0];
    let _ = room;
    let has_ended = AtomicBool::new(false);
    let database = nodes.database.admin().await;
    let address = crate::nodes::node_address(nodes.node(third));
    let moved = async {
        let query =
            "SELECT count(*) FROM dormouse.rooms r JOIN dormouse.nodes n ON n.id = r.owner WHERE n.address = $1";
        let there = || async { database.query_one(query, &[&address]).await.unwrap().get::<_, i64>(0) };
        within(async {
            while there().await == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        // Until all that shall go have gone.
        nodes.node(0).wait_for_log("handed over to a node that has joined").await;
        nodes.node(1).wait_for_log("handed over to a node that has joined").await;
        has_ended.store(true, Ordering::Relaxed);
        there().await
    };
    let (heard_by_ana, heard_by_bo, there) =
        tokio::join!(talk(ana, "ana", &has_ended), talk(bo, "bo", &has_ended), moved);
    check_heard(&[heard_by_ana, heard_by_bo]);
    assert!((1..20).contains(&there), "{there} of 20 rooms");
    // Each has both sockets, wherever it is.
    for (_, ana, bo) in &mut rooms[1..] {
        ana.expect_reply("count", "2").await;
        ana.send("all hello").await;
        ana.expect_text("hello").await;
        bo.expect_text("hello").await;
        bo.expect_reply("ping", "pong").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_nodes_that_stay_outlive_a_rolling_restart() {
    let mut nodes = Nodes::start(3, CONFIG).await;
    let mut rng = random_choices(seed(), 0);
    let mut workload = Workload::new(4, 4, rng.next_u64());
    // They listen at the node that is replaced last.
    let mut witnesses = Vec::new();
    for number in 0..6 {
        let mut witness = nodes.node(2).join(&format!("witnessed-{number}"), "witness").await;
        witness.recv_type("history").await;
        witnesses.push(witness);
    }
    for round in 0..2 {
        nodes.add().await;
        nodes.until_all_know(4).await;
        let balanced = Balanced::over(&nodes);
        let talk = async {
            while !balanced.has_ended.load(Ordering::Relaxed) {
                workload.run(&balanced, 10).await;
            }
        };
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let mut server = nodes.nodes.remove(0).unwrap();
            server.send_sigterm();
            let status = server.wait_for_exit().await;
            assert!(status.success(), "{}", server.log());
            tokio::time::sleep(Duration::from_millis(300)).await;
            balanced.has_ended.store(true, Ordering::Relaxed);
        };
        tokio::join!(talk, stop);
        for (number, witness) in witnesses.iter_mut().enumerate() {
            let content = format!("round {round} of {number}");
            witness.send_chat(&content).await;
            assert_eq!(witness.recv_content().await, content);
        }
    }
    nodes.until_all_know(3).await;
    let found = workload.settle_and_check(&Balanced::over(&nodes), TEST_TIMEOUT).await;
    assert_eq!(found, []);
    let (messages, _) = workload.totals();
    assert!(messages > 100, "too little happened: {messages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_whichever_step_a_hand_over_breaks_nothing_is_lost() {
    let seed = seed();
    for round in 0..rounds(2) {
        let mut rng = random_choices(seed, round);
        let mut nodes = Nodes::start(3, CONFIG).await;
        let mut workload = Workload::new(6, 4, rng.next_u64());
        // The first ends in order; it, or one that gets its rooms, dies on the way.
        let (victim, until) = (rng.random_range(0..2), rng.random_range(650..900));
        let balanced = Balanced::over(&nodes);
        let talk = async {
            while !balanced.has_ended.load(Ordering::Relaxed) {
                workload.run(&balanced, 10).await;
            }
        };
        let fail = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            nodes.node(0).send_sigterm();
            tokio::time::sleep(Duration::from_millis(until)).await;
            drop(nodes.kill(victim));
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            balanced.has_ended.store(true, Ordering::Relaxed);
        };
        tokio::join!(talk, fail);
        if victim != 0 {
            let _ = nodes.nodes[0].as_mut().unwrap().wait_for_exit().await;
            nodes.nodes[0] = None;
        }
        nodes.nodes.retain(Option::is_some);
        nodes.add().await;
        nodes.until_all_know(nodes.nodes.len()).await;
        let found = workload.settle_and_check(&Balanced::over(&nodes), TEST_TIMEOUT).await;
        let logs = nodes.living().map(|node| node.log()).collect::<Vec<_>>().join("\n----\n");
        assert_eq!(found, [], "in round {round} of the seed {seed}, {victim} after {until} ms; the logs:\n{logs}");
        let (messages, _) = workload.totals();
        assert!(messages > 50, "too little happened: {messages}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_room_goes_is_gone() {
    let mut nodes = Nodes::start(3, UNRULY).await;
    let room = nodes.room_of(0).await;
    let mut ana = join_unruly(&nodes, 1, &room, "ana").await;
    let leaving = {
        let nodes = &nodes;
        let room = &room;
        async move {
            // Some leave before, some while the room goes, some afterwards.
            for number in 0..30 {
                let name = format!("guest{number}");
                let path = format!("{BASE}/rooms/{room}/ws?token=id-{name}:{name}");
                let mut guest = crate::nodes::join_when_free(nodes.node(2), &path).await;
                guest.expect_text("welcome").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                guest.close_and_wait().await;
            }
        }
    };
    nodes.node(0).send_sigterm();
    leaving.await;
    let mut server = nodes.nodes[0].take().unwrap();
    assert!(server.wait_for_exit().await.success(), "{}", server.log());
    let mut gone = 0;
    while gone < 30 {
        gone += usize::from(ana.recv_text().await.starts_with("gone "));
    }
    ana.expect_reply("count", "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_node_that_cannot_follow_get_1012() {
    let mut nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let store = nodes.database.admin().await.query_one("SELECT store::text FROM dormouse.meta", &[]).await.unwrap();
    let directory = nodes.directory();
    let tls = ClusterKey::read(&directory.path().join("cluster.key")).unwrap().tls().unwrap();
    // A node of the first release.
    let old = Greeting { store: store.get(0), node: 777, versions: Versions { oldest: 1, newest: 1 } };
    let address = crate::nodes::node_address(nodes.node(0));
    let (link, mut down) = dial(&tls, Bounds::default(), &old, None, &address).await.unwrap();
    assert_eq!(link.up.version(), 1);
    let request = wire::Request {
        method: "GET".into(),
        path: "/ws".into(),
        query: None,
        headers: Vec::new(),
        body: wire::Blob::default(),
        user: Some(("id-old".into(), "old".into())),
        access: wire::Access { claims: "{}".into(), permissions: 7 },
    };
    let connect = wire::Connect {
        socket: 1,
        namespace: "ROOMS".into(),
        name: room.clone(),
        user: ("id-old".into(), "old".into()),
        request,
        kind: wire::Kind::WebSocket,
    };
    link.up.send(&Up::Connect(Box::new(connect))).unwrap();
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
    let mut heard = Vec::new();
    while heard.last() != Some(&Down::Seated(1)) {
        heard.push(within(down.next()).await.unwrap());
    }
    end(&mut nodes, 0).await;
    loop {
        match within(down.next()).await {
            Ok(Down::Close(1, code, _)) => break assert_eq!(code, 1012),
            Ok(Down::HandedOver(..) | Down::Answered(..)) => panic!("an old node does not know this"),
            Ok(_) => {}
            Err(why) => panic!("the link ends first: {why}"),
        }
    }
    // The others follow all the same.
    ana.send_chat("still here").await;
    loop {
        if ana.recv_content().await == "still here" {
            break;
        }
    }
}
