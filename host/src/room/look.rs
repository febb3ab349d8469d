//! The operator's view of rooms: pages of all rooms, one room with its sockets, timers and posts, and its storage.
//!
//! Each call reads a bounded number of records of the disk, however many rooms sleep there. Nothing wakes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Rooms;
use super::activity::Numbers;
use super::details::{Parts, RoomDetails};
use super::incoming::Incoming;
use super::mailbox::{Enqueued, Mailbox};
use super::operator_request::OperatorRequest;
use super::shared::Shared;
use super::wakefulness::{self, AwakeBecause, Facts};
use crate::clock::{self, UnixMillis};
use crate::limits::{LISTED_ENTRIES, ROOMS_READ_A_PAGE};
use crate::model::{Address, StorageFailed};
use crate::store::{EntriesPage, EntriesQuery};

/// How long a room may take to show itself before the answer says that it is busy.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// The order of a page of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoomOrder {
    /// By namespace and name: all rooms.
    #[default]
    Name,
    /// Most sockets first. This and the orders below have only rooms in memory: awake ones, and ones with sockets.
    Sockets,
    /// Most CPU over the last seconds first.
    Cpu,
    /// Most memory first.
    Memory,
    /// Most storage first.
    Storage,
    /// Most messages a second first.
    Messages,
    /// The latest event first.
    Active,
    /// Awake for the longest time first; behind them those that sleep.
    Awake,
}

impl FromStr for RoomOrder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "name" => RoomOrder::Name,
            "sockets" => RoomOrder::Sockets,
            "cpu" => RoomOrder::Cpu,
            "memory" => RoomOrder::Memory,
            "storage" => RoomOrder::Storage,
            "messages" => RoomOrder::Messages,
            "active" => RoomOrder::Active,
            "awake" => RoomOrder::Awake,
            _ => return Err(()),
        })
    }
}

impl RoomOrder {
    /// Its name, which is read back.
    pub fn name(self) -> &'static str {
        match self {
            RoomOrder::Name => "name",
            RoomOrder::Sockets => "sockets",
            RoomOrder::Cpu => "cpu",
            RoomOrder::Memory => "memory",
            RoomOrder::Storage => "storage",
            RoomOrder::Messages => "messages",
            RoomOrder::Active => "active",
            RoomOrder::Awake => "awake",
        }
    }

    fn value(self, numbers: &Numbers) -> u64 {
        match self {
            RoomOrder::Name => 0,
            RoomOrder::Sockets => numbers.sockets.into(),
            RoomOrder::Cpu => (numbers.cpu_share * 1e6) as u64,
            RoomOrder::Memory => numbers.memory_bytes,
            RoomOrder::Storage => numbers.storage_bytes,
            RoomOrder::Messages => (numbers.messages_per_second * 1e3) as u64,
            RoomOrder::Active => numbers.last_event.unwrap_or(0),
            RoomOrder::Awake => numbers.since.filter(|_| numbers.awake).map_or(0, |since| u64::MAX - since),
        }
    }
}

/// Which rooms a page has.
#[derive(Debug, Clone, Default)]
pub struct RoomsQuery {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only names that begin with this.
    pub prefix: String,
    /// Only rooms with an instance, or only rooms without.
    pub awake: Option<bool>,
    /// Their order.
    pub order: RoomOrder,
    /// Only rooms behind the page that had this as its `next`.
    pub after: Option<String>,
    /// The most rooms.
    pub limit: usize,
}

/// Some rooms.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RoomsPage {
    /// The rooms. A page may have fewer than its limit and not be the last one.
    pub rooms: Vec<ListedRoom>,
    /// For the next page; absent if this is the last one.
    pub next: Option<String>,
}

/// A room in a page.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedRoom {
    /// Its address.
    pub address: Address,
    /// It is awake, or has sockets, or had an event recently. Of other rooms only the storage is known here.
    pub in_memory: bool,
    /// Its numbers.
    pub numbers: Numbers,
    /// Why it is awake; empty for a room that sleeps.
    pub awake_because: Vec<AwakeBecause>,
}

