//! One client of this node in a room of another one, and the link over which they talk. `far` opens links.
//!
//! A client keeps the messages that its room has not run, because the room may be handed over to a third node: the client
//! follows it there, and sends them again. While it is on its way it reads on, within the usual limit of messages that wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::convert;
use super::link::wire::{self, Content, Down, NotSeated, Up};
use super::link::{HANDS_OVER, Link};
use crate::lock::Lock;
use crate::model::{Address, Client, Close, MOVED_REASON, Message, ROOM_MOVED, Request, User, UserAccess};
use crate::panics::guard;
use crate::room::{ConnectError, Delivered, FarSeat, RequestError};

/// A change of the bytes that wait for a client is told from this size on.
const BUFFERED_STEP: usize = 64 << 10;

/// An open link.
pub(super) struct FarLink {
    pub(super) link: Link,
    sockets: Lock<Sockets>,
}

#[derive(Default)]
struct Sockets {
    has_ended: bool,
    sockets: HashMap<u64, Arc<FarSocket>>,
    /// Clients from which nothing is read until the link has space.
    paused: Vec<Arc<dyn Client>>,
}

/// A client.
pub(super) struct FarSocket {
    client: Arc<dyn Client>,
    /// The bytes that wait for it, as the owner was told.
    buffered: AtomicUsize,
    state: Lock<State>,
}

struct State {
    place: Place,
    /// Absent once the room has answered.
    answer: Option<oneshot::Sender<Result<(), NotSeated>>>,
    /// The client has left.
    has_left: bool,
    /// The room has closed it.
    is_closed: bool,
    /// Events that the room has not run, in order. It is empty if the owner cannot hand rooms over.
    unfinished: VecDeque<Unfinished>,
    /// The number of the next message on this link.
    next: u64,
}

enum Place {
    /// Its number on a link.
    On(Arc<FarLink>, u64),
    /// The room was handed over, and the link to the next node is being opened.
    OnItsWay,
    /// It has ended.
    Nowhere,
}

enum Unfinished {
    /// With its number on the link.
    Message(u64, Content),
    Access(wire::Access),
    Close(wire::Closed),
}

impl Unfinished {
    fn to_up(&self, socket: u64) -> Up {
        match self {
            Unfinished::Message(_, content) => Up::Message(socket, content.clone()),
            Unfinished::Access(access) => Up::Access(socket, access.clone()),
            Unfinished::Close(closed) => Up::Close(socket, closed.clone()),
        }
    }
}

impl FarLink {
    pub(super) fn new(link: Link) -> Self {
        FarLink { link, sockets: Lock::default() }
    }

    fn hands_over(&self) -> bool {
        self.link.up.version() >= HANDS_OVER
    }

    /// Takes a message for a socket. A hand-over is the caller's.
    pub(super) fn take(&self, message: Down) {
        match message {
            Down::Seated(socket) => {
                if let Some(answer) = self.socket(socket).and_then(|socket| socket.state.lock().answer.take()) {
                    // The client may have given up; its seat has told the room.
                    let _ = answer.send(Ok(()));
                }
            }
            Down::Refused(socket, why) => {
                let removed = self.remove(socket);
                if let Some(answer) = removed.and_then(|socket| socket.state.lock().answer.take()) {
                    let _ = answer.send(Err(why));
                }
            }
            Down::Say(sockets, said) => self.say(&sockets, said),
            Down::Done(socket, turns) => {
                if let Some(socket) = self.socket(socket) {
                    (0..turns).for_each(|_| socket.done(None));
                }
            }
            Down::Answered(socket, number) => {
                if let Some(socket) = self.socket(socket) {
                    socket.done(Some(number));
                }
            }
            Down::Close(socket, code, reason) => {
                if let Some(found) = self.socket(socket) {
                    found.state.lock().is_closed = true;
                    guard(|| found.client.close(code, &reason));
                    self.tidy(socket, &found);
                }
            }
            Down::Left(socket) => {
                if let Some(socket) = self.remove(socket) {
                    guard(|| socket.client.nothing_follows());
                }
            }
            Down::HandedOver(..) => {}
        }
    }

    /// Gives messages of a room to clients. They are encoded once for all of them.
    fn say(&self, to: &[u64], said: Vec<wire::Said>) {
        let message = convert::said_in(said);
        let sockets = {
            let sockets = self.sockets.lock();
            to.iter().filter_map(|id| Some((*id, sockets.sockets.get(id)?.clone()))).collect::<Vec<_>>()
        };
        for (_, socket) in &sockets {
            if guard(|| socket.client.enqueue(&message)).is_some_and(|must_flush| must_flush) {
                guard(|| socket.client.flush());
            }
        }
        for (id, socket) in sockets {
            let (before, now) = (socket.buffered.load(Ordering::Relaxed), socket.client.buffered());
            if before.abs_diff(now) >= BUFFERED_STEP {
                socket.buffered.store(now, Ordering::Relaxed);
                let _ = self.link.up.send(&Up::Buffered(id, now as u64));
            }
        }
    }

