//! One client of another node in a room of this one, and the link that it came over.
//!
//! A client that came with its room from the node before has no link yet: what the room says to it is held until its edge
//! has followed. `near` and `arrivals` make clients.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::convert;
use super::link::wire::{self, Down};
use super::link::{HANDS_OVER, Sender};
use crate::clock::UnixMillis;
use crate::limits::HELD_FRAMES;
use crate::lock::Lock;
use crate::model::{
    Address, Client, ClientKind, Close, MOVED_REASON, Message, MovedRoom, OutboundMessage, ROOM_MOVED, UserAccess,
};
use crate::room::{Delivered, FarSeat};

/// The link to one edge.
pub(super) struct NearLink {
    pub(super) down: Sender<Down>,
    /// Absent when the link has ended.
    pub(super) sockets: Lock<Option<HashMap<u64, Arc<NearClient>>>>,
    /// Messages that are not encoded yet, because more clients may get the same.
    saying: Lock<Option<Saying>>,
}

struct Saying {
    to: Vec<u64>,
    message: OutboundMessage,
}

/// A client of another node, as its room sees it.
pub(super) struct NearClient {
    /// Its room.
    pub(super) address: Address,
    kind: ClientKind,
    /// Its link, and its number there. Absent until its edge has followed the room.
    place: OnceLock<(Arc<NearLink>, u64)>,
    /// The bytes that wait for it, as its edge has told.
    pub(super) buffered: AtomicUsize,
    /// When the host last gave it the auto-response; 0 if it never did.
    auto_responded_at: AtomicU64,
    state: Lock<State>,
    /// Messages to a client without a link.
    held: Lock<Held>,
}

struct State {
    stage: Stage,
    /// Events that came before the room has answered, or that its queue had no space for; in order.
    waiting: VecDeque<Event>,
    /// The number of the next message that goes to the room.
    next: u64,
}

enum Stage {
    /// The room has not answered, or has not been opened.
    Connecting,
    Seated(Box<dyn FarSeat>),
    /// The client has left, or the link has ended.
    Gone,
}

pub(super) enum Event {
    Message(Message),
    Access(UserAccess),
    Close(Close),
}

#[derive(Default)]
struct Held {
    words: VecDeque<Word>,
    /// One was dropped, so the client cannot go on.
    is_too_much: bool,
}

enum Word {
    Say(OutboundMessage),
    Done,
    Close(u16, String),
    Left,
}

impl NearLink {
    pub(super) fn new(down: Sender<Down>) -> Self {
        NearLink { down, sockets: Lock::new(Some(HashMap::new())), saying: Lock::default() }
    }

    /// Sends a message behind those that are being said.
    pub(super) fn send(&self, message: &Down) {
        let mut saying = self.saying.lock();
        self.say_now(saying.take());
        // If the link has ended, its sockets end too.
        let _ = self.down.send(message);
    }

    /// Closes a socket whose room is not here.
    pub(super) fn refuse(&self, socket: u64) {
        self.send(&Down::Close(socket, ROOM_MOVED, MOVED_REASON.into()));
        self.send(&Down::Left(socket));
    }

    /// Adds a client. False if the link has ended.
    pub(super) fn add(&self, socket: u64, client: &Arc<NearClient>) -> bool {
        match &mut *self.sockets.lock() {
            Some(sockets) => {
                sockets.insert(socket, client.clone());
                true
            }
            None => false,
        }
    }

    pub(super) fn client(&self, socket: u64) -> Option<Arc<NearClient>> {
        self.sockets.lock().as_ref()?.get(&socket).cloned()
    }

    pub(super) fn clients(&self) -> Vec<Arc<NearClient>> {
        self.sockets.lock().iter().flat_map(|sockets| sockets.values().cloned()).collect()
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

    fn hands_over(&self) -> bool {
        self.down.version() >= HANDS_OVER
    }
}

impl NearClient {
    /// A client that connects over a link.
    pub(super) fn connecting(link: &Arc<NearLink>, socket: u64, address: Address, kind: ClientKind) -> Arc<Self> {
        let client = Self::arriving(address, kind);
        let _ = client.place.set((link.clone(), socket));
        client
    }

    /// A client that comes with its room, and whose edge has not followed yet.
    pub(super) fn arriving(address: Address, kind: ClientKind) -> Arc<Self> {
        let state = Lock::new(State { stage: Stage::Connecting, waiting: VecDeque::new(), next: 0 });
        let (place, buffered, auto_responded_at, held) = Default::default();
        Arc::new(NearClient { address, kind, place, buffered, auto_responded_at, state, held })
    }

    /// Its edge has followed the room: what was held is sent.
    pub(super) fn bind(self: &Arc<Self>, link: &Arc<NearLink>, socket: u64) {
        let is_linked = {
            let mut held = self.held.lock();
            let may_bind = !held.is_too_much && link.add(socket, self);
            if may_bind {
                let words = std::mem::take(&mut held.words);
                words.into_iter().for_each(|word| word.send(link, socket));
                link.say_now(link.saying.lock().take());
                // From here on words go directly to the link, and none overtakes those before.
                let _ = self.place.set((link.clone(), socket));
            }
            may_bind
        };
        if !is_linked {
            link.refuse(socket);
            self.lost();
        }
    }

    /// Takes an event of the client. False if its edge does not count what it sends.
    pub(super) fn event(&self, event: Event, max_waiting: usize) -> bool {
        {
            let mut state = self.state.lock();
            if state.waiting.len() >= max_waiting {
                return false;
            }
            state.waiting.push_back(event);
        }
        self.deliver();
        true
    }

