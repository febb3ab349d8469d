//! What all nodes have counted is one sum, also while rooms go from node to node.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{Server, request, within};
use crate::nodes::{CONFIG, Nodes};

/// The messages of each user in each room.
const MESSAGES: u64 = 25;

async fn say(node: &Server, room: &str, name: &str) {
    let body = json!({ "content": "x" }).to_string();
    let answer = node.api(Method::POST, &format!("/rooms/{room}/messages"), name, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The rows of a query of usage.
async fn usage(node: &Server, query: &str) -> Vec<Value> {
    let answer = request(node.admin_address(), Method::GET, &format!("/usage?{query}"), &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["rows"].as_array().unwrap().clone()
}

/// The events of the rows of a query, or of the one with a name.
async fn events(node: &Server, query: &str, name: Option<&str>) -> u64 {
    let is_meant = |row: &&Value| name.is_none_or(|name| ["room", "user"].iter().any(|by| row[by] == name));
    usage(node, query).await.iter().filter(is_meant).map(|row| row["events"].as_u64().unwrap()).sum()
}

/// Waits until each node says that so many events were counted, and never more.
async fn counted(nodes: &Nodes, by: &str, name: &str, expected: u64) {
    let query = format!("by={by}&limit=1000");
    let mut last = 0;
    let found = async {
        for node in nodes.living() {
            loop {
                last = events(node, &query, Some(name)).await;
                assert!(last <= expected, "{name} has counted something twice: {last} and not {expected}");
                if last == expected {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    };
    let is_found = tokio::time::timeout(crate::harness::TEST_TIMEOUT, found).await.is_ok();
    assert!(is_found, "{name} should have {expected} events, and has {last}");
}

/// Waits until the namespace has as many events as its rooms.
async fn namespace_is_the_sum_of_its_rooms(node: &Server) {
    let mut last = (0, 1);
    let equal = async {
        while last.0 != last.1 {
            last = (events(node, "by=namespace", None).await, events(node, "by=room&limit=1000", None).await);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let are_equal = tokio::time::timeout(crate::harness::TEST_TIMEOUT, equal).await.is_ok();
    assert!(are_equal, "the namespace and its rooms: {last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_several_nodes_count_in_one_hour_adds_up() {
    let nodes = Nodes::start(3, CONFIG).await;
    let mut rooms = Vec::new();
    for index in 0..3 {
        rooms.push(nodes.room_of(index).await);
    }
    let talk = async |index: usize| {
        for _ in 0..MESSAGES {
            say(nodes.node(index), &rooms[index], "ana").await;
            say(nodes.node(index), &rooms[index], "bo").await;
        }
    };
    tokio::join!(talk(0), talk(1), talk(2));
    // Rooms report when they fall asleep, and are asked again and again meanwhile.
    for room in &rooms {
        // Beside them, the client that found the room has come and gone.
        counted(&nodes, "room", &format!("ROOMS/{room}"), 2 * MESSAGES + 2).await;
    }
    counted(&nodes, "user", "id-ana", 3 * MESSAGES).await;
    namespace_is_the_sum_of_its_rooms(nodes.node(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_of_a_room_that_goes_to_another_node_adds_up() {
    let mut nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    for _ in 0..MESSAGES {
        say(nodes.node(0), &room, "ana").await;
    }
    counted(&nodes, "user", "id-ana", MESSAGES).await;
    // What was counted is stored, so nothing is lost with the node.
    drop(nodes.kill(0));
    let within_reach = within(async {
        loop {
            let body = json!({ "content": "x" }).to_string();
            let answer = nodes.node(1).api(Method::POST, &format!("/rooms/{room}/messages"), "ana", &body).await;
            if answer.status == 200 {
                return;
            }
            assert_eq!(answer.status, 503, "{answer:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    within_reach.await;
    for _ in 1..MESSAGES {
        say(nodes.node(1), &room, "ana").await;
    }
    counted(&nodes, "user", "id-ana", 2 * MESSAGES).await;
    counted(&nodes, "room", &format!("ROOMS/{room}"), 2 * MESSAGES + 2).await;
    namespace_is_the_sum_of_its_rooms(nodes.node(1)).await;
}
