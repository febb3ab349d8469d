//! What a room has: storage, timers, sockets. Made of changes, and turned into changes again where a log is begun anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One thing that a turn did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A key has this value.
    Put(Vec<u8>, Vec<u8>),
    /// A key has none.
    Delete(Vec<u8>),
    /// A timer is set.
    Set(Timer),
    /// The timer of a name is not.
    Cancel(String),
    /// A reader has come.
    Join(Socket),
    /// A reader has gone.
    Part(u64),
    /// A socket has these tags.
    Tag(u64, Vec<String>),
    /// A socket has this attachment.
    Attach(u64, Vec<u8>),
    /// This was said to these sockets.
    Say(String, Vec<u64>),
    /// A socket is closed by the room, with a code and a reason.
    Close(u64, u16, String),
    /// No socket had this number or a higher one.
    NextSocket(u64),
}

/// One named timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Unique within its room.
    pub name: String,
    /// When it is due: Unix time in milliseconds.
    pub at: u64,
    /// The room's own notes.
    pub payload: Vec<u8>,
    /// How often this firing has failed.
    pub attempt: u32,
}

/// One reader, as the room knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Unique among all that this room ever had.
    pub id: u64,
    /// Who is behind it: id and name.
    pub user: (String, String),
    /// The room's own labels.
    pub tags: Vec<String>,
    /// The room's own notes.
    pub attachment: Vec<u8>,
}

/// What a room has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Storage.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Timers by name.
    pub timers: BTreeMap<String, Timer>,
    /// Sockets, oldest first.
    pub sockets: BTreeMap<u64, Socket>,
    /// The number of the next socket.
    pub next_socket: u64,
}

impl State {
    /// What this change makes of it. What was said changes nothing: it is for who follows the log.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Put(key, value) => drop(self.entries.insert(key, value)),
            Change::Delete(key) => drop(self.entries.remove(&key)),
            Change::Set(timer) => drop(self.timers.insert(timer.name.clone(), timer)),
            Change::Cancel(name) => drop(self.timers.remove(&name)),
            Change::Join(socket) => {
                self.next_socket = self.next_socket.max(socket.id + 1);
                self.sockets.insert(socket.id, socket);
            }
            Change::Part(id) => drop(self.sockets.remove(&id)),
            Change::Tag(id, tags) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.tags = tags;
                }
            }
            Change::Attach(id, attachment) => {
                if let Some(socket) = self.sockets.get_mut(&id) {
                    socket.attachment = attachment;
                }
            }
            Change::NextSocket(next) => self.next_socket = self.next_socket.max(next),
            Change::Say(..) | Change::Close(..) => {}
        }
    }

    /// Changes that make this of nothing.
    pub fn as_changes(&self) -> Vec<Change> {
        let entries = self.entries.iter().map(|(key, value)| Change::Put(key.clone(), value.clone()));
        let timers = self.timers.values().cloned().map(Change::Set);
        let sockets = self.sockets.values().cloned().map(Change::Join);
        entries.chain(timers).chain(sockets).chain([Change::NextSocket(self.next_socket)]).collect()
    }

    /// The timer that has been due the longest.
    pub fn due(&self, now: u64) -> Option<&Timer> {
        self.timers.values().filter(|timer| timer.at <= now).min_by_key(|timer| timer.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_the_same_after_it_was_written_as_changes() {
        let socket = Socket { id: 7, user: ("u".into(), "n".into()), tags: Vec::new(), attachment: Vec::new() };
        let timer = Timer { name: "t".into(), at: 5, payload: vec![1], attempt: 2 };
        let mut state = State::default();
        for change in [
            Change::Put(vec![1], vec![2]),
            Change::Put(vec![2], vec![3]),
            Change::Delete(vec![1]),
            Change::Set(timer),
            Change::Join(socket.clone()),
            Change::Tag(7, vec!["x".into()]),
            Change::Attach(7, vec![9]),
            Change::Join(Socket { id: 8, ..socket }),
            Change::Part(8),
            Change::Say("said".into(), vec![7]),
        ] {
            state.apply(change);
        }
        let mut again = State::default();
        state.as_changes().into_iter().for_each(|change| again.apply(change));
        assert_eq!(again, state);
        assert_eq!((state.next_socket, state.sockets.len(), state.entries.len()), (9, 1, 1));
    }
}
