//! Clients of nodes that may answer nothing at all: each picks a node, gives up after a silence, and tries another one.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{BASE, TEST_TIMEOUT};
use crate::workload::{ChatSocket, Process, ServerUnderTest};

/// How long a client waits for anything while there are faults. A cut network never says that it is cut.
const SILENCE: Duration = Duration::from_secs(2);

/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(20);

/// The nodes, as clients reach them.
pub(crate) struct Clients {
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
    silence: Duration,
    has_ended: AtomicBool,
}

/// A WebSocket whose client gives up after a silence.
pub(crate) struct Impatient {
    socket: WebSocketStream<TcpStream>,
    silence: Duration,
}

impl Clients {
    /// Clients that go elsewhere when they hear nothing.
    pub(crate) fn of(addresses: Vec<SocketAddr>) -> Self {
        let (next, has_ended) = Default::default();
        Clients { addresses: Mutex::new(addresses), next, silence: SILENCE, has_ended }
    }

    /// Clients that wait, because all nodes are well.
    pub(crate) fn patient(addresses: Vec<SocketAddr>) -> Self {
        Clients { silence: TEST_TIMEOUT, ..Self::of(addresses) }
    }

    /// A node has another address now.
    pub(crate) fn set_address(&self, node: usize, address: SocketAddr) {
        self.addresses.lock().unwrap()[node] = address;
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.addresses.lock().unwrap()[node]
    }

    pub(crate) fn nodes(&self) -> usize {
        self.addresses.lock().unwrap().len()
    }

    /// No more is sent.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.has_ended.load(Ordering::Relaxed)
    }

    fn pick(&self) -> SocketAddr {
        let addresses = self.addresses.lock().unwrap();
        addresses[self.next.fetch_add(1, Ordering::Relaxed) % addresses.len()]
    }

    /// Tries until a node answers, or the end.
    async fn persistently<T>(&self, mut attempt: impl AsyncFnMut(SocketAddr) -> Option<T>) -> Option<T> {
        while self.goes_on() {
            let answer = timeout(self.silence, attempt(self.pick())).await;
            if let Some(answer) = answer.unwrap_or(None) {
                return Some(answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Opens a socket at one node; the path is below the base path.
    pub(crate) async fn open(&self, address: SocketAddr, path: &str) -> Option<Impatient> {
        open(address, path, self.silence).await
    }
}

/// Opens a socket, unless it is refused or nothing is heard for too long.
pub(crate) async fn open(address: SocketAddr, path: &str, silence: Duration) -> Option<Impatient> {
    let opened = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let request = format!("ws://{address}{BASE}{path}").into_client_request().expect("a good URL");
        tokio_tungstenite::client_async(request, stream).await.ok()
    };
    let (socket, _) = timeout(silence, opened).await.unwrap_or(None)?;
    Some(Impatient { socket, silence })
}

impl ServerUnderTest for Clients {
    type ChatSocket = Impatient;

    async fn open_chat(&self, room: &str, user: &str, since: u64) -> Option<Impatient> {
        let path = format!("/rooms/{room}/ws?since={since}&token={user}:{user}");
        self.persistently(async |address| self.open(address, &path).await).await
    }

    async fn send_request(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        self.persistently(async |address| Process(address).send_request(room, user, path, post).await).await
    }

    async fn run_command(&self, room: &str, command: &Value) -> Option<Value> {
        // Another command is not tried again: it may have happened.
        if matches!(command["do"].as_str(), Some("marks" | "waiting")) {
            return self.persistently(async |address| Process(address).run_command(room, command).await).await;
        }
        timeout(self.silence, Process(self.pick()).run_command(room, command)).await.unwrap_or(None)
    }

    fn caller_namespace(&self) -> &'static str {
        "PRESENCE"
    }
}

impl ChatSocket for Impatient {
    async fn send_text(&mut self, text: String) -> Option<()> {
        timeout(self.silence, self.socket.send(Message::text(text))).await.ok()?.ok()
    }

    async fn recv_text(&mut self) -> Option<String> {
        timeout(self.silence, async {
            loop {
                match self.socket.next().await?.ok()? {
                    Message::Text(text) => return Some(text.as_str().to_owned()),
                    Message::Close(_) => return None,
                    _ => {}
                }
            }
        })
        .await
        .unwrap_or(None)
    }
}
