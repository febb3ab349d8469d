//! Starts `wasmtime serve` as a process, and has the clients for it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

/// A test that waits so long has failed. It only stops a hang: a room whose owner was killed waits for the end of a
/// lease.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The base path of the API.
pub(crate) const BASE: &str = "/api/realtime";

/// One `wasmtime serve`, with a folder that outlives it.
pub(crate) struct Wasmtime {
    process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) folder: Arc<TempDir>,
}

/// One `dormouse serve`, to compare with.
pub(crate) struct Dormouse {
    #[expect(dead_code, reason = "it runs as long as this lives")]
    process: Process,
    pub(crate) address: SocketAddr,
    #[expect(dead_code, reason = "likewise")]
    folder: TempDir,
}

/// A server's process, which ends with this.
struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

/// A binary that was built beside the tests.
fn built_binary(name: &str, how: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("it runs");
    let built = tests.ancestors().nth(2).expect("tests are in target/PROFILE/deps").join(name);
    assert!(built.exists(), "there is no {}: {how}", built.display());
    built
}

impl Process {
    /// Starts a server, and waits until it prints its address.
    async fn start(mut command: Command, says: &str) -> (Self, SocketAddr) {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (announce, announced) = tokio::sync::oneshot::channel();
        let (kept, says) = (log.clone(), says.to_owned());
        std::thread::spawn(move || {
            let mut announce = Some(announce);
            while let Some(Ok(line)) = lines.next() {
                if let Some(rest) = line.strip_prefix(&says)
                    && let Some(announce) = announce.take()
                {
                    let address = rest.split([' ', '/']).next().expect("an address follows");
                    let _ = announce.send(address.parse().expect("it is an address"));
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let address = within(announced).await.unwrap_or_else(|_| panic!("it did not start:\n{}", log.lock().unwrap()));
        (Process { child, log }, address)
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the server printed:\n{}", self.log.lock().unwrap());
        }
    }
}

impl Dormouse {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(built_binary("dormouse", "`cargo build` builds it"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path()).current_dir(folder.path());
        let (process, address) = Process::start(command, "dormouse: ready on http://").await;
        Dormouse { process, address, folder }
    }
}

impl Wasmtime {
    pub(crate) async fn start() -> Self {
        Self::in_folder(Arc::new(TempDir::new().expect("a temporary directory"))).await
    }

    async fn in_folder(folder: Arc<TempDir>) -> Self {
        let component = folder.path().join("serve.wasm");
        std::fs::write(&component, dormouse_bundle::SERVE).expect("a file");
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        let ours = env!("CARGO_BIN_EXE_dormouse-test-wasmtime");
        let binary = std::env::var_os("WASMTIME").unwrap_or_else(|| ours.into());
        let mut command = Command::new(binary);
        command.args(["serve", "-S", "cli", "-O", "pooling-allocator=n", "--addr", "127.0.0.1:0", "--dir"]);
        command.arg(format!("{}::/data", data.display())).arg(&component);
        let (process, address) = Process::start(command, "Serving HTTP on http://").await;
        Wasmtime { process, address, folder }
    }

    /// `kill -9`, and start again on the same folder.
    pub(crate) async fn crash_and_restart(mut self) -> Self {
        self.kill();
        Self::in_folder(self.folder.clone()).await
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// A request on the API as a user of dev auth.
    pub(crate) async fn api(&self, method: Method, path: &str, name: &str, body: &str) -> Answer {
        let authorization = format!("Bearer id-{name}:{name}");
        self.request(method, &format!("{BASE}{path}"), &[("authorization", &authorization)], body).await
    }

    /// Any request.
    pub(crate) async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(self.address, method, path, headers, body).await.expect("it answers")
    }

    /// Posts a chat message, and returns its number. While the room is busy, it tries again with the same key, as a
    /// good client does.
    pub(crate) async fn post(&self, room: &str, name: &str, content: &str) -> u64 {
        let path = format!("{BASE}/rooms/{room}/messages");
        let body = serde_json::json!({ "content": content }).to_string();
        let authorization = format!("Bearer id-{name}:{name}");
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", content)];
        loop {
            let answer = self.request(Method::POST, &path, &headers, &body).await;
            if answer.status == 503 {
                continue;
            }
            assert_eq!(answer.status, 200, "{answer:?}");
            return answer.json()["message"]["seq"].as_u64().expect("a number");
        }
    }

    /// The numbers of all messages of a room, oldest first.
    pub(crate) async fn stored_seqs(&self, room: &str) -> Vec<u64> {
        let listed = self.api(Method::GET, &format!("/rooms/{room}/messages?limit=500"), "checker", "").await.json();
        let messages = listed["messages"].as_array().expect("messages").iter();
        messages.map(|message| message["seq"].as_u64().expect("a number")).collect()
    }

    /// Opens the event stream of a chat room.
    pub(crate) async fn open_chat_events(&self, room: &str, name: &str) -> EventStream {
        self.open_event_stream(&format!("/rooms/{room}/events"), name, &[]).await
    }

    /// Opens an event stream.
    pub(crate) async fn open_event_stream(&self, path: &str, name: &str, headers: &[(&str, &str)]) -> EventStream {
        let (connection, mut sender) = connect(self.address).await.expect("it listens");
        let mut request = Request::get(format!("{BASE}{path}"))
            .header("host", self.address.to_string())
            .header("authorization", format!("Bearer id-{name}:{name}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a good request");
        let response = within(sender.send_request(request)).await.expect("it answers");
        assert_eq!(response.status(), 200, "{response:?}");
        let (parts, body) = response.into_parts();
        EventStream { connection, headers: parts.headers, body, text: String::new(), ended: false }
    }
}

/// Waits for a future; fails the test after a long time.
pub(crate) async fn within<T>(expected: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, expected).await.expect("it did not happen in time")
}

/// An answer to an HTTP request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{self:?} is no JSON: {error}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Checks that it is a problem document (RFC 9457) with this status.
    pub(crate) fn is_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.json()["status"], status);
        assert!(self.json()["detail"].is_string(), "{self:?}");
    }
}

