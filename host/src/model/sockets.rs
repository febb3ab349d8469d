//! The sockets of one room: the user, tags and attachment of each. They outlive the instance. The room owns the table,
//! and the guest reads and changes it during a turn.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Address, OutboundMessage, User, UserAccess};
use crate::clock::UnixMillis;

/// The key of a socket in the table of its room. It is not reused while the room is in memory. A handle of a guest
/// holds it.
pub type SocketKey = u32;

/// The client of a socket, as the room sees it. None of these functions may block.
pub trait Client: Send + Sync {
    /// Queues a message behind the earlier ones. A client with a full queue is closed with 1013 by its connection.
    ///
    /// Returns true if the queue was empty: then the caller must [`flush`](Self::flush) it soon.
    fn enqueue(&self, message: &OutboundMessage) -> bool;

    /// Writes queued messages, as far as the connection accepts them without waiting.
    fn flush(&self);

    /// Closes the connection after the queued messages.
    fn close(&self, code: u16, reason: &str);

    /// Ends the connection at once: the host is shutting down, and the client did not complete the close.
    fn abort(&self) {}

    /// The turn of one message of this client is over: it may send one more.
    fn turn_done(&self);

    /// The mailbox of the room has space again.
    fn resume(&self);

    /// The room was notified that this client has left: all messages to it are queued, and none follows.
    fn nothing_follows(&self) {}

    /// Whether its connection is at this node.
    fn is_here(&self) -> bool {
        true
    }

    /// The room goes on at another node with the socket `socket` of this client of another node. Nothing follows from
    /// this one. A client that cannot go with the room is closed.
    fn follow(&self, _: &MovedRoom, _socket: u64) {
        self.close(ROOM_MOVED, MOVED_REASON);
    }

    /// Bytes that are queued for this client.
    fn buffered(&self) -> usize;

    /// The host has given it the auto-response of its room.
    fn auto_responded(&self, _at: UnixMillis) {}

    /// When the host last did that.
    fn auto_responded_at(&self) -> Option<UnixMillis> {
        None
    }

    /// How it is connected, for the operator.
    fn kind(&self) -> ClientKind {
        ClientKind::Local
    }
}

/// How a client is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// A WebSocket.
    WebSocket,
    /// A stream of server-sent events.
    EventStream,
    /// Code in this process.
    Local,
}

impl ClientKind {
    /// Its name for the operator.
    pub fn name(self) -> &'static str {
        match self {
            ClientKind::WebSocket => "websocket",
            ClientKind::EventStream => "event-stream",
            ClientKind::Local => "local",
        }
    }
}

/// The close code of a socket that the operator closed. The client may come back.
pub const CLOSED_BY_OPERATOR: u16 = 4410;

/// The close code of a socket whose room another server has now. The client comes back.
pub const ROOM_MOVED: u16 = 1012;

/// The reason of that close.
pub const MOVED_REASON: &str = "the room moved; come back";

/// One time for which a node has had a room. Nodes only compare it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenureId {
    /// How often the room was claimed before.
    pub epoch: u64,
    /// A random number.
    pub token: u64,
}

/// A room that goes on at another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedRoom {
    /// The room.
    pub room: Address,
    /// The number of the node.
    pub node: u64,
    /// The tenure that has ended.
    pub tenure: TenureId,
}

/// The connection of one client.
#[derive(Clone)]
pub struct Socket {
    /// Unique among all sockets that this host ever had.
    pub id: u64,
    /// Its user.
    pub user: Arc<User>,
    /// The user's claims and permissions, as of the last event that the room saw.
    pub access: UserAccess,
    /// Labels that the room sets.
    pub tags: Vec<String>,
    /// Data that the room sets.
    pub attachment: Bytes,
    /// When it connected.
    pub since: UnixMillis,
    /// Its client has left. It stays in the table until the room was notified.
    pub gone: bool,
    /// Its client.
    pub client: Arc<dyn Client>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("id", &self.id).field("user", &self.user.id).finish_non_exhaustive()
    }
}

/// The usage of one socket since its room last reported it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketUsage {
    /// Its events, also those whose turns failed.
    pub events: u32,
    /// Its turns that succeeded.
    pub turns: u32,
    /// Calls and posts of its turns.
    pub calls: u32,
    /// CPU time of its turns, in nanoseconds.
    pub cpu_ns: u64,
    /// Bytes of its messages.
    pub bytes_in: u64,
    /// Messages to it. Inside the table, broadcasts are counted apart, so this may be below 0 there.
    pub deliveries: i64,
    /// Bytes of them.
    pub bytes_out: i64,
}

