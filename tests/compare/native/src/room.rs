//! The rooms: their members, their messages, and the delivery of frames.
//!
//! A room is a lock around its state. The task that brings an event also runs it, so a message wakes no task of the
//! room. The lock also gives all members the same messages in the same order. A room stays in memory once a user was in
//! it, because its messages are kept nowhere else.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tungstenite::Message;

use crate::protocol::{self, Broadcast, Command, NewMessage, User};
use crate::socket::Socket;

/// Messages that a room keeps.
const KEEP_MESSAGES: usize = 10_000;
/// Messages in a `history`.
const HISTORY_LIMIT: usize = 50;

/// All rooms, by name.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<HashMap<String, Arc<Room>>>);

/// One room.
#[derive(Default)]
pub(crate) struct Room(Mutex<State>);

#[derive(Default)]
struct State {
    sockets: Vec<Arc<Socket>>,
    /// How many sockets each user has here, by `userId`.
    users: HashMap<String, usize>,
    /// The last messages as JSON, oldest first.
    kept: VecDeque<Bytes>,
    last_seq: u64,
}

impl Rooms {
    /// The room of this name, for a user who joins or sends.
    pub(crate) fn open(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.lock();
        match rooms.get(name) {
            Some(room) => room.clone(),
            None => rooms.entry(name.to_owned()).or_default().clone(),
        }
    }

    /// The room of this name, if it was ever used.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Room>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Room {
    /// A client joins. The history is its first frame.
    pub(crate) fn join(&self, socket: &Arc<Socket>) {
        let mut state = self.lock();
        socket.send(protocol::history(state.latest(HISTORY_LIMIT)));
        state.sockets.push(socket.clone());

        let user = socket.user();
        let here = state.users.entry(user.id.clone()).or_default();
        *here += 1;
        if *here == 1 {
            let joined = Broadcast::UserJoined { user_id: &user.id, user_name: &user.name, timestamp: protocol::now() };
            state.send_to_others(user, &protocol::encode(&joined));
        }
    }

    /// A client is gone.
    pub(crate) fn leave(&self, socket: &Arc<Socket>) {
        let mut state = self.lock();
        let Some(at) = state.sockets.iter().position(|other| Arc::ptr_eq(other, socket)) else { return };
        state.sockets.swap_remove(at);

        let user = socket.user();
        let Entry::Occupied(mut here) = state.users.entry(user.id.clone()) else { return };
        *here.get_mut() -= 1;
        if *here.get() == 0 {
            here.remove();
            let left = Broadcast::UserLeft { user_id: &user.id, user_name: &user.name, timestamp: protocol::now() };
            state.send_to_all(&protocol::encode(&left));
        }
    }

    /// Handles all messages of a client that could be read at once.
    pub(crate) fn receive(&self, sender: &Socket, messages: &[Message]) {
        // Read first: it takes as long as all the rest, and needs no lock.
        let commands = messages.iter().map(Command::parse).collect::<Vec<_>>();
        let mut state = self.lock();
        let mut messages = Vec::new();
        for command in commands {
            match command {
                Ok(Command::Message { content, client_id }) => {
                    messages.push(state.keep(sender.user(), &content, client_id.as_deref()));
                }
                Ok(Command::Typing) => {
                    let user = sender.user();
                    let typing = protocol::encode(&Broadcast::Typing { user_id: &user.id, user_name: &user.name });
                    state.send_messages(&mut messages);
                    state.send_to_others(user, &typing);
                }
                Ok(Command::Ping) => sender.send(protocol::pong()),
                Err(error) => sender.send(protocol::encode(&error)),
            }
        }
        state.send_messages(&mut messages);
    }

    /// POST /messages: the message, as everybody hears it.
    pub(crate) fn post(&self, user: &User, content: &str) -> Bytes {
        let mut state = self.lock();
        let message = state.keep(user, content, None);
        state.send_to_all(&message.frame);
        message.message
    }

    /// GET /messages: the answer.
    pub(crate) fn list(&self, limit: usize) -> Bytes {
        protocol::messages(self.lock().latest(limit))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// Give what `user` says its number, and keep it.
    fn keep(&mut self, user: &User, content: &str, client_id: Option<&str>) -> NewMessage {
        self.last_seq += 1;
        let message = NewMessage::new(user, content, self.last_seq, client_id);
        if self.kept.len() == KEEP_MESSAGES {
            self.kept.pop_front();
        }
        self.kept.push_back(message.message.clone());
        message
    }

    /// Tell everybody these lines, in one piece: each socket is locked, and most are woken, once for all of them.
    fn send_messages(&self, messages: &mut Vec<NewMessage>) {
        match messages.as_slice() {
            [] => {}
            [message] => self.send_to_all(&message.frame),
            several => {
                let frames = several.iter().map(|message| &*message.frame).collect::<Vec<_>>();
                self.send_to_all(&frames.concat().into());
            }
        }
        messages.clear();
    }

    fn send_to_all(&self, frames: &Bytes) {
        for socket in &self.sockets {
            socket.send(frames.clone());
        }
    }

    fn send_to_others(&self, user: &User, frame: &Bytes) {
        for socket in self.sockets.iter().filter(|socket| socket.user().id != user.id) {
            socket.send(frame.clone());
        }
    }

    /// The last messages, oldest first.
    fn latest(&self, limit: usize) -> impl Iterator<Item = &Bytes> {
        self.kept.range(self.kept.len().saturating_sub(limit)..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_keeps_the_last_messages_numbered_without_gaps() {
        let user = User { id: "1".into(), name: "Ana".into() };
        let mut state = State::default();
        for _ in 0..KEEP_MESSAGES + 5 {
            state.keep(&user, "hi", None);
        }
        let seq = |message: &Bytes| serde_json::from_slice::<serde_json::Value>(message).unwrap()["seq"].as_u64();
        assert_eq!(state.kept.len(), KEEP_MESSAGES);
        assert_eq!(
            state.kept.iter().map(|message| seq(message).unwrap()).collect::<Vec<_>>(),
            Vec::from_iter(6..10_006)
        );
        assert_eq!(state.latest(1).map(seq).collect::<Vec<_>>(), [Some(10_005)]);
        assert_eq!(state.latest(usize::MAX).count(), KEEP_MESSAGES);
    }
}
