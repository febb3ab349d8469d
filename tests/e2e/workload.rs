//! A workload of chat clients and room commands. It runs until the server dies, continues with the next server, and
//! records everything that it sent and received.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dormouse::model::{self, Address, User};
use dormouse::room::{LocalSocket, Received, Rooms};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::checker::{self, ClientRecord, Connection, Counts, RoomCommands, Violation};
use crate::harness::{BASE, TEST_TIMEOUT};

/// The most messages of one client that wait for their echo.
const WINDOW: usize = 4;

/// The most commands for one server: a room lists at most a thousand counts.
const MAX_COMMANDS: usize = 100;

/// The same for a run that goes on and on, and the pause after each of them.
const MAX_COMMANDS_AGAIN: usize = 800;
const COMMAND_PAUSE: Duration = Duration::from_millis(20);

/// A server as clients use it. `None` means that it died or refuses clients.
pub(crate) trait ServerUnderTest {
    type ChatSocket: ChatSocket;

    /// Connects to a chat room.
    async fn open_chat(&self, room: &str, user: &str, since: u64) -> Option<Self::ChatSocket>;

    /// Sends a request to a chat room. A post has a body and an idempotency key.
    async fn send_request(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value>;

    /// Runs a command in a room of `tests/guests/caller`.
    async fn run_command(&self, room: &str, command: &Value) -> Option<Value>;

    /// The namespace of such rooms.
    fn caller_namespace(&self) -> &'static str;
}

/// One connection to a chat room.
pub(crate) trait ChatSocket {
    async fn send_text(&mut self, text: String) -> Option<()>;
    async fn recv_text(&mut self) -> Option<String>;
}

/// All clients of the rooms of one server, across its crashes.
pub(crate) struct Workload {
    /// The start of the names of its users and commands.
    prefix: &'static str,
    rooms: Vec<RoomClients>,
    commands: RoomCommands,
    rng: StdRng,
}

struct RoomClients {
    name: String,
    socket_clients: Vec<ClientRecord>,
    http_clients: Vec<ClientRecord>,
}

impl Workload {
    pub(crate) fn new(rooms: usize, socket_clients: usize, seed: u64) -> Self {
        Self::named("", rooms, socket_clients, seed)
    }