/// Messages to every socket since the last report.
#[derive(Debug, Clone, Copy, Default)]
struct Broadcasts {
    messages: i64,
    bytes: i64,
}

/// A receiver of broadcasts.
#[derive(Clone)]
pub struct Listener {
    /// The key of the socket.
    pub key: SocketKey,
    /// The id of the socket.
    pub id: u64,
    /// Its user.
    pub user: Arc<User>,
    /// Its client.
    pub client: Arc<dyn Client>,
}

/// A text that the host answers without waking the room, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoResponse {
    /// The complete text of the message.
    pub request: String,
    /// The complete text of the answer.
    pub reply: String,
}

/// Receivers that are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Except {
    /// No exception.
    #[default]
    Nobody,
    /// The socket with this id.
    Socket(u64),
    /// The user with this id.
    User(String),
}

/// A selection of sockets: those that match every given field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only with this tag.
    pub tag: Option<String>,
    /// Only of this user, by id.
    pub user: Option<String>,
    /// Except these.
    pub except: Except,
}

impl Filter {
    /// Whether a socket is selected. A socket whose client has left never is.
    pub fn matches(&self, socket: &Socket) -> bool {
        let excepted = match &self.except {
            Except::Nobody => false,
            Except::Socket(id) => socket.id == *id,
            Except::User(id) => socket.user.id == *id,
        };
        !socket.gone
            && !excepted
            && self.user.as_ref().is_none_or(|id| socket.user.id == *id)
            && self.tag.as_ref().is_none_or(|tag| socket.tags.contains(tag))
    }
}

/// All sockets of a room, oldest first.
#[derive(Debug, Default)]
pub struct Sockets {
    table: Table,
    next: SocketKey,
    /// How many clients are still connected.
    present: usize,
    /// Index by user; built at the first use, dropped when the room hibernates.
    by_user: Option<HashMap<String, BTreeSet<SocketKey>>>,
    /// Index by tag; built at the first use, dropped when the room hibernates.
    by_tag: Option<HashMap<String, BTreeSet<SocketKey>>>,
    /// All receivers of broadcasts; built at the first use, dropped when a socket comes or goes.
    everyone: Option<Everyone>,
    /// A socket that comes later does not get these, and one that leaves gets no more: both correct its own count.
    broadcasts: Broadcasts,
}

/// Sockets by key, oldest first. Each new key is the highest, so a sorted list suffices. It is fast to iterate, and in
/// a sleeping room it needs no more memory than its sockets.
#[derive(Debug, Default)]
struct Table {
    /// A removed socket is absent. Removed rows are dropped when they make up half of the list.
    rows: Vec<(SocketKey, Option<Row>)>,
    removed: usize,
}

#[derive(Debug)]
struct Row {
    socket: Socket,
    usage: SocketUsage,
}

impl Table {
    fn push(&mut self, key: SocketKey, row: Row) {
        debug_assert!(self.rows.last().is_none_or(|(last, _)| *last < key), "keys only grow");
        self.rows.push((key, Some(row)));
    }

    fn position(&self, key: SocketKey) -> Option<usize> {
        self.rows.binary_search_by_key(&key, |(key, _)| *key).ok()
    }

    fn get(&self, key: SocketKey) -> Option<&Socket> {
        self.rows[self.position(key)?].1.as_ref().map(|row| &row.socket)
    }

    fn get_mut(&mut self, key: SocketKey) -> Option<&mut Socket> {
        self.row_mut(key).map(|row| &mut row.socket)
    }

    fn row_mut(&mut self, key: SocketKey) -> Option<&mut Row> {
        let position = self.position(key)?;
        self.rows[position].1.as_mut()
    }

    fn remove(&mut self, key: SocketKey) -> Option<Socket> {
        let position = self.position(key)?;
        let Row { socket, .. } = self.rows[position].1.take()?;
        self.removed += 1;
        if self.removed * 2 >= self.rows.len() {
            self.compact();
        }
        Some(socket)
    }

    fn compact(&mut self) {
        self.rows.retain(|(_, row)| row.is_some());
        self.removed = 0;
    }

    fn is_empty(&self) -> bool {
        self.rows.len() == self.removed
    }

    fn iter(&self) -> impl Iterator<Item = (SocketKey, &Socket)> {
        self.rows.iter().filter_map(|(key, row)| Some((*key, &row.as_ref()?.socket)))
    }
}