    fn socket(&self, socket: u64) -> Option<Arc<FarSocket>> {
        self.sockets.lock().sockets.get(&socket).cloned()
    }

    pub(super) fn remove(&self, socket: u64) -> Option<Arc<FarSocket>> {
        self.sockets.lock().sockets.remove(&socket)
    }

    /// Adds a socket. False if the link has ended.
    fn add(&self, number: u64, socket: &Arc<FarSocket>) -> bool {
        let mut sockets = self.sockets.lock();
        if !sockets.has_ended {
            sockets.sockets.insert(number, socket.clone());
        }
        !sockets.has_ended
    }

    /// Forgets a socket that both sides have closed.
    fn tidy(&self, number: u64, socket: &FarSocket) {
        let is_over = {
            let state = socket.state.lock();
            state.has_left && state.is_closed
        };
        if is_over && self.remove(number).is_some() {
            guard(|| socket.client.nothing_follows());
        }
    }

    /// The link has ended: all clients are closed, and told that nothing follows. Returns their number.
    pub(super) fn end(&self) -> usize {
        let (sockets, paused) = {
            let mut all = self.sockets.lock();
            all.has_ended = true;
            (std::mem::take(&mut all.sockets), std::mem::take(&mut all.paused))
        };
        let clients = sockets.len();
        sockets.into_values().for_each(|socket| socket.end());
        for client in paused {
            guard(|| client.resume());
        }
        clients
    }

    /// Resumes a client when the link has space again. Returns false if it has space already.
    fn pause(self: &Arc<Self>, client: &Arc<dyn Client>) -> bool {
        let is_first = {
            let mut sockets = self.sockets.lock();
            if sockets.has_ended || !self.link.up.is_busy() {
                return false;
            }
            sockets.paused.push(client.clone());
            sockets.paused.len() == 1
        };
        if is_first {
            let link = self.clone();
            tokio::spawn(async move {
                link.link.up.freed().await;
                let paused = std::mem::take(&mut link.sockets.lock().paused);
                for client in paused {
                    guard(|| client.resume());
                }
            });
        }
        true
    }
}

impl FarSocket {
    /// Asks a room over a link to accept a client.
    pub(super) async fn connect(
        link: &Arc<FarLink>,
        number: u64,
        address: &Address,
        request: Request,
        user: &User,
        client: Arc<dyn Client>,
    ) -> Result<Seat, ConnectError> {
        let (answer, answered) = oneshot::channel();
        let connect = wire::Connect {
            socket: number,
            namespace: address.namespace().into(),
            name: address.name().into(),
            user: convert::user_out(user.clone()),
            request: convert::request_out(request),
            kind: convert::kind_out(client.kind()),
        };
        let state = State {
            place: Place::On(link.clone(), number),
            answer: Some(answer),
            has_left: false,
            is_closed: false,
            unfinished: VecDeque::new(),
            next: 0,
        };
        let socket = Arc::new(FarSocket { client, buffered: AtomicUsize::new(0), state: Lock::new(state) });
        if !link.add(number, &socket) {
            return Err(RequestError::Moved(None).into());
        }
        // From here on, giving up closes the socket.
        let seat = Seat { socket, has_closed: false };
        // If the link has ended, the answer is dropped with it.
        let _ = link.link.up.send(&Up::Connect(Box::new(connect)));
        match answered.await {
            Ok(Ok(())) => Ok(seat),
            Ok(Err(refused)) => Err(convert::not_seated_in(refused)),
            Err(_) => Err(RequestError::Broken.into()),
        }
    }

    /// A client of this node whose room has just gone to another one.
    pub(super) fn on_its_way(client: Arc<dyn Client>) -> (Seat, Arc<Self>) {
        let state = State {
            place: Place::OnItsWay,
            answer: None,
            has_left: false,
            is_closed: false,
            unfinished: VecDeque::new(),
            next: 0,
        };
        let socket = Arc::new(FarSocket { client, buffered: AtomicUsize::new(0), state: Lock::new(state) });
        (Seat { socket: socket.clone(), has_closed: false }, socket)
    }

    /// The room has run its first message, or has answered the one with this number.
    fn done(&self, number: Option<u64>) {
        {
            let mut state = self.state.lock();
            let is_it = |event: &Unfinished| match (event, number) {
                (Unfinished::Message(this, _), Some(number)) => *this == number,
                (Unfinished::Message(..), None) => true,
                _ => false,
            };
            match (state.unfinished.iter().position(is_it), number) {
                // Messages before it may not have run.
                (Some(place), Some(_)) => drop(state.unfinished.remove(place)),
                (Some(place), None) => drop(state.unfinished.drain(..=place)),
                (None, _) => {}
            }
        }
        self.client.turn_done();
    }