    /// The same rooms with other users and commands, whose names begin with `prefix`.
    pub(crate) fn named(prefix: &'static str, rooms: usize, socket_clients: usize, seed: u64) -> Self {
        let socket_client = |room, nth| ClientRecord::of(&format!("{prefix}t{room}-{nth}"));
        let clients_of_room = |room: usize| RoomClients {
            name: format!("r{room}"),
            socket_clients: (0..socket_clients).map(|nth| socket_client(room, nth)).collect(),
            http_clients: vec![ClientRecord::of(&format!("{prefix}p{room}"))],
        };
        Workload {
            prefix,
            rooms: (0..rooms).map(clients_of_room).collect(),
            commands: RoomCommands::default(),
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Each client sends `count` messages or commands, or as many as it can before the server dies.
    pub(crate) async fn run(&mut self, server: &impl ServerUnderTest, count: usize) {
        self.run_again(server, count, &|| false).await;
    }

    /// The same again and again, as long as `again` says so: each client begins anew by itself, so one that waits for a
    /// lost server delays no other.
    pub(crate) async fn run_again(
        &mut self,
        server: &impl ServerUnderTest,
        count: usize,
        again: &(impl Fn() -> bool + Sync),
    ) {
        let rng = &mut self.rng;
        let in_all_rooms = self.rooms.iter_mut().map(|RoomClients { name, socket_clients, http_clients }| {
            let name = &*name;
            let with_rng = socket_clients.iter_mut().map(|client| (client, StdRng::seed_from_u64(rng.next_u64())));
            let with_rng = with_rng.collect::<Vec<_>>().into_iter();
            let talking = with_rng.map(|(client, mut rng)| async move {
                chat_over_socket(server, name, client, &mut rng, count).await;
                while again() {
                    chat_over_socket(server, name, client, &mut rng, count).await;
                }
            });
            let posting = http_clients.iter_mut().map(|client| async move {
                post_over_http(server, name, client, count).await;
                while again() {
                    post_over_http(server, name, client, count).await;
                }
            });
            let (talking, posting) = (join_all(talking), join_all(posting));
            async move { tokio::join!(talking, posting) }
        });
        let in_all_rooms = join_all(in_all_rooms.collect::<Vec<_>>());
        let mut rng = StdRng::seed_from_u64(self.rng.next_u64());
        let (prefix, commands) = (self.prefix, &mut self.commands);
        let commanding = async {
            run_commands(server, prefix, commands, &mut rng, count.min(MAX_COMMANDS)).await;
            while again() {
                if commands.posts.len() + commands.timers.len() < MAX_COMMANDS_AGAIN {
                    run_commands(server, prefix, commands, &mut rng, 1).await;
                }
                tokio::time::sleep(COMMAND_PAUSE).await;
            }
        };
        tokio::join!(in_all_rooms, commanding);
    }

    /// With a server that stays up: sends everything until it is stored, waits for timers and posts, and compares the
    /// records with the data of the server. Timers may take as long as `patience`.
    pub(crate) async fn settle_and_check(
        &mut self,
        server: &impl ServerUnderTest,
        patience: Duration,
    ) -> Vec<Violation> {
        self.run(server, 0).await;
        let deadline = tokio::time::Instant::now() + patience;
        let mut found = loop {
            let (own, others) = (counts(server, "desk").await, counts(server, "sum").await);
            let found = checker::check_commands(&self.commands, &own, &others);
            let waiting = server.run_command("desk", &json!({ "do": "waiting" })).await.expect("it stays");
            if (found.is_empty() && waiting["waiting"] == 0) || tokio::time::Instant::now() > deadline {
                break found;
            }
            // A duplicate does not disappear later.
            if found.iter().any(|one| matches!(one, Violation::Duplicated(_))) {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        for clients_of_room in &self.rooms {
            let stored = stored(server, &clients_of_room.name).await;
            let clients =
                clients_of_room.socket_clients.iter().chain(&clients_of_room.http_clients).cloned().collect::<Vec<_>>();
            for unacknowledged in clients.iter().flat_map(ClientRecord::unacknowledged) {
                found.push(Violation::Lost(format!(
                    "{unacknowledged} was sent again and again, and never acknowledged"
                )));
            }
            found.extend(checker::check_room(&clients, &stored));
        }
        found
    }

    /// Forgets what clients received and what was acknowledged, since the server went back to a time before. Each
    /// command must still have happened as a whole or not at all.
    pub(crate) fn forget_acknowledgements(&mut self) {
        self.rooms.clear();
        let commands = self.commands.posts.values_mut().chain(self.commands.timers.values_mut());
        commands.for_each(|acknowledged| *acknowledged = false);
    }

    /// How many messages clients received, and how many commands were acknowledged.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let clients = self
            .rooms
            .iter()
            .flat_map(|clients_of_room| clients_of_room.socket_clients.iter().chain(&clients_of_room.http_clients));
        let commands = self.commands.posts.values().chain(self.commands.timers.values());
        (
            clients.map(|client| client.seen_messages().count()).sum(),
            commands.filter(|acknowledged| **acknowledged).count(),
        )
    }
}

/// Sends `count` new messages and all unacknowledged ones, and receives everything.
async fn chat_over_socket(
    server: &impl ServerUnderTest,
    room: &str,
    client: &mut ClientRecord,
    rng: &mut StdRng,
    count: usize,
) -> Option<()> {
    let since = client.received_until();
    let mut socket = server.open_chat(room, &client.user, since).await?;
    let mut connection = Connection { since, ..Connection::default() };
    let result = exchange_messages(&mut socket, client, &mut connection, rng, count).await;
    client.connections.push(connection);
    result
}

async fn exchange_messages(
    socket: &mut impl ChatSocket,
    client: &mut ClientRecord,
    connection: &mut Connection,
    rng: &mut StdRng,
    count: usize,
) -> Option<()> {
    let mut history = loop {
        let received = recv_json(socket).await?;
        if received["type"] == "history" {
            break received;
        }
    };
    connection.resumed = history["resumed"].as_bool();
    connection.history = history["messages"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let is_in_history = |sent: &String| connection.history.iter().any(|message| message["content"] == sent.as_str());
    let mut waiting = client.unacknowledged().into_iter().filter(|sent| !is_in_history(sent)).collect::<VecDeque<_>>();
    for sent in &waiting {
        socket.send_text(chat(sent)).await?;
    }
    if waiting.is_empty()
        && let Some(last) = client.sent.last()
        && rng.random_range(0..3) == 0
    {
        client.resent.insert(last.clone());
        socket.send_text(chat(last)).await?;
    }
    let mut left = count;
    loop {
        while waiting.len() < WINDOW && left > 0 {
            let content = format!("{} {}", client.user, client.sent.len());
            client.sent.push(content.clone());
            waiting.push_back(content.clone());
            left -= 1;
            socket.send_text(chat(&content)).await?;
        }
        if waiting.is_empty() {
            return Some(());
        }
        let mut received = recv_json(socket).await?;
        match received["type"].as_str() {
            Some("message") => {
                let message = received["message"].take();
                waiting.retain(|sent| message["content"] != sent.as_str());
                connection.received.push(message);
            }
            // A turn failed, and later ones may have succeeded.
            Some("error") => {
                client.turns_failed = true;
                return None;
            }
            _ => {}
        }
    }
}

fn chat(content: &str) -> String {
    json!({ "type": "message", "content": content, "clientId": content }).to_string()
}

async fn recv_json(socket: &mut impl ChatSocket) -> Option<Value> {
    let text = tokio::time::timeout(TEST_TIMEOUT, socket.recv_text())
        .await
        .expect("a message arrives, or the connection ends")?;
    Some(serde_json::from_str(&text).expect("it is JSON"))
}

/// Posts `count` messages over HTTP, each until it is answered.
async fn post_over_http(
    server: &impl ServerUnderTest,
    room: &str,
    client: &mut ClientRecord,
    count: usize,
) -> Option<()> {
    let unanswered = client.unanswered.iter().len();
    for _ in 0..count + unanswered {
        let next = || format!("{} {}", client.user, client.answers.len());
        let content = client.unanswered.clone().unwrap_or_else(next);
        client.unanswered = Some(content.clone());
        let body = json!({ "content": content });
        let mut answer = server.send_request(room, &client.user, "/messages", Some((&body, &content))).await?;
        client.answers.push(answer["message"].take());
        client.unanswered = None;
    }
    Some(())
}

async fn run_commands(
    server: &impl ServerUnderTest,
    prefix: &str,
    commands: &mut RoomCommands,
    rng: &mut StdRng,
    count: usize,
) -> Option<()> {
    for _ in 0..count {
        let nth = commands.posts.len() + commands.timers.len();
        if rng.random_range(0..2) == 0 {
            let (name, namespace) = (format!("{prefix}post {nth}"), server.caller_namespace());
            commands.posts.insert(name.clone(), false);
            let post = json!({ "do": "mark-and-post", "name": name, "namespace": namespace, "room": "sum" });
            let posted = server.run_command("desk", &post).await?["posted"] == true;
            commands.posts.insert(name, posted);
        } else {
            let (name, after) = (format!("{prefix}timer {nth}"), rng.random_range(0..40));
            commands.timers.insert(name.clone(), false);
            let set = json!({ "do": "mark-later", "name": name, "after": after });
            let set = server.run_command("desk", &set).await?["set"] == true;
            commands.timers.insert(name, set);
        }
    }
    Some(())
}

async fn counts(server: &impl ServerUnderTest, room: &str) -> Counts {
    let counts = server.run_command(room, &json!({ "do": "marks" })).await.expect("it stays");
    serde_json::from_value(counts).expect("counts by their names")
}

/// All messages of a chat room.
pub(crate) async fn stored(server: &impl ServerUnderTest, room: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, checker::number);
        let path = format!("/messages?limit=500&after={after}");
        let mut page = server.send_request(room, "checker", &path, None).await.expect("it stays");
        all.append(page["messages"].as_array_mut().expect("a list"));
        if page["hasMore"] == false {
            return all;
        }
    }
}

/// The server in another process, by its address. Its namespace `PRESENCE` has the component `caller`.
pub(crate) struct Process(pub(crate) SocketAddr);

impl Process {
    async fn send(&self, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        let stream = TcpStream::connect(self.0).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let posted = |(body, key): (&Value, _)| ("POST", body.to_string(), Some(key));
        let (method, body, key) = post.map_or(("GET", String::new(), None), posted);
        let request = Request::builder().method(method).uri(format!("{BASE}{path}"));
        let request =
            request.header("host", self.0.to_string()).header("authorization", format!("Bearer {user}:{user}"));
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        let request = request.body(Full::new(Bytes::from(body))).expect("a good request");
        let answer =
            tokio::time::timeout(TEST_TIMEOUT, sender.send_request(request)).await.expect("it answers, or ends");
        let answer = answer.ok().filter(|answer| answer.status().is_success())?;
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some(serde_json::from_slice(&body).expect("it is JSON"))
    }
}

impl ServerUnderTest for Process {
    type ChatSocket = WebSocketStream<TcpStream>;

    async fn open_chat(&self, room: &str, user: &str, since: u64) -> Option<Self::ChatSocket> {
        let url = format!("ws://{}{BASE}/rooms/{room}/ws?since={since}&token={user}:{user}", self.0);
        let stream = TcpStream::connect(self.0).await.ok()?;
        let request = url.into_client_request().expect("a good URL");
        tokio_tungstenite::client_async(request, stream).await.ok().map(|(socket, _)| socket)
    }

    async fn send_request(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        self.send(user, &format!("/rooms/{room}{path}"), post).await
    }

    async fn run_command(&self, room: &str, command: &Value) -> Option<Value> {
        self.send("boss", &format!("/presence/{room}/update"), Some((command, "unused"))).await
    }

    fn caller_namespace(&self) -> &'static str {
        "PRESENCE"
    }
}

impl ChatSocket for WebSocketStream<TcpStream> {
    async fn send_text(&mut self, text: String) -> Option<()> {
        self.send(Message::text(text)).await.ok()
    }