/// Any request to a server that may be killed meanwhile.
pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Answer> {
    let (_connection, mut sender) = connect(address).await?;
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a good request");
    let response = within(sender.send_request(request)).await.ok()?;
    let (parts, body) = response.into_parts();
    let body = within(body.collect()).await.ok()?.to_bytes();
    Some(Answer { status: parts.status, headers: parts.headers, body })
}

/// A connection, which ends when this is dropped.
pub(crate) struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect<B>(address: SocketAddr) -> Option<(Connection, hyper::client::conn::http1::SendRequest<B>)>
where
    B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.ok()?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(async {
        // If it breaks off, the caller that waits for an answer notices.
        let _ = connection.await;
    });
    Some((Connection(connection), sender))
}

/// A reader of server-sent events, like `EventSource`.
pub(crate) struct EventStream {
    #[expect(dead_code, reason = "the connection lasts as long as the reader")]
    connection: Connection,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    text: String,
    ended: bool,
}

/// One event.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl EventStream {
    /// The next event, or the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                if let Some(data) = field("data: ") {
                    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{data:?}: {error}"));
                    return Some(Event { kind: field("event: "), id: field("id: "), data });
                }
            }
            if self.ended {
                return None;
            }
            match within(self.body.frame()).await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.text
                        .push_str(std::str::from_utf8(&data).expect("each packet of a test holds whole characters"));
                }
                _ => self.ended = true,
            }
        }
    }

    /// Receives the next message.
    pub(crate) async fn recv(&mut self) -> Value {
        let event = self.next().await.expect("the stream goes on");
        assert_eq!(event.kind, None, "{event:?}");
        event.data
    }

    /// Receives the next message of a type; skips all others.
    pub(crate) async fn recv_type(&mut self, kind: &str) -> Value {
        loop {
            let received = self.recv().await;
            if received["type"] == kind {
                return received;
            }
        }
    }

    /// Receives the number of the next chat message.
    pub(crate) async fn recv_seq(&mut self) -> u64 {
        self.recv_type("message").await["message"]["seq"].as_u64().expect("a number")
    }
}