/// All receivers of broadcasts at one time.
#[derive(Clone)]
struct Everyone(Arc<[Listener]>);

impl fmt::Debug for Everyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.0.len())
    }
}

impl Sockets {
    /// Adds a socket. Absent if this room has used all 4 billion keys; it must leave memory before it can have more.
    pub fn insert(&mut self, socket: Socket) -> Option<SocketKey> {
        let key = self.next;
        self.next = self.next.checked_add(1)?;
        index(&mut self.by_user, key, [&socket.user.id]);
        index(&mut self.by_tag, key, &socket.tags);
        self.present += usize::from(!socket.gone);
        self.everyone = None;
        let mut usage = SocketUsage::default();
        if !socket.gone {
            usage.joined(self.broadcasts);
        }
        self.table.push(key, Row { socket, usage });
        Some(key)
    }

    /// Removes a socket.
    pub fn remove(&mut self, key: SocketKey) -> Option<Socket> {
        let socket = self.table.remove(key)?;
        unindex(&mut self.by_user, key, [&socket.user.id]);
        unindex(&mut self.by_tag, key, &socket.tags);
        if !socket.gone {
            self.present -= 1;
            self.everyone = None;
        }
        Some(socket)
    }

    /// Its client has left: it is no longer counted or listed, and gets no more messages.
    pub fn mark_gone(&mut self, key: SocketKey) {
        if let Some(row) = self.table.row_mut(key).filter(|row| !row.socket.gone) {
            row.socket.gone = true;
            row.usage.left(self.broadcasts);
            self.present -= 1;
            self.everyone = None;
        }
    }

    /// A socket in the table, even if its client has left.
    pub fn get(&self, key: SocketKey) -> Option<&Socket> {
        self.table.get(key)
    }

    /// The key of the connected socket with this id.
    pub fn find(&self, id: u64) -> Option<SocketKey> {
        self.iter().find(|(_, socket)| socket.id == id).map(|(key, _)| key)
    }

    /// Replaces the tags of a socket.
    pub fn set_tags(&mut self, key: SocketKey, tags: Vec<String>) {
        if let Some(socket) = self.table.get_mut(key) {
            unindex(&mut self.by_tag, key, &socket.tags);
            index(&mut self.by_tag, key, &tags);
            socket.tags = tags;
        }
    }

    /// Replaces the attachment of a socket.
    pub fn set_attachment(&mut self, key: SocketKey, attachment: Bytes) {
        if let Some(socket) = self.table.get_mut(key) {
            socket.attachment = attachment;
        }
    }

    /// Replaces the claims and permissions of the user of a socket.
    pub fn set_access(&mut self, key: SocketKey, access: UserAccess) {
        if let Some(socket) = self.table.get_mut(key) {
            socket.access = access;
        }
    }