    /// Its room was handed over: from now on its events wait.
    pub(super) fn begins_to_follow(&self) {
        self.state.lock().place = Place::OnItsWay;
    }

    /// Goes on over the link to the next node, where it has this id. False if the link has ended.
    pub(super) fn follow(self: &Arc<Self>, link: &Arc<FarLink>, number: u64, tenure: wire::Tenure, id: u64) -> bool {
        if !link.add(number, self) {
            return false;
        }
        let mut state = self.state.lock();
        state.place = Place::On(link.clone(), number);
        state.next = 0;
        self.buffered.store(0, Ordering::Relaxed);
        let adopt = wire::Adopt { socket: number, tenure, id };
        // If the link has ended meanwhile, the socket is closed with it.
        let _ = link.link.up.send(&Up::Adopt(Box::new(adopt)));
        let State { unfinished, next, .. } = &mut *state;
        for event in unfinished {
            if let Unfinished::Message(of, _) = event {
                *of = *next;
                *next += 1;
            }
            let _ = link.link.up.send(&event.to_up(number));
        }
        true
    }

    /// Its room cannot be reached any more: it is closed with 1012.
    pub(super) fn end(&self) {
        // A connect without an answer fails when this is dropped.
        let answer = {
            let mut state = self.state.lock();
            state.place = Place::Nowhere;
            state.unfinished = VecDeque::new();
            state.answer.take()
        };
        drop(answer);
        guard(|| self.client.close(ROOM_MOVED, MOVED_REASON));
        guard(|| self.client.nothing_follows());
    }

    /// Sends an event, and keeps it if the room may be handed over before it has run.
    fn send(&self, state: &mut State, event: Unfinished) -> Delivered {
        let State { place, unfinished, .. } = state;
        match place {
            Place::On(link, number) => {
                let sent = link.link.up.send(&event.to_up(*number));
                if link.hands_over() {
                    unfinished.push_back(event);
                }
                if sent.is_ok() { Delivered::Yes } else { Delivered::Never }
            }
            Place::OnItsWay => {
                unfinished.push_back(event);
                Delivered::Yes
            }
            Place::Nowhere => Delivered::Never,
        }
    }

    /// Pauses the client if its link is full.
    fn is_paused(&self, state: &State) -> bool {
        match &state.place {
            Place::On(link, _) => link.pause(&self.client),
            Place::OnItsWay | Place::Nowhere => false,
        }
    }

    /// The client left before it got its place.
    fn lose(&self) {
        let mut state = self.state.lock();
        let closed = convert::close_out(Close::lost());
        match &state.place {
            Place::On(link, number) if link.remove(*number).is_some() => {
                let _ = link.link.up.send(&Up::Close(*number, closed));
                state.place = Place::Nowhere;
            }
            // The room is being handed over.
            Place::On(..) | Place::OnItsWay => {
                state.has_left = true;
                state.unfinished.push_back(Unfinished::Close(closed));
            }
            Place::Nowhere => {}
        }
    }

    fn leave(&self, close: Close) {
        let place = {
            let mut state = self.state.lock();
            state.has_left = true;
            self.send(&mut state, Unfinished::Close(convert::close_out(close)));
            match &state.place {
                Place::On(link, number) => Some((link.clone(), *number)),
                Place::OnItsWay | Place::Nowhere => None,
            }
        };
        if let Some((link, number)) = place {
            link.tidy(number, self);
        }
    }
}

/// The place of a client in a room of another node.
pub(super) struct Seat {
    socket: Arc<FarSocket>,
    has_closed: bool,
}

impl FarSeat for Seat {
    fn message(&self, message: Message) -> Delivered {
        let mut state = self.socket.state.lock();
        if self.socket.is_paused(&state) {
            return Delivered::NotNow(message);
        }
        let number = state.next;
        state.next += 1;
        self.socket.send(&mut state, Unfinished::Message(number, convert::message_out(message)))
    }

    fn set_access(&self, access: UserAccess) -> Result<(), UserAccess> {
        let mut state = self.socket.state.lock();
        if self.socket.is_paused(&state) {
            return Err(access);
        }
        // Of several in a row only the last one counts.
        state.unfinished.pop_back_if(|last| matches!(last, Unfinished::Access(_)));
        // A link that has ended has closed the client.
        let _ = self.socket.send(&mut state, Unfinished::Access(convert::access_out(&access)));
        Ok(())
    }

    fn close(&mut self, close: Close) {
        self.has_closed = true;
        self.socket.leave(close);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.has_closed {
            // It was refused, or its client left before the answer came.
            self.socket.lose();
        }
    }
}
