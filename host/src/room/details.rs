//! One room as an operator sees it: its clients, timers and posts as plain data.

use super::activity::{Failure, Numbers};
use super::wakefulness::AwakeBecause;
use crate::clock::UnixMillis;
use crate::limits::{LISTED_POSTS, LISTED_SOCKETS, LISTED_TIMERS};
use crate::model::{Address, ClientKind, Posts, Sockets, Timers};
use crate::store::StoredRecord;

/// One room, as an operator sees it.
#[derive(Debug)]
pub struct RoomDetails {
    /// Its address.
    pub address: Address,
    /// It is awake, or has sockets, or had an event recently.
    pub in_memory: bool,
    /// Its numbers.
    pub numbers: Numbers,
    /// Its component, as the configuration names it.
    pub component: String,
    /// The version of its code that its next event runs with: the SHA-256 of the component.
    pub version: String,
    /// The version of the contract that the component was built against.
    pub contract: String,
    /// The number of its last commit.
    pub commit: u64,
    /// Its incarnation.
    pub incarnation: u64,
    /// The version of its data. Code of another version migrates it at the next event.
    pub data_version: u32,
    /// Its clients, the oldest first; at most 1,000 of them.
    pub sockets: Vec<SocketDetails>,
    /// Its timers, the next first; at most 100.
    pub timers: Vec<TimerDetails>,
    /// Its posts that are not accepted yet, the oldest first; at most 100.
    pub posts: Vec<PostDetails>,
    /// How many entries its storage has; at most 10,000 are counted.
    pub entries: usize,
    /// There are more entries than were counted.
    pub more_entries: bool,
    /// Its last failed turns, the oldest first, since it is in memory.
    pub failures: Vec<Failure>,
    /// Why it is awake, or what will wake it soon.
    pub awake_because: Vec<AwakeBecause>,
    /// It did not answer within half a second, because of a long turn or a slow disk. Then its sockets are missing.
    pub busy: bool,
}

/// A client of a room.
#[derive(Debug, Clone)]
pub struct SocketDetails {
    /// Its number, unique on this server.
    pub id: u64,
    /// The id of its user.
    pub user: String,
    /// The name of its user.
    pub user_name: String,
    /// The tags that the room has set.
    pub tags: Vec<String>,
    /// Bytes that wait to be sent to it.
    pub queued_bytes: usize,
    /// When it connected.
    pub since: UnixMillis,
    /// How it is connected.
    pub kind: ClientKind,
}

/// A timer of a room.
#[derive(Debug, Clone)]
pub struct TimerDetails {
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due_at: UnixMillis,
    /// How often it has failed since it became due.
    pub failures: u32,
    /// Bytes of its payload.
    pub payload_bytes: usize,
}

/// A post of a room.
#[derive(Debug, Clone)]
pub struct PostDetails {
    /// Its destination: a room or a server.
    pub to: String,
    /// When it is tried next.
    pub due_at: UnixMillis,
    /// How many tries have failed.
    pub failures: u32,
    /// Bytes of its body.
    pub bytes: usize,
}

/// The part of a room that only its task knows, or that it keeps while it sleeps.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) commit: u64,
    pub(super) incarnation: u64,
    pub(super) data_version: u32,
    pub(super) sockets: Vec<SocketDetails>,
    pub(super) timers: Vec<TimerDetails>,
    pub(super) posts: Vec<PostDetails>,
    pub(super) timer_at: Option<UnixMillis>,
    pub(super) post_at: Option<UnixMillis>,
}

pub(super) fn socket_details(sockets: &Sockets) -> Vec<SocketDetails> {
    let details = sockets.iter().take(LISTED_SOCKETS).map(|(_, socket)| SocketDetails {
        id: socket.id,
        user: socket.user.id.clone(),
        user_name: socket.user.name.clone(),
        tags: socket.tags.clone(),
        queued_bytes: socket.client.buffered(),
        since: socket.since,
        kind: socket.client.kind(),
    });
    details.collect()
}

pub(super) fn timer_details(timers: &Timers) -> Vec<TimerDetails> {
    let mut timers = timers.iter().collect::<Vec<_>>();
    timers.sort_by_key(|timer| timer.at);
    let details = timers.into_iter().take(LISTED_TIMERS).map(|timer| TimerDetails {
        name: timer.name.clone(),
        due_at: timer.at,
        failures: timer.attempt,
        payload_bytes: timer.payload.len(),
    });
    details.collect()
}

pub(super) fn post_details(posts: &Posts) -> Vec<PostDetails> {
    let details = posts.iter().take(LISTED_POSTS).map(|(_, post)| PostDetails {
        to: post.destination.to_string(),
        due_at: post.at,
        failures: post.attempt,
        bytes: post.request.body.len(),
    });
    details.collect()
}

impl Parts {
    /// A room that is not in memory.
    pub(super) fn of_record(record: &StoredRecord) -> Self {
        Parts {
            commit: record.commit,
            incarnation: record.incarnation,
            data_version: record.data_version,
            sockets: Vec::new(),
            timers: timer_details(&record.timers),
            posts: post_details(&record.posts),
            timer_at: record.timers.earliest(),
            post_at: record.posts.next().map(|(_, post)| post.at).min(),
        }
    }
}
