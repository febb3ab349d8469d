//! A cluster of real servers on this machine, with one database.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dormouse::cluster::link::ClusterKey;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

use crate::cluster::{Database, Server as Postgres};
use crate::databases::use_store;
use crate::harness::{Client, Server, within};
use crate::workload::{Process, ServerUnderTest};

/// Rooms of the chat, rooms that call and post, and rooms that do as they are told.
pub(crate) const CONFIG: &str = r#"
hibernate_after = "200ms"
[namespaces.ROOMS]
component = "builtin:chat-room"
[namespaces.PRESENCE]
component = "caller.wasm"
calls = ["PRESENCE"]
"#;

/// Rooms that do as they are told, in place of the chat.
pub(crate) const UNRULY: &str = "[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n";

/// The servers, their database and their key.
pub(crate) struct Nodes {
    pub(crate) database: Database,
    key: String,
    config: String,
    /// A killed one is absent.
    pub(crate) nodes: Vec<Option<Server>>,
}

/// Writes the key of a cluster.
pub(crate) fn write_key(directory: &Path, pem: &str) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(directory.join("cluster.key")).unwrap().write_all(pem.as_bytes()).unwrap();
}

/// Connects a client as soon as the node can reach or claim the room. Until then it answers 503.
pub(crate) async fn join_when_free(node: &Server, path: &str) -> Client {
    within(async {
        loop {
            match node.connect(path, &[]).await {
                Ok(client) => return client,
                Err(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

/// A directory for a node.
pub(crate) fn directory(store: &str, key: &str) -> Arc<TempDir> {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).unwrap();
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    write_key(directory.path(), key);
    use_store(directory.path(), store);
    directory
}

/// The configuration of a node. `rest` may begin with keys of the root.
pub(crate) fn config(rest: &str) -> String {
    format!("{rest}\n[cluster]\naddress = \"127.0.0.1:0\"\nkey = \"cluster.key\"\n")
}

impl Nodes {
    /// So many nodes on a new database.
    pub(crate) async fn start(count: usize, rest: &str) -> Self {
        let mut nodes = Self::on(Postgres::shared().empty_database().await, rest);
        for _ in 0..count {
            nodes.add().await;
        }
        nodes.until_all_know(count).await;
        nodes
    }

    /// None yet.
    pub(crate) fn on(database: Database, rest: &str) -> Self {
        let key = ClusterKey::generate().unwrap().to_pem();
        Nodes { database, key, config: config(rest), nodes: Vec::new() }
    }

    /// A directory for one more node.
    pub(crate) fn directory(&self) -> Arc<TempDir> {
        directory(&self.database.url, &self.key)
    }

    /// One more node.
    pub(crate) async fn add(&mut self) -> usize {
        let server = Server::in_directory(self.directory(), &self.config).await;
        self.nodes.push(Some(server));
        self.nodes.len() - 1
    }

    pub(crate) fn node(&self, index: usize) -> &Server {
        self.nodes[index].as_ref().expect("it lives")
    }

    /// The nodes that live.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().flatten()
    }

    /// Waits until each living node knows of so many.
    pub(crate) async fn until_all_know(&self, count: usize) {
        for node in self.living() {
            let known = async {
                while metric(node, "nodes_alive").await != count as u64 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            within(known).await;
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, index: usize) -> Server {
        let mut server = self.nodes[index].take().expect("it lives");
        server.kill();
        server
    }

    /// The name of a room that the node `index` owns, and to which no other room of this test has been given.
    pub(crate) async fn room_of(&self, index: usize) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Most rooms are where they are placed, and each node has its share of places.
        loop {
            let name = format!("room-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
            let mut ana = self.node(index).join(&name, "nobody").await;
            ana.close_and_wait().await;
            if self.owner(&name).await == Some(index) {
                return name;
            }
        }
    }

    /// The node that owns a chat room, as the database says.
    pub(crate) async fn owner(&self, room: &str) -> Option<usize> {
        let query = "SELECT n.address FROM dormouse.rooms r JOIN dormouse.nodes n ON n.id = r.owner \
                     WHERE r.namespace = 'ROOMS' AND r.name = $1";
        let row = self.database.admin().await.query_opt(query, &[&room]).await.unwrap()?;
        let address = row.get::<_, String>(0);
        let is_owner = |node: &Option<Server>| node.as_ref().is_some_and(|node| node_address(node) == address);
        self.nodes.iter().position(is_owner)
    }
}

/// The address of a node's links.
pub(crate) fn node_address(node: &Server) -> String {
    let log = node.log();
    let (_, rest) = log.split_once("dormouse: node on ").expect("it is a node");
    rest.lines().next().unwrap().to_owned()
}

/// The value of a metric.
pub(crate) async fn metric(node: &Server, name: &str) -> u64 {
    let answer = crate::harness::request(node.admin_address(), hyper::Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8(answer.body.into()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("dormouse_")?.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0)
}

/// The nodes as the clients of a workload use them: each picks one, and another one after a failure.
pub(crate) struct Balanced {
    addresses: Vec<SocketAddr>,
    next: AtomicU64,
    /// No more is sent and received.
    pub(crate) has_ended: AtomicBool,
}

impl Balanced {
    pub(crate) fn over(nodes: &Nodes) -> Self {
        let addresses = nodes.living().map(|node| node.address).collect();
        Balanced { addresses, next: AtomicU64::new(0), has_ended: AtomicBool::new(false) }
    }

    fn pick(&self) -> Process {
        let next = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        Process(self.addresses[next % self.addresses.len()])
    }

    fn goes_on(&self) -> Option<()> {
        (!self.has_ended.load(Ordering::Relaxed)).then_some(())
    }

    /// Tries until a node answers, or the end.
    async fn persistently<T>(&self, mut attempt: impl AsyncFnMut(Process) -> Option<T>) -> Option<T> {
        loop {
            self.goes_on()?;
            if let Some(answer) = attempt(self.pick()).await {
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl ServerUnderTest for Balanced {
    type ChatSocket = WebSocketStream<TcpStream>;

    async fn open_chat(&self, room: &str, user: &str, since: u64) -> Option<Self::ChatSocket> {
        self.persistently(async |node| node.open_chat(room, user, since).await).await
    }

    async fn send_request(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        self.persistently(async |node| node.send_request(room, user, path, post).await).await
    }

    async fn run_command(&self, room: &str, command: &Value) -> Option<Value> {
        // A command is not tried again: it may have happened.
        self.goes_on()?;
        self.pick().run_command(room, command).await
    }

    fn caller_namespace(&self) -> &'static str {
        "PRESENCE"
    }
}

/// Leaves a room and waits until the server has answered.
pub(crate) trait Closes {
    async fn close_and_wait(&mut self);
}

impl Closes for crate::harness::Client {
    async fn close_and_wait(&mut self) {
        let _ = self.socket.close(None).await;
        self.wait_for_end().await;
    }
}
