//! Clients of other nodes in rooms of this one. It is the owner's half of a link; `far` is the other.
//!
//! To its room each of them is a client like any other. A broadcast is one message for all clients of a link that get
//! it. When the link ends, the room is told that all of them are lost.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::convert;
use super::link::wire::{self, Down, Up};
use super::link::{Answers, Handler, Receiver, Refusals, Sender, Why};
use super::metrics::Metrics;
use super::ownership::NodeId;
use crate::clock;
use crate::lock::Lock;
use crate::model::{Address, Client, ClientKind, Close, Message, OutboundMessage, PostNumber, ROOM_MOVED, UserAccess};
use crate::room::{Delivered, RequestError, Rooms, Seat};

/// The close of clients whose room goes to another node, because this one ends.
const LEAVING: &str = "the room moved; come back";

/// Refusals are logged at most this often.
const LOG_REFUSALS_EVERY: Duration = Duration::from_secs(1);

/// Events of one socket that may wait beside those that its edge lets through: its access, and its close.
const EVENTS_BESIDE: usize = 64;

/// The clients of other nodes.
pub(super) struct Near {
    rooms: Rooms,
    metrics: Arc<Metrics>,
    /// Events of one socket that its edge may have sent before the room has taken any.
    max_events: usize,
    links: Lock<Vec<Arc<NearLink>>>,
    is_leaving: AtomicBool,
    /// Takes what every node must know; absent until the host is complete.
    listener: OnceLock<Listener>,
}

/// Takes what every node must know.
pub(super) type Listener = Box<dyn Fn(wire::Told) -> Answers<wire::Taken> + Send + Sync>;

/// The link to one edge.
struct NearLink {
    down: Sender<Down>,
    /// Absent when the link has ended.
    sockets: Lock<Option<HashMap<u64, Arc<NearClient>>>>,
    /// Messages that are not encoded yet, because more clients may get the same.
    saying: Lock<Option<Saying>>,
}

struct Saying {
    to: Vec<u64>,
    message: OutboundMessage,
}

/// A client of another node, as its room sees it.
struct NearClient {
    link: Arc<NearLink>,
    socket: u64,
    kind: ClientKind,
    /// The bytes that wait for it, as its edge has told.
    buffered: AtomicUsize,
    state: Lock<State>,
}

struct State {
    stage: Stage,
    /// Events that came before the room has answered, or that its queue had no space for; in order.
    waiting: VecDeque<Event>,
}

enum Stage {
    /// The room has not answered.
    Connecting,
    Seated(Seat),
    /// The client has left, or the link has ended.
    Gone,
}

enum Event {
    Message(Message),
    Access(UserAccess),
    Close(Close),
}

impl Near {
    pub(super) fn new(rooms: Rooms, metrics: Arc<Metrics>, max_events: usize) -> Self {
        let (links, is_leaving, listener) = Default::default();
        Near { rooms, metrics, max_events, links, is_leaving, listener }
    }

    /// Sets the receiver of what every node must know, once.
    pub(super) fn set_listener(&self, listener: Listener) {
        // A second one would be a bug of the host, and the first one stays.
        let _ = self.listener.set(listener);
    }

    /// This node ends: clients of other nodes are closed with 1012, and no more are let in.
    pub(super) fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        for link in self.links.lock().iter() {
            let clients = match &*link.sockets.lock() {
                Some(sockets) => sockets.values().cloned().collect::<Vec<_>>(),
                None => Vec::new(),
            };
            clients.iter().for_each(|client| client.close(ROOM_MOVED, LEAVING));
        }
    }

    /// Clients of other nodes.
    pub(super) fn clients(&self) -> usize {
        let of = |link: &Arc<NearLink>| link.sockets.lock().as_ref().map_or(0, HashMap::len);
        self.links.lock().iter().map(of).sum()
    }

    /// Bytes that wait to be sent to other nodes.
    pub(super) fn queued_bytes(&self) -> usize {
        self.links.lock().iter().map(|link| link.down.queued_bytes()).sum()
    }

    /// Ends all links.
    pub(super) fn close(&self) {
        for link in self.links.lock().iter() {
            link.down.cut(Why::Closed);
        }
    }

    fn refuses(&self) -> Option<RequestError> {
        self.is_leaving.load(Ordering::Acquire).then_some(RequestError::Draining)
    }
}

/// The handler of links, and the log of those that are refused.
pub(super) struct Accepts {
    near: Arc<Near>,
    /// When a refusal was logged: anybody can cause one.
    logged_at: Lock<Option<Instant>>,
}

