//! Starts the real server as a process, and has the clients for it: WebSockets, event streams and plain requests.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response as UpgradeResponse;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A test that waits so long has failed. It only stops a hang, even on a busy machine: no test depends on how fast
/// something is.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// The base path of the shipped configuration.
pub(crate) const BASE: &str = "/api/realtime";

/// One `dormouse serve`.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) directory: Arc<TempDir>,
    config: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// With an empty data directory and the shipped configuration.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With a configuration file of this content.
    pub(crate) async fn with(config: &str) -> Self {
        Self::in_directory(Arc::new(TempDir::new().expect("a temporary directory")), config).await
    }

    /// With rooms that misbehave on command (`tests/guests/unruly`), and the rest of a configuration file.
    pub(crate) async fn unruly(config: &str) -> Self {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).expect("a file");
        let namespace = "[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n";
        Self::in_directory(directory, &format!("{config}\n{namespace}")).await
    }

    /// As [`in_directory`](Self::in_directory), with the log level `trace`.
    pub(crate) async fn with_trace_log(directory: Arc<TempDir>, config: &str) -> Self {
        Self::with_args(directory, config, &["--log", "trace"]).await
    }

    /// As [`in_directory`](Self::in_directory), with more arguments.
    pub(crate) async fn with_args(directory: Arc<TempDir>, config: &str, args: &[&str]) -> Self {
        let child = spawn(&directory, config, args);
        Self::ready(child, directory, config).await.unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// In a directory that an earlier server may have used.
    pub(crate) async fn in_directory(directory: Arc<TempDir>, config: &str) -> Self {
        let child = spawn(&directory, config, &[]);
        Self::ready(child, directory, config).await.unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// As [`in_directory`](Self::in_directory), with more in its environment.
    pub(crate) async fn with_variables(directory: Arc<TempDir>, config: &str, variables: &[(&str, &Path)]) -> Self {
        let child =
            command(&directory, config, &[]).envs(variables.iter().copied()).spawn().expect("the binary starts");
        Self::ready(child, directory, config).await.unwrap_or_else(|log| panic!("the server did not start:\n{log}"))
    }

    /// As [`in_directory`](Self::in_directory), for a server that may refuse to start. The error is its log.
    pub(crate) async fn try_in_directory(directory: Arc<TempDir>, config: &str) -> Result<Self, String> {
        let child = spawn(&directory, config, &[]);
        Self::ready(child, directory, config).await
    }

    /// As [`try_in_directory`](Self::try_in_directory), started by a shell. It runs `script` and becomes the server;
    /// `prepare` sets its streams and its environment.
    pub(crate) async fn by_shell(
        directory: Arc<TempDir>,
        config: &str,
        script: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Self, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{script}\nexec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_dormouse")]);
        let mut command = complete(shell, &directory, config, &[]);
        prepare(&mut command);
        let child = command.spawn().expect("there is a shell");
        Self::ready(child, directory, config).await
    }

    async fn ready(mut child: Child, directory: Arc<TempDir>, config: &str) -> Result<Self, String> {
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let (announce, announced) = tokio::sync::oneshot::channel();
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut announce = Some(announce);
            while let Some(Ok(line)) = lines.next() {
                if let Some(address) = announced_address(&line)
                    && let Some(announce) = announce.take()
                {
                    let _ = announce.send(address);
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        match tokio::time::timeout(TEST_TIMEOUT, announced).await {
            Ok(Ok(address)) => {
                compiled::share(&directory);
                Ok(Server { child, address, directory, config: config.into(), log })
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                let log = log.lock().unwrap().clone();
                Err(log)
            }
        }
    }

    /// `kill -9`, and start again in the same directory.
    pub(crate) async fn crash_and_restart(mut self) -> Self {
        self.kill();
        let (directory, config) = (self.directory.clone(), self.config.clone());
        drop(self);
        Self::in_directory(directory, &config).await
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> &str {
        &self.config
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was started here");
    }

    /// Sends SIGTERM.
    pub(crate) fn send_sigterm(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// Sends SIGHUP.
    pub(crate) fn send_sighup(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }

    /// The address of its admin listener.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once("dormouse: admin on http://").expect("it has one");
        rest.lines().next().expect("the line goes on").parse().expect("it is an address")
    }

    /// Waits until the process exits.
    pub(crate) async fn wait_for_exit(&mut self) -> ExitStatus {
        within(async {
            loop {
                if let Some(status) = self.child.try_wait().expect("it was started here") {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until its log contains a text.
    pub(crate) async fn wait_for_log(&self, text: &str) {
        self.wait_for_any_log(&[text]).await;
    }

    /// Waits until its log contains one of these texts.
    pub(crate) async fn wait_for_any_log(&self, texts: &[&str]) {
        let found = async {
            while !texts.iter().any(|text| self.log().contains(text)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(TEST_TIMEOUT, found).await.is_err() {
            panic!("the log never contained {texts:?}:\n{}", self.log());
        }
    }

    /// The value of a counter, named with its labels; 0 if there is none yet.
    pub(crate) async fn count(&self, name: &str) -> u64 {
        let metrics = self.metrics().await;
        let value =
            metrics.lines().find_map(|line| line.strip_prefix("dormouse_")?.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or(0)
    }

    async fn metrics(&self) -> String {
        let metrics = request(self.admin_address(), Method::GET, "/metrics", &[], "").await;
        String::from_utf8(metrics.body.into()).expect("it is text")
    }

    /// Waits until a counter, named with its labels, has at least this value.
    pub(crate) async fn wait_for_count(&self, name: &str, at_least: u64) {
        let enough = async {
            while self.count(name).await < at_least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(TEST_TIMEOUT, enough).await.is_err() {
            panic!("it never counted {at_least} of {name}:\n{}", self.metrics().await);
        }
    }

    /// Waits until it has refused something because of this limit.
    pub(crate) async fn wait_for_refusal(&self, limit: &str) {
        self.wait_for_count(&format!("refused_total{{limit=\"{limit}\"}}"), 1).await;
    }

    /// The number of rooms that have a task now.
    pub(crate) async fn rooms_running(&self) -> u64 {
        self.get("/healthz").await.json()["roomsRunning"].as_u64().expect("a number")
    }

    /// Waits until no room runs: each has hibernated or was removed from memory.
    pub(crate) async fn wait_until_all_hibernate(&self) {
        let asleep = async {
            while self.rooms_running().await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(asleep).await;
    }

    /// A WebSocket into a chat room, as a user of dev auth.
    pub(crate) async fn join(&self, room: &str, name: &str) -> Client {
        self.connect(&format!("{BASE}/rooms/{room}/ws?token=id-{name}:{name}"), &[]).await.expect("it lets us in")
    }

    /// A WebSocket into a presence room.
    pub(crate) async fn join_presence(&self, scope: &str, name: &str) -> Client {
        self.connect(&format!("{BASE}/presence/{scope}/ws?token=id-{name}:{name}"), &[]).await.expect("it lets us in")
    }

    /// A WebSocket at a path, or the answer if it is refused.
    pub(crate) async fn connect(&self, path: &str, headers: &[(&str, &str)]) -> Result<Client, Answer> {
        connect(self.address, path, headers).await
    }

    /// A stream of events at a path, or the answer if it is refused.
    pub(crate) async fn open_event_stream(&self, path: &str, headers: &[(&str, &str)]) -> Result<EventStream, Answer> {
        open_event_stream(self.address, path, headers).await
    }

    /// GET without an identity.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], "").await
    }

    /// GET or POST on the API as a user of dev auth.
    pub(crate) async fn api(&self, method: Method, path: &str, name: &str, body: &str) -> Answer {
        let authorization = format!("Bearer id-{name}:{name}");
        self.request(method, &format!("{BASE}{path}"), &[("authorization", &authorization)], body).await
    }

    /// Any request.
    pub(crate) async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        request(self.address, method, path, headers, body).await
    }
}

/// The address in the line that says that a server is ready, as text or as JSON.
fn announced_address(line: &str) -> Option<SocketAddr> {
    let json = serde_json::from_str::<Value>(line).ok().filter(|line| line["fields"]["message"] == "ready");
    let url = match &json {
        Some(line) => line["fields"]["url"].as_str()?,
        None => line.strip_prefix("dormouse: ready on ")?.split_whitespace().next()?,
    };
    let (_, address) = url.split_once("://")?;
    Some(address.parse().expect("it is an address"))
}

/// The limit `min_free_bytes`, so high that no turn may write: the disk has so much, and never all of it free.
pub(crate) fn more_than_is_free() -> String {
    let stat = rustix::fs::statvfs(std::env::temp_dir()).expect("temporary directories are on a disk");
    format!("[limits]\nmin_free_bytes = {}\n", stat.f_blocks * stat.f_frsize - 1)
}

/// Any request to a server.
pub(crate) async fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    Answer::of(send(None, address, method, path, headers, body).await).await
}

/// The same from an address of this machine, such as 127.0.1.1: limits by address are apart.
pub(crate) async fn request_from(
    source: IpAddr,
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    Answer::of(send(Some(source), address, method, path, headers, body).await).await
}

/// Sends a request on a new connection, and waits for the head of the answer.
async fn send(
    source: Option<IpAddr>,
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Response<Incoming> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.expect("a socket");
    if let Some(source) = source {
        socket.bind((source, 0).into()).expect("an address of this machine");
    }
    let stream = socket.connect(address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("it speaks HTTP");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_ref()))).expect("a good request");
    within(sender.send_request(request)).await.expect("it answers")
}

/// The status with which a server answers a GET; `None` if it refuses the connection.
pub(crate) async fn try_get(address: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.ok()?;
    let mut line = [0; 12];
    within(stream.read_exact(&mut line)).await.ok()?;
    std::str::from_utf8(&line[9..]).ok()?.parse().ok()
}

/// A stream of events at a path of a server, or the answer if it is refused.
pub(crate) async fn open_event_stream(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<EventStream, Answer> {
    let response = send(None, address, Method::GET, path, headers, "").await;
    if response.status() != StatusCode::OK {
        return Err(Answer::of(response).await);
    }
    let (parts, body) = response.into_parts();
    Ok(EventStream { headers: parts.headers, body, read: Vec::new() })
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// A WebSocket at a path of a server, or the answer if it is refused.
pub(crate) async fn connect(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Client, Answer> {
    let mut request = format!("ws://{address}{path}").into_client_request().expect("a good URL");
    for (name, value) in headers {
        let name = hyper::header::HeaderName::try_from(*name).expect("a good name");
        request.headers_mut().insert(name, value.parse().expect("a good value"));
    }
    let stream = TcpStream::connect(address).await.expect("it listens");
    match within(tokio_tungstenite::client_async(request, stream)).await {
        Ok((socket, response)) => Ok(Client { socket, response }),
        Err(Error::Http(response)) => Err(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.into_body().unwrap_or_default().into(),
        }),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Code that servers of earlier tests have compiled, so that a hundred servers do not compile the same. A test that
/// does not want it makes the directory itself.
mod compiled {
    use std::fs::{self, DirBuilder};
    use std::os::unix::fs::DirBuilderExt;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};

    use tempfile::TempDir;

    /// So that no two copies are on their way under one name.
    static COPIES: AtomicU64 = AtomicU64::new(0);

    /// A component of JavaScript is ten times larger; few tests want it, and all would copy it.
    const MOST_BYTES: u64 = 4 << 20;

    fn shared() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
    }

    fn own(directory: &TempDir) -> PathBuf {
        directory.path().join("data/compiled")
    }

    /// For a directory of data that no server has used yet.
    pub(super) fn provide(directory: &TempDir) {
        let own = own(directory);
        if !own.exists() {
            DirBuilder::new().mode(0o700).recursive(true).create(&own).expect("a directory");
            copy_missing(&shared(), &own);
        }
    }

    /// For the servers of other tests.
    pub(super) fn share(directory: &TempDir) {
        fs::create_dir_all(shared()).expect("a directory");
        copy_missing(&own(directory), &shared());
    }

    /// Whatever does not work costs time and nothing else: what is torn is compiled again.
    fn copy_missing(from: &Path, to: &Path) {
        let Ok(files) = fs::read_dir(from) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let number = COPIES.fetch_add(1, Ordering::Relaxed);
            let unfinished = format!("{}-{number}.unfinished", std::process::id());
            let (there, on_its_way) = (to.join(&name), to.join(unfinished));
            let is_small = file.metadata().is_ok_and(|file| file.len() < MOST_BYTES);
            if is_small && !there.exists() && fs::copy(file.path(), &on_its_way).is_ok() {
                let _ = fs::rename(&on_its_way, there);
            }
        }
    }
}

/// An address where nobody listens, also no other process while the socket is kept.
pub(crate) fn refusing_address() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = socket.local_addr().expect("it has one");
    (socket, address)
}

/// Starts the binary on a free port.
pub(crate) fn spawn(directory: &TempDir, config: &str, args: &[&str]) -> Child {
    command(directory, config, args).spawn().expect("the binary starts")
}

fn command(directory: &TempDir, config: &str, args: &[&str]) -> Command {
    complete(Command::new(env!("CARGO_BIN_EXE_dormouse")), directory, config, args)
}

/// Adds the arguments and streams of a server to a command.
fn complete(mut command: Command, directory: &TempDir, config: &str, args: &[&str]) -> Command {
    let file = directory.path().join("dormouse.toml");
    // Its admin listener gives the metrics.
    let admin = if config.contains("admin") { "" } else { "admin.listen = \"127.0.0.1:0\"\n" };
    std::fs::write(&file, format!("{admin}{config}")).expect("a file");
    compiled::provide(directory);
    if let Some(store) = crate::store_of(directory) {
        command.env("DORMOUSE_STORE", store);
    }
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .arg("--data")
        .arg(directory.path().join("data"))
        .args(args)
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    command
}

/// An answer to an HTTP request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn of(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let body = within(body.collect()).await.expect("the answer is whole").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

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
        for member in ["type", "title", "detail"] {
            assert!(self.json()[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
    }
}

/// A WebSocket client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) response: UpgradeResponse,
}

impl Client {
    /// Sends a text message.
    pub(crate) async fn send(&mut self, text: &str) {
        within(self.socket.send(Message::text(text))).await.expect("the connection is open");
    }

    /// Sends a chat message.
    pub(crate) async fn send_chat(&mut self, content: &str) {
        self.send(&serde_json::json!({ "type": "message", "content": content }).to_string()).await;
    }

    /// Receives the next text message.
    pub(crate) async fn recv_text(&mut self) -> String {
        match self.next().await {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            other => panic!("expected a text, and got {other:?}"),
        }
    }

    /// Receives the next message, as JSON.
    pub(crate) async fn recv(&mut self) -> Value {
        let text = self.recv_text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?} is no JSON: {error}"))
    }

    /// Receives the next message of a type; skips all others.
    pub(crate) async fn recv_type(&mut self, kind: &str) -> Value {
        loop {
            let message = self.recv().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Receives the content of the next chat message; skips all other messages.
    pub(crate) async fn recv_content(&mut self) -> String {
        self.recv_type("message").await["message"]["content"].as_str().expect("text").to_owned()
    }

    /// Receives the next text message, which must be this one.
    pub(crate) async fn expect_text(&mut self, text: &str) {
        assert_eq!(self.recv_text().await, text);
    }

    /// Sends a request, and skips everything before this reply.
    pub(crate) async fn expect_reply(&mut self, request: &str, reply: &str) {
        self.send(request).await;
        while self.recv_text().await != reply {}
    }

    /// Receives the code and reason with which the server closes; skips all messages before.
    pub(crate) async fn recv_close(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.as_str().to_owned()),
                Some(Ok(Message::Close(None))) => return (CloseCode::Status.into(), String::new()),
                Some(Ok(_)) => {}
                other => panic!("the connection ended without a close frame: {other:?}"),
            }
        }
    }

    /// Receives the next message as JSON, or the code and reason with which the server closes.
    pub(crate) async fn recv_or_close(&mut self) -> Result<Value, (u16, String)> {
        match self.next().await {
            Some(Ok(Message::Text(text))) => Ok(serde_json::from_str(&text).expect("it is JSON")),
            Some(Ok(Message::Close(Some(frame)))) => Err((frame.code.into(), frame.reason.as_str().to_owned())),
            other => panic!("expected a text or a close frame, and got {other:?}"),
        }
    }

    /// Waits until the connection ends, with a close frame or without.
    pub(crate) async fn wait_for_end(&mut self) {
        while let Some(Ok(_)) = self.next().await {}
    }

    /// Closes the socket, and waits for the close frame of the server.
    pub(crate) async fn close(mut self) {
        within(self.socket.close(None)).await.expect("the connection is open");
        self.wait_for_end().await;
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        // A ping is no message: the timeout of the test goes on.
        within(async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return other,
                }
            }
        })
        .await
    }
}

/// Sends bytes that violate the protocol, all of them. Returns the close code; the connection then ends, without a
/// reset.
pub(crate) async fn send_protocol_violation(client: &mut Client, bytes: &[&[u8]]) -> u16 {
    for bytes in bytes {
        within(client.socket.get_mut().write_all(bytes)).await.expect("it is taken");
    }
    let (code, _) = client.recv_close().await;
    let mut rest = Vec::new();
    within(client.socket.get_mut().read_to_end(&mut rest)).await.expect("it ends in order");
    assert_eq!(rest.escape_ascii().to_string(), "");
    code
}

/// A stream of server-sent events.
pub(crate) struct EventStream {
    headers: hyper::HeaderMap,
    body: Incoming,
    read: Vec<u8>,
}

/// One server-sent event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{self:?} is no JSON: {error}"))
    }
}

impl EventStream {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Receives the text up to the next empty line; `None` at the end of the stream.
    pub(crate) async fn recv_block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.read.split_off(end + 2);
                let block = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8(block[..end].to_vec()).expect("events are text"));
            }
            let frame = within(self.body.frame()).await?.expect("the stream does not break off");
            let bytes = frame.into_data().expect("no trailers");
            self.read.extend_from_slice(&bytes);
        }
    }

    /// Receives the next event; skips comments, which keep the connection open.
    pub(crate) async fn recv(&mut self) -> Event {
        loop {
            let block = self.recv_block().await.expect("the stream goes on");
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.split_once(": "));
                let values = lines.filter(|(key, _)| *key == name).map(|(_, value)| value).collect::<Vec<_>>();
                (!values.is_empty()).then(|| values.join("\n"))
            };
            return Event { name: field("event"), id: field("id"), data: field("data").expect("every event has data") };
        }
    }
}

/// Waits for a future; fails the test after a long time.
pub(crate) async fn within<T>(expected: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, expected).await.expect("it did not happen in time")
}