impl ListedRoom {
    /// Its place in an order, as the `next` of a page that ends with it.
    pub fn place(&self, order: RoomOrder) -> String {
        match order {
            RoomOrder::Name => self.address.to_string(),
            order => format!("{}/{}", order.value(&self.numbers), self.address),
        }
    }
}

/// The `after` of a query is none that a page gave.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The `after` of a query is none that a page with the same order gave.
    #[error("the parameter `after` is the `next` of an earlier page with the same order")]
    After,
    /// The disk could not be read.
    #[error(transparent)]
    Storage(#[from] StorageFailed),
}

impl Shared {
    /// Why a room in memory is awake. `parts` are absent if it did not show them.
    pub(super) fn awake_because(
        &self,
        address: &Address,
        mailbox: &Mailbox,
        parts: Option<&Parts>,
    ) -> Vec<AwakeBecause> {
        let now = clock::unix_millis();
        let numbers = mailbox.activity.numbers(now);
        wakefulness::reasons(&Facts {
            now,
            awake: numbers.awake,
            turn_began: numbers.turn_began,
            last_event: numbers.last_event,
            hibernate_after: self.hibernate_after(address),
            events_per_second: numbers.events_per_second,
            events_waiting: mailbox.events_waiting(),
            outputs_waiting: mailbox.output_gate.len(),
            timer_at: parts.map_or(numbers.timer_at, |parts| parts.timer_at),
            posts_waiting: numbers.posts as usize,
            post_at: parts.and_then(|parts| parts.post_at),
        })
    }
}

impl Rooms {
    /// Some rooms, in an order. It blocks on the disk for some milliseconds.
    pub fn page(&self, query: &RoomsQuery) -> Result<RoomsPage, LookError> {
        let mut page = match query.order {
            RoomOrder::Name => self.page_by_name(query),
            order => self.page_by_value(query, order),
        }?;
        for room in page.rooms.iter_mut().filter(|room| room.numbers.awake) {
            if let Some(mailbox) = self.0.registry.get(&room.address) {
                room.awake_because = self.0.awake_because(&room.address, &mailbox, None);
            }
        }
        Ok(page)
    }

    fn page_by_value(&self, query: &RoomsQuery, order: RoomOrder) -> Result<RoomsPage, LookError> {
        let after = query.after.as_deref().map(|after| {
            let (value, address) = after.split_once('/').ok_or(LookError::After)?;
            let value = value.parse::<u64>().map_err(|_| LookError::After)?;
            Ok::<_, LookError>((Reverse(value), parse_address(address)?))
        });
        let after = after.transpose()?;
        let now = clock::unix_millis();
        // One more than the page has, to know whether another one follows.
        let mut top = BTreeMap::<(Reverse<u64>, Address), Numbers>::new();
        self.0.registry.visit(|address, mailbox| {
            if !query.names(address) {
                return;
            }
            let numbers = mailbox.activity.numbers(now);
            if query.awake.is_some_and(|awake| awake != numbers.awake) {
                return;
            }
            let place = (Reverse(order.value(&numbers)), address.clone());
            let is_behind = after.as_ref().is_none_or(|after| place > *after);
            let has_space = top.len() <= query.limit || top.last_key_value().is_some_and(|(last, _)| place < *last);
            if is_behind && has_space {
                top.insert(place, numbers);
                if top.len() > query.limit + 1 {
                    top.pop_last();
                }
            }
        });
        let has_more = top.len() > query.limit;
        if has_more {
            top.pop_last();
        }
        let last = top.last_key_value().filter(|_| has_more);
        let next = last.map(|((Reverse(value), address), _)| format!("{value}/{address}"));
        let listed =
            |((_, address), numbers)| ListedRoom { address, in_memory: true, numbers, awake_because: Vec::new() };
        Ok(RoomsPage { rooms: top.into_iter().map(listed).collect(), next })
    }