    /// The room has accepted the client. `is_new` tells whether its edge waits for that.
    pub(super) fn seated(&self, seat: Box<dyn FarSeat>, is_new: bool) {
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
        if let Some((link, socket)) = self.place.get().filter(|_| is_new) {
            link.send(&Down::Seated(*socket));
        }
        self.deliver();
    }

    /// Passes events to the room, as far as it has space. The room never calls a client back while it takes an event.
    fn deliver(&self) {
        let mut locked = self.state.lock();
        let state = &mut *locked;
        while let Stage::Seated(seat) = &state.stage {
            let undelivered = match state.waiting.pop_front() {
                Some(Event::Message(message)) => {
                    let undelivered = self.message(&**seat, message, state.next);
                    state.next += u64::from(undelivered.is_none());
                    undelivered
                }
                Some(Event::Access(access)) => seat.set_access(access).err().map(Event::Access),
                Some(Event::Close(close)) => {
                    if let Stage::Seated(mut seat) = std::mem::replace(&mut state.stage, Stage::Gone) {
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
    fn message(&self, seat: &dyn FarSeat, message: Message, number: u64) -> Option<Event> {
        if let Message::Text(text) = &message
            && let Some(reply) = seat.auto_response(text)
            && let Some((link, socket)) = self.place.get()
        {
            link.say(*socket, &OutboundMessage::new(Message::Text(reply)));
            // The messages before it may still wait, and the edge must know which of them it has to send again.
            let hands_over = link.hands_over();
            link.send(&if hands_over { Down::Answered(*socket, number) } else { Down::Done(*socket, 1) });
            return None;
        }
        match seat.message(message) {
            Delivered::NotNow(message) => Some(Event::Message(message)),
            Delivered::Yes | Delivered::Never => None,
        }
    }

    /// Nothing more comes from its edge.
    pub(super) fn forget(&self) {
        if let Some((link, socket)) = self.place.get()
            && let Some(sockets) = &mut *link.sockets.lock()
        {
            sockets.remove(socket);
        }
    }

    /// The link has ended, or its edge has not followed: the room is told that the client is lost.
    pub(super) fn lost(&self) {
        let stage = std::mem::replace(&mut self.state.lock().stage, Stage::Gone);
        drop(stage);
    }

    /// Its room does not come to this node.
    pub(super) fn refuse(&self) {
        self.lost();
        if let Some((link, socket)) = self.place.get() {
            self.forget();
            link.refuse(*socket);
        }
    }

    /// Says something to the client, or holds it.
    fn word(&self, word: Word) {
        if let Some((link, socket)) = self.place.get() {
            return word.send(link, *socket);
        }
        let mut held = self.held.lock();
        // Its edge may have followed meanwhile.
        match self.place.get() {
            Some((link, socket)) => word.send(link, *socket),
            None if held.words.len() < HELD_FRAMES => held.words.push_back(word),
            None => held.is_too_much = true,
        }
    }
}

impl Word {
    fn send(self, link: &NearLink, socket: u64) {
        match self {
            Word::Say(message) => {
                if link.say(socket, &message) {
                    link.say_now(link.saying.lock().take());
                }
            }
            Word::Done => link.send(&Down::Done(socket, 1)),
            Word::Close(code, reason) => link.send(&Down::Close(socket, code, reason)),
            Word::Left => link.send(&Down::Left(socket)),
        }
    }
}

impl Client for NearClient {
    fn enqueue(&self, message: &OutboundMessage) -> bool {
        match self.place.get() {
            Some((link, socket)) => link.say(*socket, message),
            None => {
                self.word(Word::Say(message.clone()));
                false
            }
        }
    }

    fn flush(&self) {
        if let Some((link, _)) = self.place.get() {
            let mut saying = link.saying.lock();
            link.say_now(saying.take());
        }
    }

    fn close(&self, code: u16, reason: &str) {
        self.word(Word::Close(code, reason.to_owned()));
    }

    fn turn_done(&self) {
        self.word(Word::Done);
    }

    fn resume(&self) {
        self.deliver();
    }

    fn nothing_follows(&self) {
        self.word(Word::Left);
    }

    fn is_here(&self) -> bool {
        false
    }

    fn follow(&self, to: &MovedRoom, id: u64) {
        // Its edge sends again what the room has not run.
        let Some((link, socket)) = self.place.get().filter(|(link, _)| link.hands_over()) else {
            return self.close(ROOM_MOVED, MOVED_REASON);
        };
        let stage = std::mem::replace(&mut self.state.lock().stage, Stage::Gone);
        if let Stage::Connecting = stage {
            // The answer of the room is on its way to this client, and comes too late for its edge.
            link.send(&Down::Seated(*socket));
        }
        let moved = wire::HandedOver {
            namespace: to.room.namespace().into(),
            name: to.room.name().into(),
            node: to.node,
            tenure: convert::tenure_out(to.tenure),
            id,
        };
        link.send(&Down::HandedOver(*socket, Box::new(moved)));
        self.forget();
        drop(stage);
    }

    fn buffered(&self) -> usize {
        self.buffered.load(Ordering::Relaxed)
    }

    fn auto_responded(&self, at: UnixMillis) {
        self.auto_responded_at.store(at, Ordering::Relaxed);
    }

    fn auto_responded_at(&self) -> Option<UnixMillis> {
        Some(self.auto_responded_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    fn kind(&self) -> ClientKind {
        self.kind
    }
}