impl Accepts {
    pub(super) fn new(near: Arc<Near>) -> Self {
        Accepts { near, logged_at: Lock::default() }
    }
}

impl Handler for Accepts {
    fn linked(&self, down: Sender<Down>, up: Receiver<Up>) {
        let link = Arc::new(NearLink { down, sockets: Lock::new(Some(HashMap::new())), saying: Lock::default() });
        self.near.links.lock().push(link.clone());
        tokio::spawn(self.near.clone().receive(link, up));
    }

    fn request(&self, _: NodeId, asked: wire::Asked) -> Answers<wire::Answered> {
        let near = self.near.clone();
        Box::pin(async move {
            let answered = near.request(asked).await;
            answered.map(convert::response_out).map_err(|error| convert::no_answer_out(&error))
        })
    }

    fn told(&self, _: NodeId, told: wire::Told) -> Answers<wire::Taken> {
        match self.near.listener.get() {
            Some(listener) => listener(told),
            None => Box::pin(async { Err("it is starting".into()) }),
        }
    }
}

impl Refusals for Accepts {
    fn refused(&self, from: String, reason: String) {
        let now = clock::monotonic();
        let mut logged_at = self.logged_at.lock();
        if logged_at.is_none_or(|at| now.saturating_duration_since(at) >= LOG_REFUSALS_EVERY) {
            *logged_at = Some(now);
            tracing::warn!(from, reason, "a connection to the address of this node was refused");
        }
    }
}

impl Near {
    async fn request(&self, asked: wire::Asked) -> Result<crate::model::Response, RequestError> {
        self.refuses().map_or(Ok(()), Err)?;
        let wire::Asked { namespace, name, request, post } = asked;
        let room = |namespace: &str, name: &str| Address::new(namespace, name).map_err(|_| RequestError::NoNamespace);
        let address = room(&namespace, &name)?;
        let post = match post {
            Some((namespace, name, number)) => Some((room(&namespace, &name)?, PostNumber(number))),
            None => None,
        };
        self.rooms.request_from_node(&address, convert::request_in(request), post).await
    }

    /// Takes everything that comes over a link, until it ends.
    async fn receive(self: Arc<Self>, link: Arc<NearLink>, mut up: Receiver<Up>) {
        self.metrics.links.inc();
        while let Ok(message) = up.next().await {
            match message {
                Up::Connect(connect) => self.connect(&link, *connect),
                Up::Message(socket, content) => {
                    self.event(&link, socket, Event::Message(convert::message_in(content)));
                }
                Up::Access(socket, access) => self.event(&link, socket, Event::Access(convert::access_in(&access))),
                Up::Close(socket, close) => self.event(&link, socket, Event::Close(convert::close_in(close))),
                Up::Buffered(socket, bytes) => {
                    if let Some(client) = link.client(socket) {
                        client.buffered.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
                    }
                }
            }
        }
        self.metrics.links.dec();
        self.links.lock().retain(|other| !Arc::ptr_eq(other, &link));
        // Dropping the seats tells their rooms that the clients are lost. The lock is released first.
        let clients = link.sockets.lock().take().unwrap_or_default();
        clients.values().for_each(|client| client.lost());
    }

    fn connect(self: &Arc<Self>, link: &Arc<NearLink>, connect: wire::Connect) {
        let wire::Connect { socket, namespace, name, user, request, kind } = connect;
        let address = Address::new(&namespace, &name);
        let kind = convert::kind_in(kind);
        let address = match (self.refuses(), address) {
            (None, Ok(address)) => address,
            (refused, _) => {
                let refused = refused.unwrap_or(RequestError::NoNamespace);
                return link.send(&Down::Refused(socket, convert::not_seated_out(refused.into())));
            }
        };
        let state = Lock::new(State { stage: Stage::Connecting, waiting: VecDeque::new() });
        let client = Arc::new(NearClient { link: link.clone(), socket, kind, buffered: AtomicUsize::new(0), state });
        if let Some(sockets) = &mut *link.sockets.lock() {
            sockets.insert(socket, client.clone());
        }
        let near = self.clone();
        tokio::spawn(async move {
            let (request, user) = (convert::request_in(request), Arc::new(convert::user_in(user)));
            match near.rooms.connect_from_node(&address, request, user, client.clone()).await {
                Ok(seat) => client.seated(seat),
                Err(error) => {
                    client.forget();
                    client.link.send(&Down::Refused(socket, convert::not_seated_out(error)));
                }
            }
        });
    }

