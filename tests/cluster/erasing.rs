//! The data of a user in rooms of all nodes: exported and erased from any node.

use hyper::Method;
use serde_json::{Value, json};

use crate::harness::{Server, request, within};
use crate::nodes::{CONFIG, Nodes};

/// Rooms on each node, with two messages of ana and one of bo.
const ROOMS: usize = 4;

async fn say(node: &Server, room: &str, name: &str, content: &str) {
    let body = json!({ "content": content }).to_string();
    let answer = node.api(Method::POST, &format!("/rooms/{room}/messages"), name, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The authors and contents of the messages of a room.
async fn messages(node: &Server, room: &str) -> Vec<(String, String)> {
    let answer = node.api(Method::GET, &format!("/rooms/{room}/messages"), "reader", "").await.json();
    let text = |message: &Value, key: &str| message[key].as_str().expect("a text").to_owned();
    let message = |message: &Value| (text(message, "userId"), text(message, "content"));
    answer["messages"].as_array().expect("a list").iter().map(message).collect()
}

async fn filled(nodes: &Nodes) -> Vec<String> {
    let mut rooms = Vec::new();
    for index in 0..nodes.nodes.len() {
        for _ in 0..ROOMS {
            let room = nodes.room_of(index).await;
            for (name, content) in [("ana", "first"), ("bo", "second"), ("ana", "third")] {
                say(nodes.node(index), &room, name, content).await;
            }
            rooms.push(room);
        }
    }
    rooms
}

/// Begins to erase ana at a node. Returns the path of the erasure.
async fn begin(node: &Server) -> String {
    let begun = request(node.admin_address(), Method::POST, "/users/id-ana/erase", &[], "").await;
    assert_eq!(begun.status, 202, "{begun:?}");
    begun.header("location").to_owned()
}

/// Waits for the end of an erasure.
async fn ended(node: &Server, path: &str) -> Value {
    within(async {
        loop {
            let erasure = request(node.admin_address(), Method::GET, path, &[], "").await.json();
            if erasure["state"] != "running" {
                return erasure;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn assert_erased(node: &Server, rooms: &[String]) {
    let of = |user: &str, content: &str| (user.to_owned(), content.to_owned());
    for room in rooms {
        assert_eq!(messages(node, room).await, [of("", ""), of("id-bo", "second"), of("", "")], "{room}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_exported_and_erased_in_rooms_of_all_nodes() {
    let nodes = Nodes::start(3, CONFIG).await;
    let rooms = filled(&nodes).await;
    let export = request(nodes.node(1).admin_address(), Method::GET, "/users/id-ana/export", &[], "").await;
    let lines = String::from_utf8(export.body.into()).unwrap();
    let of_kind = |kind: &str| lines.lines().filter(|line| line.contains(&format!("\"kind\":\"{kind}\""))).count();
    assert_eq!((of_kind("item"), of_kind("failed"), of_kind("end")), (2 * rooms.len(), 0, 1), "{lines}");
    let path = begin(nodes.node(2)).await;
    let erasure = ended(nodes.node(2), &path).await;
    assert_eq!((&erasure["state"], &erasure["failed"]), (&json!("finished"), &json!([])), "{erasure}");
    assert_eq!(erasure["items"], 2 * rooms.len(), "{erasure}");
    assert!(erasure["rooms"].as_u64() >= Some(rooms.len() as u64), "{erasure}");
    assert_erased(nodes.node(0), &rooms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_goes_on_when_its_node_and_an_owner_are_killed() {
    let mut nodes = Nodes::start(3, CONFIG).await;
    let rooms = filled(&nodes).await;
    let path = begin(nodes.node(2)).await;
    drop(nodes.kill(0));
    let server = nodes.nodes[2].take().unwrap().crash_and_restart().await;
    nodes.nodes[2] = Some(server);
    let erasure = ended(nodes.node(2), &path).await;
    assert_eq!(erasure["state"], "finished", "{erasure}");
    assert_erased(nodes.node(1), &rooms).await;
}