    /// The connected sockets, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (SocketKey, &Socket)> {
        self.table.iter().filter(|(_, socket)| !socket.gone)
    }

    /// All receivers of broadcasts, as a list that many turns share.
    pub fn everyone(&mut self) -> Arc<[Listener]> {
        if self.everyone.is_none() {
            let listener = |(key, socket): (SocketKey, &Socket)| Listener {
                key,
                id: socket.id,
                user: socket.user.clone(),
                client: socket.client.clone(),
            };
            self.everyone = Some(Everyone(self.iter().map(listener).collect()));
        }
        self.everyone.as_ref().expect("made above").0.clone()
    }

    /// Counts a message of so many bytes to every socket, and returns how many get it.
    pub fn count_broadcast(&mut self, bytes: usize, except: &Except) -> usize {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let everyone = self.everyone();
        let excepted = match except {
            Except::Nobody => 0,
            // Newer sockets have higher ids, except for those that came with the room from another node.
            Except::Socket(id) => match everyone.binary_search_by_key(id, |listener| listener.id) {
                Ok(place) => self.count_message(everyone[place].key, -1, -bytes),
                Err(_) => match everyone.iter().find(|listener| listener.id == *id) {
                    Some(listener) => self.count_message(listener.key, -1, -bytes),
                    None => 0,
                },
            },
            Except::User(id) => {
                let of_user = everyone.iter().filter(|listener| listener.user.id == *id);
                of_user.map(|listener| self.count_message(listener.key, -1, -bytes)).sum()
            }
        };
        self.broadcasts.messages += 1;
        self.broadcasts.bytes += bytes;
        everyone.len() - excepted
    }

    /// Counts a message of so many bytes to one socket. Returns false if its client has left.
    pub fn count_sent(&mut self, key: SocketKey, bytes: usize) -> bool {
        let is_present = self.table.get(key).is_some_and(|socket| !socket.gone);
        is_present && self.count_message(key, 1, i64::try_from(bytes).unwrap_or(i64::MAX)) > 0
    }

    /// Returns how many sockets were counted.
    fn count_message(&mut self, key: SocketKey, messages: i64, bytes: i64) -> usize {
        let Some(row) = self.table.row_mut(key) else { return 0 };
        row.usage.deliveries += messages;
        row.usage.bytes_out += bytes;
        1
    }

    /// The counters of a socket, for what its own events cause.
    pub fn usage_mut(&mut self, key: SocketKey) -> Option<&mut SocketUsage> {
        self.table.row_mut(key).map(|row| &mut row.usage)
    }

    /// Takes the counters of a socket, which is removed next.
    pub fn take_usage(&mut self, key: SocketKey) -> SocketUsage {
        let broadcasts = self.broadcasts;
        self.table.row_mut(key).map(|row| row.take_usage(broadcasts)).unwrap_or_default()
    }

    /// Takes the counters of all sockets for which something happened, also of those whose clients have left.
    pub fn take_usages(&mut self) -> Vec<(Arc<User>, SocketUsage)> {
        let broadcasts = std::mem::take(&mut self.broadcasts);
        let rows = self.table.rows.iter_mut().filter_map(|(_, row)| row.as_mut());
        let used = rows.filter_map(|row| {
            let usage = row.take_usage(broadcasts);
            row.usage = SocketUsage::default();
            (usage != SocketUsage::default()).then(|| (row.socket.user.clone(), usage))
        });
        used.collect()
    }

    /// The user of each socket in the table, also of those whose clients have left.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.table.iter().map(|(_, socket)| &socket.user)
    }

    /// How many clients are connected.
    pub fn len(&self) -> usize {
        self.present
    }

    /// Whether the table is empty. A socket whose close was not delivered yet still counts.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The selected sockets, oldest first. With a user or a tag the cost depends only on the matches.
    pub fn select(&mut self, filter: &Filter) -> Vec<SocketKey> {
        let candidates = if let Some(user) = &filter.user {
            let table = &self.table;
            self.by_user.get_or_insert_with(|| build(table, |socket| vec![&socket.user.id])).get(user)
        } else if let Some(tag) = &filter.tag {
            let table = &self.table;
            self.by_tag.get_or_insert_with(|| build(table, |socket| socket.tags.iter().collect())).get(tag)
        } else {
            return self.iter().filter(|(_, socket)| filter.matches(socket)).map(|(key, _)| key).collect();
        };
        let matches = |key: &&SocketKey| self.table.get(**key).is_some_and(|socket| filter.matches(socket));
        candidates.map(|keys| keys.iter().filter(matches).copied().collect()).unwrap_or_default()
    }

    /// Drops indexes and spare capacity, because the room hibernates.
    pub fn shrink(&mut self) {
        self.by_user = None;
        self.by_tag = None;
        self.everyone = None;
        self.table.compact();
        self.table.rows.shrink_to_fit();
    }
}

impl SocketUsage {
    /// The socket gets only later broadcasts.
    fn joined(&mut self, before: Broadcasts) {
        self.deliveries -= before.messages;
        self.bytes_out -= before.bytes;
    }

    /// The socket got the broadcasts up to now.
    fn left(&mut self, before: Broadcasts) {
        self.deliveries += before.messages;
        self.bytes_out += before.bytes;
    }
}

impl Row {
    /// The counters, with the broadcasts; they begin again.
    fn take_usage(&mut self, broadcasts: Broadcasts) -> SocketUsage {
        let mut usage = std::mem::take(&mut self.usage);
        if !self.socket.gone {
            usage.left(broadcasts);
            self.usage.joined(broadcasts);
        }
        usage
    }
}

type Index = HashMap<String, BTreeSet<SocketKey>>;

fn build<'a>(table: &'a Table, terms: impl Fn(&'a Socket) -> Vec<&'a String>) -> Index {
    let mut index = Index::new();
    for (key, socket) in table.iter() {
        for term in terms(socket) {
            index.entry(term.clone()).or_default().insert(key);
        }
    }
    index
}

