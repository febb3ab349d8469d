//! Clients who talk and run errands until the server goes away, come back to the next one, and write down all of it.

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

use crate::checker::{self, Account, Connection, Errands, Marks, Violation};
use crate::harness::{BASE, TEST_TIMEOUT};

/// Messages of one client that wait for their echo.
const WINDOW: usize = 4;

/// Errands in one life: a room lists a thousand counts at most.
const ERRANDS: usize = 100;

/// A server, as clients find it. Absent answers mean that it went away or refuses clients.
pub(crate) trait World {
    type Line: Line;

    /// A connection to a chat room.
    async fn enter(&self, room: &str, user: &str, since: u64) -> Option<Self::Line>;

    /// A request to a chat room. `key` makes it one that may be repeated.
    async fn ask(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value>;

    /// A command to a room that runs errands (`tests/guests/caller`).
    async fn tell(&self, room: &str, command: &Value) -> Option<Value>;

    /// The namespace of such rooms.
    fn errands(&self) -> &'static str;
}

/// One connection to a chat room.
pub(crate) trait Line {
    async fn send_text(&mut self, text: String) -> Option<()>;
    async fn recv_text(&mut self) -> Option<String>;
}

/// Everybody who lives through the crashes of one server.
pub(crate) struct Cast {
    rooms: Vec<Place>,
    errands: Errands,
    rng: StdRng,
}

struct Place {
    name: String,
    talkers: Vec<Account>,
    posters: Vec<Account>,
}

impl Cast {
    pub(crate) fn new(rooms: usize, talkers: usize, seed: u64) -> Self {
        let place = |room: usize| Place {
            name: format!("r{room}"),
            talkers: (0..talkers).map(|nth| Account::of(&format!("t{room}-{nth}"))).collect(),
            posters: vec![Account::of(&format!("p{room}"))],
        };
        Cast { rooms: (0..rooms).map(place).collect(), errands: Errands::default(), rng: StdRng::seed_from_u64(seed) }
    }

    /// All do so many things each, or as many as they can before the server goes away.
    pub(crate) async fn live(&mut self, world: &impl World, most: usize) {
        let rng = &mut self.rng;
        let in_rooms = self.rooms.iter_mut().map(|Place { name, talkers, posters }| {
            let name = &*name;
            let with_rng = talkers.iter_mut().map(|account| (account, StdRng::seed_from_u64(rng.next_u64())));
            let with_rng = with_rng.collect::<Vec<_>>().into_iter();
            let talking =
                with_rng.map(|(account, mut rng)| async move { talk(world, name, account, &mut rng, most).await });
            let posting = posters.iter_mut().map(|account| post(world, name, account, most));
            let (talking, posting) = (join_all(talking), join_all(posting));
            async move { tokio::join!(talking, posting) }
        });
        let in_rooms = join_all(in_rooms.collect::<Vec<_>>());
        let mut rng = StdRng::seed_from_u64(self.rng.next_u64());
        tokio::join!(in_rooms, run_errands(world, &mut self.errands, &mut rng, most.min(ERRANDS)));
    }

