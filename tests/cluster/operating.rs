//! An operator asks any node, and gets the answer of all of them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use crate::harness::{Answer, BASE, Server, request, within};
use crate::nodes::{CONFIG, Nodes, UNRULY, join_when_free, node_address};

async fn ask(node: &Server, method: Method, path: &str, body: &str) -> Answer {
    request(node.admin_address(), method, path, &[("dormouse-operator", "dana")], body).await
}

async fn get(node: &Server, path: &str) -> Value {
    let answer = ask(node, Method::GET, path, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What a command prints, with its errors.
fn command(node: &Server, args: &[&str]) -> String {
    let admin = format!("http://{}", node.admin_address());
    let output = Command::new(env!("CARGO_BIN_EXE_dormouse")).args(args).args(["--admin", &admin]).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The number of a node, as it tells it itself.
async fn number(node: &Server) -> u64 {
    let nodes = get(node, "/nodes").await;
    let here = nodes["nodes"].as_array().unwrap().iter().find(|row| row["here"] == true).unwrap().clone();
    assert_eq!(here["address"], node_address(node));
    here["node"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_acts_on_a_room_at_whichever_node_is_asked() {
    let nodes = Nodes::start(3, CONFIG).await;
    let room = nodes.room_of(0).await;
    let path = |rest: &str| format!("/rooms/ROOMS/{room}{rest}");
    let (owner, asked) = (nodes.node(0), nodes.node(2));
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
    ana.send_chat("one").await;
    assert_eq!(ana.recv_content().await, "one");
    let shown = get(asked, &path("")).await;
    assert_eq!((&shown["inMemory"], &shown["sockets"]), (&json!(true), &json!(1)), "{shown}");
    assert_eq!(shown["node"], number(owner).await);
    assert_eq!(shown["clients"][0]["user"], "id-ana");
    assert!(
        command(asked, &["rooms", "show", &format!("ROOMS/{room}")]).contains(&format!(", at node {}", shown["node"]))
    );
    // The text is a frame of the chat.
    let text = json!({ "type": "message", "message": { "content": "from the operator" } });
    let sent = ask(asked, Method::POST, &path("/broadcast"), &json!({ "text": text.to_string() }).to_string()).await;
    assert_eq!((sent.status.as_u16(), &sent.json()["sockets"]), (200, &json!(1)), "{sent:?}");
    assert_eq!(ana.recv_content().await, "from the operator");
    let slept = ask(asked, Method::POST, &path("/sleep"), "").await;
    assert_eq!((slept.status.as_u16(), &slept.json()["asleep"]), (200, &json!(true)), "{slept:?}");
    let closed = ask(asked, Method::POST, &path("/close"), r#"{"reason":"tidying"}"#).await;
    assert_eq!((closed.status.as_u16(), &closed.json()["closed"]), (200, &json!(1)), "{closed:?}");
    assert_eq!(ana.recv_close().await.1, "tidying");
    // Both logs name the action, and who asked for it.
    for node in [owner, asked] {
        let audit = get(node, "/audit").await;
        let close =
            audit["entries"].as_array().unwrap().iter().find(|entry| entry["action"] == "close a room").cloned();
        let close = close.unwrap_or_else(|| panic!("{audit:#}"));
        assert_eq!([&close["operator"], &close["outcome"]], ["dana", "done"], "{close}");
    }
    let exported = ask(asked, Method::GET, &path("/export"), "").await;
    assert_eq!(exported.status, 200);
    let deleted = ask(asked, Method::DELETE, &path("?force=true"), "").await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(ask(asked, Method::GET, &path("/export"), "").await.status, 404);
    // The owner still has the name.
    let exported = String::from_utf8(exported.body.into()).unwrap();
    let imported = ask(asked, Method::POST, &path("/import"), &exported).await;
    assert_eq!(imported.status, 200, "{imported:?}");
    let mut bo = nodes.node(1).join(&room, "bo").await;
    assert_eq!(bo.recv_type("history").await["messages"][0]["content"], "one");
    let again = ask(asked, Method::POST, &path("/import"), &exported).await;
    assert_eq!(again.status, 409, "{again:?}");
    for (method, rest) in [(Method::GET, "/nowhere"), (Method::PUT, "/close")] {
        let refused = ask(asked, method, &path(rest), "").await;
        assert!(matches!(refused.status.as_u16(), 404 | 405), "{refused:?}");
    }
}

/// All rooms that a node lists, a few at a time, with the nodes that have them.
async fn listed(node: &Server, query: &str) -> BTreeMap<String, Value> {
    let (mut rooms, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = get(node, &format!("/rooms?namespace=ROOMS&limit=2{query}{after}")).await;
        assert_eq!(page["missing"], json!([]), "{page}");
        for room in page["rooms"].as_array().unwrap() {
            let name = room["name"].as_str().unwrap().to_owned();
            assert!(room["place"].is_null(), "{room}");
            assert!(rooms.insert(name, room.clone()).is_none(), "{room} is listed twice");
        }
        let Some(next) = page["next"].as_str() else { return rooms };
        let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
        after = format!("&after={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_lists_the_rooms_of_all_nodes() {
    let nodes = Nodes::start(3, UNRULY).await;
    let (mut sockets, mut owners) = (Vec::new(), BTreeMap::new());
    for index in 0..3 {
        for _ in 0..2 {
            let room = nodes.room_of(index).await;
            let mut ana = nodes.node((index + 1) % 3).join(&room, "ana").await;
            ana.expect_text("welcome").await;
            owners.insert(room, number(nodes.node(index)).await);
            sockets.push(ana);
        }
    }
    for node in nodes.living() {
        for query in ["", "&sort=sockets", "&sort=active"] {
            let rooms = listed(node, query).await;
            for (room, owner) in &owners {
                let found = rooms.get(room).unwrap_or_else(|| panic!("{room} is missing for {query}: {rooms:#?}"));
                assert_eq!((&found["node"], &found["sockets"]), (&json!(owner), &json!(1)), "{query}: {found}");
            }
        }
    }
    // Some of them may fall asleep meanwhile, and one room is either awake or asleep.
    let (awake, asleep) = (listed(nodes.node(0), "&awake=true").await, listed(nodes.node(0), "&awake=false").await);
    assert!(awake.values().all(|room| room["awake"] == true) && asleep.values().all(|room| room["awake"] == false));
    let printed = command(nodes.node(1), &["rooms", "list"]);
    assert!(printed.lines().next().unwrap().contains("NODE"), "{printed}");
    let users = get(nodes.node(2), "/users").await;
    let ana = users["users"].as_array().unwrap().iter().find(|user| user["user"] == "id-ana").unwrap().clone();
    assert_eq!(ana["sockets"], 6, "{users}");
    let shown = get(nodes.node(0), "/users/id-ana").await;
    assert_eq!((&shown["sockets"], shown["clients"].as_array().unwrap().len()), (&json!(6), 6));
    let gone = ask(nodes.node(1), Method::POST, "/users/id-ana/disconnect", "").await.json();
    assert_eq!((&gone["closed"], &gone["missing"]), (&json!(6), &json!([])), "{gone}");
    for mut socket in sockets {
        assert_eq!(socket.recv_close().await.0, 4410);
    }
}

/// A tail that is open.
struct Tail(Lines<BufReader<TcpStream>>);

impl Tail {
    async fn open(node: &Server, query: &str) -> Self {
        let mut stream = TcpStream::connect(node.admin_address()).await.unwrap();
        let request = format!("GET /tail{query} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut tail = Tail(BufReader::new(stream).lines());
        assert!(tail.line().await.contains("200"), "it is accepted");
        while !tail.line().await.is_empty() {}
        tail
    }

    async fn line(&mut self) -> String {
        within(self.0.next_line()).await.unwrap().expect("it goes on")
    }

    /// The next line of a type of a node; others are skipped.
    async fn next(&mut self, kind: &str, node: u64) -> Value {
        loop {
            let line: Value = serde_json::from_str(&self.line().await).unwrap();
            if line["type"] == kind && line["node"] == node {
                return line;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_at_one_node_follows_rooms_of_others() {
    let mut nodes = Nodes::start(2, UNRULY).await;
    let room = nodes.room_of(0).await;
    let (first, second) = (number(nodes.node(0)).await, number(nodes.node(1)).await);
    let mut tail = Tail::open(nodes.node(1), &format!("?room=ROOMS/{room}")).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.expect_text("welcome").await;
    // The other node is followed from a moment after the answer on.
    let turn = within(async {
        loop {
            ana.expect_reply("put key value; say 1", "1").await;
            let turn = tokio::time::timeout(Duration::from_millis(200), tail.next("turn", first)).await;
            if let Ok(turn) = turn {
                return turn;
            }
        }
    });
    assert_eq!(turn.await["room"], format!("ROOMS/{room}"));
    // It goes on where the room goes on, and names the node that has ended.
    drop(nodes.kill(0));
    let lost = tail.next("node", first).await;
    assert!(lost["notFollowed"].is_string(), "{lost}");
    let path = format!("{BASE}/rooms/{room}/ws?token=id-ana:ana");
    let mut ana = join_when_free(nodes.node(1), &path).await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put key value; say 2", "2").await;
    assert_eq!(tail.next("turn", second).await["room"], format!("ROOMS/{room}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_with_what_they_say_of_themselves() {
    let mut nodes = Nodes::start(3, CONFIG).await;
    let room = nodes.room_of(0).await;
    let mut ana = nodes.node(1).join(&room, "ana").await;
    ana.recv_type("history").await;
    let dead = (number(nodes.node(2)).await, node_address(nodes.node(2)));
    drop(nodes.kill(2));
    let listed = within(async {
        loop {
            let listed = get(nodes.node(0), "/nodes").await;
            if listed["nodes"].as_array().unwrap().iter().any(|node| node["state"] == "dead") {
                return listed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let rows = listed["nodes"].as_array().unwrap();
    let row = |node: &Server| rows.iter().find(|row| row["address"] == node_address(node)).unwrap().clone();
    let (owner, edge) = (row(nodes.node(0)), row(nodes.node(1)));
    assert_eq!([&owner["state"], &edge["state"]], ["lives", "lives"]);
    assert_eq!([&owner["here"], &edge["here"]], [&json!(true), &json!(false)]);
    assert_eq!([&owner["rooms"], &edge["sockets"]], [1, 1]);
    assert_eq!(edge["version"], env!("CARGO_PKG_VERSION"));
    assert!(edge["since"].is_u64(), "{edge}");
    let gone = rows.iter().find(|row| row["node"] == dead.0).unwrap();
    assert_eq!((gone["address"].as_str(), gone["state"].as_str()), (Some(&*dead.1), Some("dead")));
    assert!(gone["version"].is_null() && gone["beatAgoMs"].as_u64() > Some(500), "{gone}");
    let printed = command(nodes.node(0), &["nodes"]);
    assert!(printed.contains("lives, asked") && printed.contains(&dead.1) && printed.contains("dead"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_does_not_answer_is_named() {
    let nodes = Nodes::start(2, CONFIG).await;
    let room = nodes.room_of(0).await;
    let pid = Pid::from_raw(i32::try_from(nodes.node(0).pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let answer = ask(nodes.node(1), Method::POST, &format!("/rooms/ROOMS/{room}/sleep"), "").await;
    kill_process(pid, Signal::CONT).unwrap();
    answer.is_problem(503);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&format!("({})", node_address(nodes.node(0)))), "{detail}");
    assert!(detail.contains("nothing was done there") || detail.contains("look before you try again"), "{detail}");
}