fn index<'a>(index: &mut Option<Index>, key: SocketKey, terms: impl IntoIterator<Item = &'a String>) {
    let Some(index) = index else { return };
    for term in terms {
        index.entry(term.clone()).or_default().insert(key);
    }
}

fn unindex<'a>(index: &mut Option<Index>, key: SocketKey, terms: impl IntoIterator<Item = &'a String>) {
    let Some(index) = index else { return };
    for term in terms {
        if let Some(keys) = index.get_mut(term) {
            keys.remove(&key);
            if keys.is_empty() {
                index.remove(term);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoClient;

    impl Client for NoClient {
        fn enqueue(&self, _: &OutboundMessage) -> bool {
            false
        }
        fn flush(&self) {}
        fn close(&self, _: u16, _: &str) {}
        fn turn_done(&self) {}
        fn resume(&self) {}
        fn buffered(&self) -> usize {
            0
        }
    }

    fn socket(id: u64) -> Socket {
        let user = Arc::new(User { id: id.to_string(), name: String::new() });
        let access = UserAccess::default();
        let (tags, attachment, client) = (Vec::new(), Bytes::new(), Arc::new(NoClient));
        Socket { id, user, access, tags, attachment, since: 0, gone: false, client }
    }

    fn ids(sockets: &Sockets) -> Vec<u64> {
        sockets.iter().map(|(_, socket)| socket.id).collect()
    }

    #[test]
    fn sockets_are_listed_in_order_after_joins_and_leaves() {
        let mut sockets = Sockets::default();
        let keys = (0..10).map(|id| sockets.insert(socket(id)).unwrap()).collect::<Vec<_>>();
        for key in [3, 0, 9, 4, 5, 6] {
            assert_eq!(sockets.remove(keys[key]).map(|socket| socket.id), Some(key as u64));
            assert!(sockets.get(keys[key]).is_none() && sockets.remove(keys[key]).is_none());
        }
        assert_eq!(ids(&sockets), [1, 2, 7, 8]);
        sockets.shrink();
        let key = sockets.insert(socket(10)).unwrap();
        assert_eq!(ids(&sockets), [1, 2, 7, 8, 10]);
        assert_eq!(sockets.get(key).unwrap().id, 10);
        assert_eq!((sockets.len(), sockets.is_empty()), (5, false));
    }

    #[test]
    fn a_list_is_a_snapshot_that_later_changes_do_not_alter() {
        let mut sockets = Sockets::default();
        let first = sockets.insert(socket(0)).unwrap();
        let before = sockets.everyone();
        sockets.insert(socket(1)).unwrap();
        assert_eq!((before.len(), sockets.everyone().len()), (1, 2));
        assert!(Arc::ptr_eq(&sockets.everyone(), &sockets.everyone()), "one list until a socket comes or goes");
        sockets.mark_gone(first);
        assert_eq!(sockets.everyone().iter().map(|listener| listener.id).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn each_socket_counts_the_messages_that_it_gets() {
        let mut sockets = Sockets::default();
        let [ana, bo] = [0, 1].map(|id| sockets.insert(socket(id)).unwrap());
        assert_eq!(sockets.count_broadcast(10, &Except::Nobody), 2);
        let late = sockets.insert(socket(2)).unwrap();
        assert_eq!(sockets.count_broadcast(1, &Except::Socket(1)), 2);
        assert_eq!(sockets.count_broadcast(1, &Except::User("0".into())), 2);
        assert_eq!(sockets.count_broadcast(1, &Except::Socket(9)), 3);
        sockets.mark_gone(bo);
        assert!(sockets.count_sent(late, 100) && !sockets.count_sent(bo, 100));
        assert_eq!(sockets.count_broadcast(1, &Except::Nobody), 2);
        let got = |usage: SocketUsage| (usage.deliveries, usage.bytes_out);
        assert_eq!(got(sockets.take_usage(ana)), (4, 13), "all but the one that left the user out");
        assert_eq!(got(sockets.take_usage(ana)), (0, 0), "it was taken");
        let all = sockets.take_usages().into_iter().map(|(user, usage)| (user.id.clone(), got(usage)));
        assert_eq!(all.collect::<Vec<_>>(), [("1".into(), (3, 12)), ("2".into(), (5, 104))]);
        sockets.count_broadcast(7, &Except::Nobody);
        assert_eq!(got(sockets.take_usage(late)), (1, 7));
        assert_eq!(got(sockets.take_usage(bo)), (0, 0), "its client has left");
    }
}
