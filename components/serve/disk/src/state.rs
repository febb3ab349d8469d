//! The state of a room: storage, timers and sockets. It is built from changes, and becomes changes again for a new log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One effect of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Sets the value of a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
    /// Sets a timer.
    Set(Timer),
    /// Removes the timer with this name.
    Cancel(String),
    /// Adds a reader.
    Join(Socket),
    /// Removes the reader with this id.
    Leave(u64),
    /// Sets the tags of a socket.
    Tag(u64, Vec<String>),
    /// Sets the attachment of a socket.
    Attach(u64, Vec<u8>),
    /// Sends a message to these sockets.
    Send(String, Vec<u64>),
    /// Closes a socket, with a code and a reason.
    Close(u64, u16, String),
    /// Sets the lowest id that no socket has had yet.
    NextSocket(u64),
    /// Sends a message with an event id, which comes first, to these sockets.
    SendWithId(String, String, Vec<u64>),
}

/// One named timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Unique within its room.
    pub name: String,
    /// When it is due: Unix time in milliseconds.
    pub at: u64,
    /// The room's own data.
    pub payload: Vec<u8>,
    /// The number of failed turns since it fell due.
    pub attempt: u32,
}

/// One reader's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// A number that no other socket of this room has, or ever had.
    pub id: u64,
    /// The id and the name of its user.
    pub user: (String, String),
    /// The room's labels.
    pub tags: Vec<String>,
    /// The room's own data.
    pub attachment: Vec<u8>,
}

/// The state of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Storage.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Timers by name.
    pub timers: BTreeMap<String, Timer>,
    /// Sockets, oldest first.
    pub sockets: BTreeMap<u64, Socket>,
    /// The id of the next socket.
    pub next_socket: u64,
}

impl State {
    /// Applies a change. A message or a close does not change the state: only readers, who follow the log, use it.
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
            Change::Leave(id) => drop(self.sockets.remove(&id)),
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
            Change::Send(..) | Change::SendWithId(..) | Change::Close(..) => {}
        }
    }

    /// The changes that build this state from an empty one.
    pub fn as_changes(&self) -> Vec<Change> {
        let entries = self.entries.iter().map(|(key, value)| Change::Put(key.clone(), value.clone()));
        let timers = self.timers.values().cloned().map(Change::Set);
        let sockets = self.sockets.values().cloned().map(Change::Join);
        entries.chain(timers).chain(sockets).chain([Change::NextSocket(self.next_socket)]).collect()
    }

    /// The timer that has been due the longest.
    pub fn due_timer(&self, now: u64) -> Option<&Timer> {
        self.timers.values().filter(|timer| timer.at <= now).min_by_key(|timer| timer.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_a_round_trip_through_changes() {
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
            Change::Leave(8),
            Change::Send("said".into(), vec![7]),
            Change::SendWithId("1".into(), "said".into(), vec![7]),
        ] {
            state.apply(change);
        }
        let mut rebuilt = State::default();
        state.as_changes().into_iter().for_each(|change| rebuilt.apply(change));
        assert_eq!(rebuilt, state);
        assert_eq!((state.next_socket, state.sockets.len(), state.entries.len()), (9, 1, 1));
    }
}