    async fn recv_text(&mut self) -> Option<String> {
        loop {
            match self.next().await?.ok()? {
                tungstenite::Message::Text(text) => return Some(text.as_str().to_owned()),
                tungstenite::Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}

/// The rooms of a host in this process, without a network.
impl ServerUnderTest for Rooms {
    type ChatSocket = LocalSocket;

    async fn open_chat(&self, room: &str, user: &str, since: u64) -> Option<LocalSocket> {
        let request = model::Request::get(&format!("/ws?since={since}"));
        let address = Address::new("ROOMS", room).expect("a good name");
        self.connect_local(&address, request, User::new(user, user)).await.ok()
    }

    async fn send_request(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        let mut request = match post {
            Some((body, _)) => model::Request::post_json(path, body),
            None => model::Request::get(path),
        };
        request.headers.extend(post.map(|(_, key)| ("idempotency-key".into(), key.into())));
        answer(self, "ROOMS", room, request.by(User::new(user, user))).await
    }

    async fn run_command(&self, room: &str, command: &Value) -> Option<Value> {
        answer(self, "CALLERS", room, model::Request::post_json("/", command)).await
    }

    fn caller_namespace(&self) -> &'static str {
        "CALLERS"
    }
}

async fn answer(rooms: &Rooms, namespace: &str, room: &str, request: model::Request) -> Option<Value> {
    let address = Address::new(namespace, room).expect("a good name");
    let answer =
        tokio::time::timeout(TEST_TIMEOUT, rooms.request(&address, request)).await.expect("it answers, or fails");
    answer.ok().filter(|answer| answer.status < 300)?.json().ok()
}

impl ChatSocket for LocalSocket {
    async fn send_text(&mut self, text: String) -> Option<()> {
        LocalSocket::send(self, model::Message::Text(text)).await.ok()
    }

    async fn recv_text(&mut self) -> Option<String> {
        match LocalSocket::recv(self).await {
            Received::Message(model::Message::Text(text)) => Some(text),
            Received::Message(model::Message::Binary(_)) => panic!("the chat room speaks in text"),
            Received::Closed(..) => None,
        }
    }
}