    /// Merges the names on disk with those in memory, namespace by namespace.
    fn page_by_name(&self, query: &RoomsQuery) -> Result<RoomsPage, LookError> {
        let after = query.after.as_deref().map(parse_address).transpose()?;
        let now = clock::unix_millis();
        let mut page = RoomsPage::default();
        let mut read = 0;
        for namespace in self.0.namespaces.keys() {
            let is_meant = query.namespace.as_ref().is_none_or(|meant| meant == namespace);
            if !is_meant || after.as_ref().is_some_and(|after| after.namespace() > namespace.as_str()) {
                continue;
            }
            let behind = after.as_ref().filter(|after| after.namespace() == namespace);
            let mut behind = behind.map(|after| after.name().to_owned());
            loop {
                let wanted = query.limit - page.rooms.len();
                // A filter may leave few of the names that are read, so more are read at once.
                let count = if query.awake.is_some() { ROOMS_READ_A_PAGE.saturating_sub(read).max(1) } else { wanted };
                let stored = match query.awake {
                    Some(true) => None,
                    _ => Some(self.0.store.rooms(namespace, &query.prefix, behind.as_deref(), count)?),
                };
                // Up to this name all stored ones are known.
                let known = stored.as_ref().filter(|stored| stored.more);
                let known = known.and_then(|stored| Some(stored.rooms.last()?.name.clone()));
                let mut rooms =
                    self.names_in_memory(query, namespace, behind.as_deref(), known.as_deref(), wanted, now);
                for stored in stored.iter().flat_map(|stored| &stored.rooms) {
                    read += 1;
                    let Ok(address) = Address::new(namespace, &stored.name) else { continue };
                    // Those in memory are listed already, or are left out by the filter.
                    if self.0.registry.get(&address).is_none() {
                        let numbers = Numbers { storage_bytes: stored.bytes, ..Numbers::default() };
                        let listed = ListedRoom { address, in_memory: false, numbers, awake_because: Vec::new() };
                        rooms.insert(stored.name.clone(), listed);
                    }
                }
                let has_more = rooms.len() > wanted;
                page.rooms.extend(rooms.into_values().take(wanted));
                if has_more {
                    page.next = page.rooms.last().map(|last| last.address.to_string());
                    return Ok(page);
                }
                let Some(known) = known else { break };
                if page.rooms.len() == query.limit || read >= ROOMS_READ_A_PAGE {
                    page.next = Some(format!("{namespace}/{known}"));
                    return Ok(page);
                }
                behind = Some(known);
            }
            if page.rooms.len() == query.limit {
                // The next page begins with the next namespace, which may be empty.
                page.next = page.rooms.last().map(|last| last.address.to_string());
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// The first rooms in memory with names between these two, and one more than `wanted`.
    fn names_in_memory(
        &self,
        query: &RoomsQuery,
        namespace: &str,
        after: Option<&str>,
        up_to: Option<&str>,
        wanted: usize,
        now: UnixMillis,
    ) -> BTreeMap<String, ListedRoom> {
        let mut first = BTreeMap::<String, ListedRoom>::new();
        self.0.registry.visit(|address, mailbox| {
            let name = address.name();
            let is_between = after.is_none_or(|after| name > after) && up_to.is_none_or(|up_to| name <= up_to);
            if address.namespace() != namespace || !name.starts_with(&query.prefix) || !is_between {
                return;
            }
            let has_space =
                first.len() <= wanted || first.last_key_value().is_some_and(|(last, _)| name < last.as_str());
            if !has_space {
                return;
            }
            let numbers = mailbox.activity.numbers(now);
            if query.awake.is_none_or(|awake| awake == numbers.awake) {
                let (address, awake_because) = (address.clone(), Vec::new());
                first.insert(name.to_owned(), ListedRoom { address, in_memory: true, numbers, awake_because });
                if first.len() > wanted + 1 {
                    first.pop_last();
                }
            }
        });
        first
    }

    /// One room; absent if nothing is stored of it and it is not in memory, and if its namespace is not configured.
    pub async fn look(&self, address: &Address) -> Result<Option<RoomDetails>, StorageFailed> {
        let Some(namespace) = self.0.namespaces.get(address.namespace()) else { return Ok(None) };
        let mailbox = self.0.registry.get(address);
        let parts = match &mailbox {
            Some(mailbox) => self.parts(mailbox).await,
            None => None,
        };
        let (store, room) = (self.0.store.clone(), address.clone());
        let read = move || -> Result<_, StorageFailed> {
            Ok((store.record(&room)?, store.count_entries(&room, LISTED_ENTRIES)?))
        };
        let read = tokio::task::spawn_blocking(read).await.expect("reading reports its errors and does not panic");
        let (record, (entries, more_entries)) = read?;
        if mailbox.is_none() && record.is_none() {
            return Ok(None);
        }
        let now = clock::unix_millis();
        let mut numbers = mailbox.as_ref().map(|mailbox| mailbox.activity.numbers(now)).unwrap_or_default();
        let busy = mailbox.is_some() && parts.is_none();
        let parts = parts.unwrap_or_else(|| record.as_ref().map(Parts::of_record).unwrap_or_default());
        if let (None, Some(record)) = (&mailbox, &record) {
            numbers.storage_bytes = record.bytes;
            numbers.timers = u32::try_from(record.timers.len()).unwrap_or(u32::MAX);
            numbers.posts = u32::try_from(record.posts.len()).unwrap_or(u32::MAX);
        }
        let awake_because = match &mailbox {
            Some(mailbox) => self.0.awake_because(address, mailbox, Some(&parts)),
            None => wakefulness::reasons(&Facts {
                now,
                hibernate_after: namespace.hibernate_after,
                timer_at: parts.timer_at,
                posts_waiting: numbers.posts as usize,
                post_at: parts.post_at,
                ..Facts::default()
            }),
        };
        // The component that its next event runs with.
        let code = namespace.code.choose(address.name()).code;
        Ok(Some(RoomDetails {
            address: address.clone(),
            in_memory: mailbox.is_some(),
            numbers,
            component: code.component.name().to_owned(),
            version: code.version.hash().to_string(),
            contract: code.component.contract().to_owned(),
            commit: parts.commit,
            incarnation: parts.incarnation,
            data_version: parts.data_version,
            sockets: parts.sockets,
            timers: parts.timers,
            posts: parts.posts,
            entries,
            more_entries,
            failures: mailbox.as_ref().map(|mailbox| mailbox.activity.failures()).unwrap_or_default(),
            awake_because,
            busy,
        }))
    }

    /// Whether a room is in memory here.
    pub fn is_in_memory(&self, address: &Address) -> bool {
        self.0.registry.get(address).is_some()
    }

    /// Some entries of the storage of a room, as they are on disk. It blocks on the disk.
    pub fn entries(&self, address: &Address, query: &EntriesQuery) -> Result<EntriesPage, StorageFailed> {
        self.0.store.entries(address, query)
    }

    /// Whether anything is stored of a room.
    pub(super) async fn is_stored(&self, address: &Address) -> Result<bool, StorageFailed> {
        let (store, address) = (self.0.store.clone(), address.clone());
        let read = tokio::task::spawn_blocking(move || store.is_stored(&address));
        read.await.expect("reading reports its errors and does not panic")
    }

    /// Asks a room in memory to show itself. A room without a task shows itself at once.
    async fn parts(&self, mailbox: &Arc<Mailbox>) -> Option<Parts> {
        if let Some(parts) = mailbox.with_sleeping(|state| state.parts()) {
            return Some(parts);
        }
        let (answer, answered) = oneshot::channel();
        let request = Incoming::Operator(OperatorRequest::Look(answer));
        match Mailbox::deliver(mailbox, &self.0, request) {
            Enqueued::Yes => clock::timeout(LOOK_TIMEOUT, answered).await.ok()?.ok(),
            Enqueued::Full(_) | Enqueued::Forgotten(_) => None,
        }
    }
}

impl RoomsQuery {
    fn names(&self, address: &Address) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| namespace == address.namespace())
            && address.name().starts_with(&self.prefix)
    }
}

fn parse_address(text: &str) -> Result<Address, LookError> {
    let (namespace, name) = text.split_once('/').ok_or(LookError::After)?;
    Address::new(namespace, name).map_err(|_| LookError::After)
}
