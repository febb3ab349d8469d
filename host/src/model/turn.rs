//! The result of one event that ran through the guest: its writes, timers, posts and outputs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    Address, AutoResponse, Destination, ErasedData, Except, ExportedData, OutboundMessage, Post, PostNumber, Request,
    Response, SocketKey, Sockets, Timer,
};

/// Keys and their new values; an absent value removes the key.
pub type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// Changes to the stored data of a room. A turn makes them, a batch adds those of several turns, and one commit makes
/// them durable.
#[derive(Debug, Default)]
pub struct Changes {
    /// Entries of the storage of the room.
    pub writes: Writes,
    /// Timers that were set and removed.
    pub timers: BTreeMap<String, Option<Timer>>,
    /// Posts that were added, retried and removed.
    pub posts: BTreeMap<PostNumber, Option<Post>>,
    /// The highest post that was accepted from each other room.
    pub taken: BTreeMap<Address, PostNumber>,
    /// The data has another version, which the log of the room knows.
    pub migrated: bool,
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let has_records =
            !(self.writes.is_empty() && self.timers.is_empty() && self.posts.is_empty() && self.taken.is_empty());
        !has_records && !self.migrated
    }

    /// Adds later changes, which replace earlier ones to the same key.
    pub fn extend(&mut self, later: Changes) {
        extend(&mut self.writes, later.writes);
        extend(&mut self.timers, later.timers);
        extend(&mut self.posts, later.posts);
        extend(&mut self.taken, later.taken);
        self.migrated |= later.migrated;
    }
}

/// A batch often has one turn, so the whole map is moved if it is the first.
fn extend<K: Ord, V>(all: &mut BTreeMap<K, V>, later: BTreeMap<K, V>) {
    if all.is_empty() {
        *all = later;
    } else {
        all.extend(later);
    }
}

/// All effects of one event. They happen together or not at all; only `room` takes them apart.
#[derive(Debug, Default)]
#[must_use = "a turn that is dropped never happened"]
pub struct Turn {
    /// Changes to commit. They have no posts yet: a new post gets its number only when the number of its commit is
    /// known.
    pub changes: Changes,
    /// Requests to send once the turn is durable, in order; committed with the changes.
    pub posts: Vec<(Destination, Request)>,
    /// The old tags and attachments of changed sockets, in the order of the changes.
    pub sockets_before: Vec<(SocketKey, SocketChange)>,
    /// Outputs that leave once the turn is durable, in order.
    pub outputs: Vec<Output>,
    /// The answer to the cause of the event.
    pub answer: Answer,
}

impl Turn {
    /// Restores changed tags and attachments, the last change first, because the turn did not happen.
    pub fn undo(self, sockets: &mut Sockets) {
        for (key, before) in self.sockets_before.into_iter().rev() {
            match before {
                SocketChange::Tags(tags) => sockets.set_tags(key, tags),
                SocketChange::Attachment(attachment) => sockets.set_attachment(key, attachment),
            }
        }
    }
}

/// Tags or attachment of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketChange {
    /// Its tags.
    Tags(Vec<String>),
    /// Its attachment.
    Attachment(Bytes),
}

/// An output of a turn.
#[derive(Debug)]
pub enum Output {
    /// A message to sockets.
    Message(OutboundMessage, Audience),
    /// Closes a socket, after the earlier messages to it.
    Close {
        /// Its key.
        socket: SocketKey,
        /// The WebSocket close code.
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
    /// Sets or removes the auto-response.
    AutoResponse(Option<AutoResponse>),
}

/// The receivers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every socket that was in the room at the end of the turn.
    Everyone(Except),
    /// These sockets.
    These(Vec<SocketKey>),
}

/// The answer of the guest to the cause of the event.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// The event has no answer.
    #[default]
    None,
    /// The client may connect.
    Accept,
    /// The client is refused with an HTTP status and a reason. Nothing else of the turn is kept.
    Refuse(u16, String),
    /// The answer to a request.
    Response(Response),
    /// A part of the data of a user.
    Exported(ExportedData),
    /// A part of the data of a user was erased.
    Erased(ErasedData),
    /// The data has this version now.
    Migrated(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_changes_replace_earlier_ones() {
        let writes = |entries: &[(&'static str, Option<&'static str>)]| {
            let entries = entries.iter().map(|(key, value)| (Bytes::from(*key), value.map(Bytes::from)));
            Changes { writes: entries.collect(), ..Changes::default() }
        };
        let mut batch = Changes::default();
        assert!(batch.is_empty());
        batch.extend(writes(&[("a", Some("1")), ("b", Some("1"))]));
        batch.extend(writes(&[("b", Some("2")), ("c", Some("2"))]));
        batch.extend(writes(&[("a", None)]));
        assert_eq!(batch.writes, writes(&[("a", None), ("b", Some("2")), ("c", Some("2"))]).writes);
        assert!(!batch.is_empty());
    }
}