    /// With a server that stays: all is said until it is stored, and what shall happen later has happened. Then it is
    /// held against what the server has. Timers may take as long as `patience`.
    pub(crate) async fn settle(&mut self, world: &impl World, patience: Duration) -> Vec<Violation> {
        self.live(world, 0).await;
        let deadline = tokio::time::Instant::now() + patience;
        let mut found = loop {
            let (own, others) = (marks(world, "desk").await, marks(world, "sum").await);
            let found = checker::check_errands(&self.errands, &own, &others);
            let waiting = world.tell("desk", &json!({ "do": "waiting" })).await.expect("it stays");
            if (found.is_empty() && waiting["waiting"] == 0) || tokio::time::Instant::now() > deadline {
                break found;
            }
            // A doubled message does not disappear later.
            if found.iter().any(|one| matches!(one, Violation::Twice(_))) {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        for place in &self.rooms {
            let stored = stored(world, &place.name).await;
            let accounts = place.talkers.iter().chain(&place.posters).cloned().collect::<Vec<_>>();
            for unsettled in accounts.iter().flat_map(Account::unsettled) {
                found.push(Violation::Lost(format!("{unsettled} was said again and again, and nobody heard it")));
            }
            found.extend(checker::check_room(&accounts, &stored));
        }
        found
    }

    /// How many times a client was shown a message, and how many errands were acknowledged.
    pub(crate) fn told(&self) -> (usize, usize) {
        let accounts = self.rooms.iter().flat_map(|place| place.talkers.iter().chain(&place.posters));
        let errands = self.errands.posts.values().chain(self.errands.timers.values());
        (accounts.map(|account| account.shown().count()).sum(), errands.filter(|acknowledged| **acknowledged).count())
    }
}

/// Say so many new things, and what was not stored before; hear all.
async fn talk(world: &impl World, room: &str, account: &mut Account, rng: &mut StdRng, most: usize) -> Option<()> {
    let since = account.heard_until();
    let mut line = world.enter(room, &account.user, since).await?;
    let mut connection = Connection { since, ..Connection::default() };
    let went = converse(&mut line, account, &mut connection, rng, most).await;
    account.connections.push(connection);
    went
}

async fn converse(
    line: &mut impl Line,
    account: &mut Account,
    connection: &mut Connection,
    rng: &mut StdRng,
    most: usize,
) -> Option<()> {
    let mut history = loop {
        let heard = heard(line).await?;
        if heard["type"] == "history" {
            break heard;
        }
    };
    connection.resumed = history["resumed"].as_bool();
    connection.history = history["messages"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let in_history = |said: &String| connection.history.iter().any(|message| message["content"] == said.as_str());
    let mut waiting = account.unsettled().into_iter().filter(|said| !in_history(said)).collect::<VecDeque<_>>();
    for said in &waiting {
        line.send_text(chat(said)).await?;
    }
    if waiting.is_empty()
        && let Some(last) = account.said.last()
        && rng.random_range(0..3) == 0
    {
        account.said_again.insert(last.clone());
        line.send_text(chat(last)).await?;
    }
    let mut left = most;
    loop {
        while waiting.len() < WINDOW && left > 0 {
            let content = format!("{} {}", account.user, account.said.len());
            account.said.push(content.clone());
            waiting.push_back(content.clone());
            left -= 1;
            line.send_text(chat(&content)).await?;
        }
        if waiting.is_empty() {
            return Some(());
        }
        let mut heard = heard(line).await?;
        match heard["type"].as_str() {
            Some("message") => {
                let message = heard["message"].take();
                waiting.retain(|said| message["content"] != said.as_str());
                connection.heard.push(message);
            }
            // A turn failed, and those behind it may not have.
            Some("error") => {
                account.turns_failed = true;
                return None;
            }
            _ => {}
        }
    }
}

fn chat(content: &str) -> String {
    json!({ "type": "message", "content": content, "clientId": content }).to_string()
}

async fn heard(line: &mut impl Line) -> Option<Value> {
    let text =
        tokio::time::timeout(TEST_TIMEOUT, line.recv_text()).await.expect("it is heard, or the connection ends")?;
    Some(serde_json::from_str(&text).expect("it is JSON"))
}

/// Say so many things over HTTP, each until it is answered.
async fn post(world: &impl World, room: &str, account: &mut Account, most: usize) -> Option<()> {
    let unanswered = account.unanswered.iter().len();
    for _ in 0..most + unanswered {
        let next = || format!("{} {}", account.user, account.answers.len());
        let content = account.unanswered.clone().unwrap_or_else(next);
        account.unanswered = Some(content.clone());
        let body = json!({ "content": content });
        let mut answer = world.ask(room, &account.user, "/messages", Some((&body, &content))).await?;
        account.answers.push(answer["message"].take());
        account.unanswered = None;
    }
    Some(())
}

async fn run_errands(world: &impl World, errands: &mut Errands, rng: &mut StdRng, most: usize) -> Option<()> {
    for _ in 0..most {
        let nth = errands.posts.len() + errands.timers.len();
        if rng.random_range(0..2) == 0 {
            let (name, namespace) = (format!("post {nth}"), world.errands());
            errands.posts.insert(name.clone(), false);
            let post = json!({ "do": "mark-and-post", "name": name, "namespace": namespace, "room": "sum" });
            let posted = world.tell("desk", &post).await?["posted"] == true;
            errands.posts.insert(name, posted);
        } else {
            let (name, after) = (format!("timer {nth}"), rng.random_range(0..40));
            errands.timers.insert(name.clone(), false);
            let set = json!({ "do": "mark-later", "name": name, "after": after });
            let set = world.tell("desk", &set).await?["set"] == true;
            errands.timers.insert(name, set);
        }
    }
    Some(())
}

async fn marks(world: &impl World, room: &str) -> Marks {
    let marks = world.tell(room, &json!({ "do": "marks" })).await.expect("it stays");
    serde_json::from_value(marks).expect("counts by their names")
}

/// All messages of a chat room.
async fn stored(world: &impl World, room: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, checker::number);
        let path = format!("/messages?limit=500&after={after}");
        let mut page = world.ask(room, "checker", &path, None).await.expect("it stays");
        all.append(page["messages"].as_array_mut().expect("a list"));
        if page["hasMore"] == false {
            return all;
        }
    }
}

/// A process, at its address. Its presence rooms run errands.
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

impl World for Process {
    type Line = WebSocketStream<TcpStream>;

