//! The rooms: who is in them, what they have said, and who hears what.
//!
//! A room is a lock around its state. Whoever brings an event runs it, so a message costs its room no wakeup, and the
//! lock is also what gives everybody the same messages in the same order. A room stays once somebody was in it: what
//! was said there is kept nowhere else.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tungstenite::Message;

use crate::protocol::{self, Line, Said, Told, User};
use crate::socket::Socket;

/// Messages that a room keeps.
const KEPT: usize = 10_000;
/// Messages in a `history`.
const IN_HISTORY: usize = 50;

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
    /// The room of this name, for somebody who comes or says something.
    pub(crate) fn open(&self, name: &str) -> Arc<Room> {
        let mut rooms = self.lock();
        match rooms.get(name) {
            Some(room) => room.clone(),
            None => rooms.entry(name.to_owned()).or_default().clone(),
        }
    }

    /// The room of this name, where anybody has been there.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Room>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Room>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Room {
    /// A client comes in. The history is the first that it is told.
    pub(crate) fn join(&self, socket: &Arc<Socket>) {
        let mut state = self.lock();
        socket.say(protocol::history(state.latest(IN_HISTORY)));
        state.sockets.push(socket.clone());

        let user = socket.user();
        let here = state.users.entry(user.id.clone()).or_default();
        *here += 1;
        if *here == 1 {
            let joined = Told::UserJoined { user_id: &user.id, user_name: &user.name, timestamp: protocol::now() };
            state.tell_others(user, &protocol::told(&joined));
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
            let left = Told::UserLeft { user_id: &user.id, user_name: &user.name, timestamp: protocol::now() };
            state.tell_all(&protocol::told(&left));
        }
    }

    /// A client said something: all that could be read of it at once.
    pub(crate) fn hear(&self, speaker: &Socket, messages: &[Message]) {
        // Read first: it takes as long as all the rest, and needs no lock.
        let said = messages.iter().map(Said::read).collect::<Vec<_>>();
        let mut state = self.lock();
        let mut lines = Vec::new();
        for said in said {
            match said {
                Ok(Said::Message { content, client_id }) => {
                    lines.push(state.keep(speaker.user(), &content, client_id.as_deref()));
                }
                Ok(Said::Typing) => {
                    let user = speaker.user();
                    let typing = protocol::told(&Told::Typing { user_id: &user.id, user_name: &user.name });
                    state.tell_lines(&mut lines);
                    state.tell_others(user, &typing);
                }
                Ok(Said::Ping) => speaker.say(protocol::pong()),
                Err(complaint) => speaker.say(protocol::told(&complaint)),
            }
        }
        state.tell_lines(&mut lines);
    }

    /// POST /messages: the message, as everybody hears it.
    pub(crate) fn post(&self, user: &User, content: &str) -> Bytes {
        let mut state = self.lock();
        let line = state.keep(user, content, None);
        state.tell_all(&line.frame);
        line.message
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
    fn keep(&mut self, user: &User, content: &str, client_id: Option<&str>) -> Line {
        self.last_seq += 1;
        let line = Line::new(user, content, self.last_seq, client_id);
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(line.message.clone());
        line
    }

    /// Tell everybody these lines, in one piece: each socket is locked, and most are woken, once for all of them.
    fn tell_lines(&self, lines: &mut Vec<Line>) {
        match lines.as_slice() {
            [] => {}
            [line] => self.tell_all(&line.frame),
            several => {
                let frames = several.iter().map(|line| &*line.frame).collect::<Vec<_>>();
                self.tell_all(&frames.concat().into());
            }
        }
        lines.clear();
    }

    fn tell_all(&self, frames: &Bytes) {
        for socket in &self.sockets {
            socket.say(frames.clone());
        }
    }

    fn tell_others(&self, user: &User, frame: &Bytes) {
        for socket in self.sockets.iter().filter(|socket| socket.user().id != user.id) {
            socket.say(frame.clone());
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
    fn a_room_keeps_the_last_messages_and_numbers_them_without_a_gap() {
        let user = User { id: "1".into(), name: "Ana".into() };
        let mut state = State::default();
        for _ in 0..KEPT + 5 {
            state.keep(&user, "hi", None);
        }
        let seq = |message: &Bytes| serde_json::from_slice::<serde_json::Value>(message).unwrap()["seq"].as_u64();
        assert_eq!(state.kept.len(), KEPT);
        assert_eq!(
            state.kept.iter().map(|message| seq(message).unwrap()).collect::<Vec<_>>(),
            Vec::from_iter(6..10_006)
        );
        assert_eq!(state.latest(1).map(seq).collect::<Vec<_>>(), [Some(10_005)]);
        assert_eq!(state.latest(usize::MAX).count(), KEPT);
    }
}