    fn event(&self, link: &Arc<NearLink>, socket: u64, event: Event) {
        let Some(client) = link.client(socket) else { return };
        {
            let mut state = client.state.lock();
            if state.waiting.len() >= self.max_events + EVENTS_BESIDE {
                // Its edge does not count what it sends.
                return link.down.cut(Why::Malformed);
            }
            state.waiting.push_back(event);
        }
        client.deliver();
    }
}

impl NearLink {
    /// Sends a message behind those that are being said.
    fn send(&self, message: &Down) {
        let mut saying = self.saying.lock();
        self.say_now(saying.take());
        // If the link has ended, its sockets end too.
        let _ = self.down.send(message);
    }

    fn say_now(&self, saying: Option<Saying>) {
        if let Some(Saying { to, message }) = saying {
            let mut said = Vec::new();
            convert::said_out(&message, &mut said);
            let _ = self.down.send(&Down::Say(to, said));
        }
    }

    /// Adds a client to the receivers of a message. True if the caller has to see to it that it is sent.
    fn say(&self, socket: u64, message: &OutboundMessage) -> bool {
        let mut saying = self.saying.lock();
        match &mut *saying {
            Some(now) if now.message.is(message) => {
                now.to.push(socket);
                false
            }
            now => {
                let before = now.replace(Saying { to: vec![socket], message: message.clone() });
                let is_new = before.is_none();
                self.say_now(before);
                // The caller that began the message before is still going to flush.
                is_new
            }
        }
    }

    fn client(&self, socket: u64) -> Option<Arc<NearClient>> {
        self.sockets.lock().as_ref()?.get(&socket).cloned()
    }
}

impl NearClient {
    /// The room has accepted the client.
    fn seated(&self, seat: Seat) {
        let unused = {
            let mut state = self.state.lock();
            match state.stage {
                Stage::Connecting => {
                    state.stage = Stage::Seated(seat);
                    None
                }
                Stage::Seated(_) | Stage::Gone => Some(seat),
            }
        };
        if unused.is_some() {
            // The link has ended meanwhile: dropping the seat tells the room.
            return;
        }
        self.link.send(&Down::Seated(self.socket));
        self.deliver();
    }

    /// Passes events to the room, as far as it has space. The room never calls a client back while it takes an event.
    fn deliver(&self) {
        let mut locked = self.state.lock();
        let state = &mut *locked;
        while let Stage::Seated(seat) = &state.stage {
            let undelivered = match state.waiting.pop_front() {
                Some(Event::Message(message)) => self.message(seat, message),
                Some(Event::Access(access)) => seat.set_access(access).err().map(Event::Access),
                Some(Event::Close(close)) => {
                    if let Stage::Seated(seat) = std::mem::replace(&mut state.stage, Stage::Gone) {
                        seat.close(close);
                    }
                    drop(locked);
                    return self.forget();
                }
                None => return,
            };
            if let Some(event) = undelivered {
                // The room calls `resume` when it has space.
                state.waiting.push_front(event);
                return;
            }
        }
    }

    /// Passes a message to the room, or answers it as the room has asked for. Returns it if there is no space.
    fn message(&self, seat: &Seat, message: Message) -> Option<Event> {
        if let Message::Text(text) = &message
            && let Some(reply) = seat.auto_response(text)
        {
            self.link.say(self.socket, &OutboundMessage::new(Message::Text(reply)));
            self.link.send(&Down::Done(self.socket, 1));
            return None;
        }
        match seat.message(message) {
            Delivered::NotNow(message) => Some(Event::Message(message)),
            Delivered::Yes | Delivered::Never => None,
        }
    }

    /// Nothing more comes from its edge.
    fn forget(&self) {
        if let Some(sockets) = &mut *self.link.sockets.lock() {
            sockets.remove(&self.socket);
        }
    }

    /// The link has ended: the room is told that the client is lost.
    fn lost(&self) {
        let stage = std::mem::replace(&mut self.state.lock().stage, Stage::Gone);
        drop(stage);
    }
}

impl Client for NearClient {
    fn enqueue(&self, message: &OutboundMessage) -> bool {
        self.link.say(self.socket, message)
    }

    fn flush(&self) {
        let mut saying = self.link.saying.lock();
        self.link.say_now(saying.take());
    }

    fn close(&self, code: u16, reason: &str) {
        self.link.send(&Down::Close(self.socket, code, reason.to_owned()));
    }

    fn turn_done(&self) {
        self.link.send(&Down::Done(self.socket, 1));
    }

    fn resume(&self) {
        self.deliver();
    }

    fn nothing_follows(&self) {
        self.link.send(&Down::Left(self.socket));
    }

    fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    fn kind(&self) -> ClientKind {
        self.kind
    }
}