    async fn enter(&self, room: &str, user: &str, since: u64) -> Option<Self::Line> {
        let url = format!("ws://{}{BASE}/rooms/{room}/ws?since={since}&token={user}:{user}", self.0);
        let stream = TcpStream::connect(self.0).await.ok()?;
        let request = url.into_client_request().expect("a good URL");
        tokio_tungstenite::client_async(request, stream).await.ok().map(|(line, _)| line)
    }

    async fn ask(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        self.send(user, &format!("/rooms/{room}{path}"), post).await
    }

    async fn tell(&self, room: &str, command: &Value) -> Option<Value> {
        self.send("boss", &format!("/presence/{room}/update"), Some((command, "unused"))).await
    }

    fn errands(&self) -> &'static str {
        "PRESENCE"
    }
}

impl Line for WebSocketStream<TcpStream> {
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
impl World for Rooms {
    type Line = LocalSocket;

    async fn enter(&self, room: &str, user: &str, since: u64) -> Option<LocalSocket> {
        let request = model::Request::get(&format!("/ws?since={since}"));
        let address = Address::new("ROOMS", room).expect("a good name");
        self.connect_local(&address, request, User::new(user, user)).await.ok()
    }

    async fn ask(&self, room: &str, user: &str, path: &str, post: Option<(&Value, &str)>) -> Option<Value> {
        let mut request = match post {
            Some((body, _)) => model::Request::post_json(path, body),
            None => model::Request::get(path),
        };
        request.headers.extend(post.map(|(_, key)| ("idempotency-key".into(), key.into())));
        answer(self, "ROOMS", room, request.by(User::new(user, user))).await
    }

    async fn tell(&self, room: &str, command: &Value) -> Option<Value> {
        answer(self, "ERRANDS", room, model::Request::post_json("/", command)).await
    }

    fn errands(&self) -> &'static str {
        "ERRANDS"
    }
}

async fn answer(rooms: &Rooms, namespace: &str, room: &str, request: model::Request) -> Option<Value> {
    let address = Address::new(namespace, room).expect("a good name");
    let answer =
        tokio::time::timeout(TEST_TIMEOUT, rooms.request(&address, request)).await.expect("it answers, or fails");
    answer.ok().filter(|answer| answer.status < 300)?.json().ok()
}

impl Line for LocalSocket {
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
