//! A trial before a deploy: new code migrates copies of the storage of some rooms, and wakes on them. Nothing that it
//! does is kept, it reaches no network, and the rooms do not notice. `deploys` calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tracing::Instrument;

use super::Rooms;
use super::shared::Shared;
use crate::clock::{self, UnixMillis};
use crate::guest::{
    CallError, CompiledRoom, LogLimiter, Moment, Outbound, PostError, TurnFailure, TurnResources, Waited,
};
use crate::limits::{INSTANCE_TIMEOUT, TRIAL_BYTES, TRIAL_ROOMS};
use crate::model::{
    Address, Answer, Destination, Event, Range, Request, Response, Storage, StorageFailed, Timers, Writes, scan_over,
};
use crate::outbound::FetchError;
use crate::random;
use crate::store::Copied;

/// How a trial went.
#[derive(Debug, Default)]
pub struct Tried {
    /// On how many rooms with data.
    pub rooms: usize,
    /// How many of them were migrated.
    pub migrated: usize,
    /// Why the present code cannot run on migrated data, if it cannot: such a room has no way back.
    pub no_way_back: Option<TurnFailure>,
}

/// The reason why new code must not be deployed.
#[derive(Debug, thiserror::Error)]
#[error("it cannot {} a copy of the storage of {room}: {failure}", attempted(.failure))]
pub struct TrialFailed {
    /// The address of the room, or "a room without data".
    pub room: String,
    /// The failure.
    pub failure: TurnFailure,
}

fn attempted(failure: &TurnFailure) -> &'static str {
    if failure.is_of_data() { "migrate" } else { "wake on" }
}

impl Rooms {
    /// Wakes new code of a namespace on a room without data, and on copies of the storage of recent rooms, which it
    /// migrates first. A room on which the present code cannot wake either does not count against the new code, nor
    /// does one whose `wake` makes calls, which have no answer here.
    ///
    /// Limit: [`TRIAL_ROOMS`] rooms, each with at most [`TRIAL_BYTES`] of storage.
    pub async fn try_code(&self, namespace: &str, new: &CompiledRoom) -> Result<Tried, TrialFailed> {
        let Some(settings) = self.0.namespaces.get(namespace) else { return Ok(Tried::default()) };
        let present = settings.code.present().component.clone();
        let trial =
            Trial { shared: &self.0, config: settings.config.clone(), message_out_bytes: settings.message_out_bytes };
        let without_data = "a-new-room";
        if let Ok(address) = Address::new(namespace, without_data) {
            let (entries, timers) = (Writes::new(), Timers::default());
            let copied = Copied { incarnation: random::number(), entries, timers, data_version: None };
            trial.compare("a room without data", &address, Arc::new(copied), new, &present).await?;
        }
        let mut tried = Tried::default();
        for address in recent(&self.0, namespace) {
            let (store, of) = (self.0.store.clone(), address.clone());
            let copied = tokio::task::spawn_blocking(move || store.copy(&of, TRIAL_BYTES)).await;
            // A room that cannot be read is not the fault of the new code, and says so when it is used.
            let Ok(Ok(Some(copied))) = copied else { continue };
            let stored = copied.data_version;
            let after = trial.compare(&address.to_string(), &address, Arc::new(copied), new, &present).await?;
            tried.rooms += 1;
            let Some(migrated) = after.filter(|copied| copied.data_version != stored) else { continue };
            tried.migrated += 1;
            if tried.no_way_back.is_none() {
                tried.no_way_back = trial.wake(&address, migrated, &present).await.err();
            }
        }
        Ok(tried)
    }
}

/// Rooms of a namespace: first those in memory that were used last, then stored ones.
fn recent(shared: &Shared, namespace: &str) -> Vec<Address> {
    let mut rooms = shared.registry.recent(namespace, TRIAL_ROOMS);
    if rooms.len() < TRIAL_ROOMS {
        let known = rooms.iter().map(|room| room.name().to_owned()).collect::<BTreeSet<_>>();
        let stored = shared.store.names(namespace, None, 2 * TRIAL_ROOMS).unwrap_or_default();
        let others = stored.iter().filter(|name| !known.contains(*name));
        rooms.extend(others.filter_map(|name| Address::new(namespace, name).ok()).take(TRIAL_ROOMS - rooms.len()));
    }
    rooms
}

struct Trial<'a> {
    shared: &'a Arc<Shared>,
    config: Arc<BTreeMap<String, String>>,
    message_out_bytes: usize,
}

impl Trial<'_> {
    /// Returns the data as the new code has left it; absent if that cannot wake.
    ///
    /// Fails: if only the new code cannot wake.
    async fn compare(
        &self,
        room: &str,
        address: &Address,
        copied: Arc<Copied>,
        new: &CompiledRoom,
        present: &CompiledRoom,
    ) -> Result<Option<Arc<Copied>>, TrialFailed> {
        let failure = match self.wake(address, copied.clone(), new).await {
            Ok(after) => return Ok(after),
            Err(failure) => failure,
        };
        match self.wake(address, copied, present).await {
            Err(same) if same.is_like(&failure) => Ok(None),
            _ => Err(TrialFailed { room: room.to_owned(), failure }),
        }
    }

    /// Migrates the data if the code needs that, and wakes. Returns the data as it is then; absent if that could not be
    /// tried.
    async fn wake(
        &self,
        address: &Address,
        copied: Arc<Copied>,
        code: &CompiledRoom,
    ) -> Result<Option<Arc<Copied>>, TurnFailure> {
        if self.shared.instances.available_permits() == 0 {
            self.shared.make_space();
        }
        // A host without a free instance has no place for a trial.
        let permit = self.shared.instances.clone().acquire_owned();
        let Ok(permit) = clock::timeout(INSTANCE_TIMEOUT, permit).await else { return Ok(None) };
        let _permit = permit.expect("the semaphore is never closed");
        let no_network = Arc::new(NoNetwork::default());
        let lent = Lent {
            address: address.clone(),
            config: self.config.clone(),
            message_out_bytes: self.message_out_bytes,
            outbound: code.is_connected().then(|| no_network.clone() as Arc<dyn Outbound>),
            now: self.shared.timeline.now(),
        };
        let (code, log_limiter) = (code.clone(), Arc::new(LogLimiter::new(0)));
        let span = tracing::info_span!("trial", room = %address);
        let wake = async move {
            let migrated = lent.migrate(&copied, &code, &log_limiter).await?;
            code.try_wake(lent.resources(&migrated), lent.moment(), &log_limiter).await.map(|()| migrated)
        };
        let woken = self.shared.long_turns.run(Box::pin(wake.instrument(span)), || {}).await;
        match woken {
            Ok(migrated) => Ok(Some(migrated)),
            Err(_) if no_network.was_asked.load(Ordering::Relaxed) => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Everything that is lent to the code, beside the data of the room.
struct Lent {
    address: Address,
    config: Arc<BTreeMap<String, String>>,
    message_out_bytes: usize,
    outbound: Option<Arc<dyn Outbound>>,
    now: UnixMillis,
}

impl Lent {
    /// The data after the migration; the same if it needs none.
    async fn migrate(
        &self,
        copied: &Arc<Copied>,
        code: &CompiledRoom,
        log_limiter: &Arc<LogLimiter>,
    ) -> Result<Arc<Copied>, TurnFailure> {
        if code.check_data(copied.data_version)?.is_some() {
            return Ok(copied.clone());
        }
        let event = Event::Migrate(copied.data_version);
        let instance = code.instantiate(log_limiter).await?;
        let turn = instance.run(self.resources(copied), event, self.moment()).await.turn?;
        let Answer::Migrated(version) = turn.answer else { unreachable!("it is the answer to this event") };
        let (mut entries, mut timers) = (copied.entries.clone(), copied.timers.clone());
        entries.extend(turn.changes.writes);
        turn.changes.timers.into_iter().for_each(|(name, timer)| timers.apply(&name, timer));
        let data_version = copied.data_version.map(|_| version);
        Ok(Arc::new(Copied { incarnation: copied.incarnation, entries, timers, data_version }))
    }

    fn resources(&self, copied: &Arc<Copied>) -> Box<TurnResources> {
        Box::new(TurnResources {
            address: self.address.clone(),
            incarnation: copied.incarnation,
            config: self.config.clone(),
            sockets: Default::default(),
            timers: copied.timers.clone(),
            storage: Arc::new(CopiedStorage(copied.clone())),
            message_out_bytes: self.message_out_bytes,
            outbound: self.outbound.clone(),
            confirmed_by: 0,
            posts_waiting: 0,
            turn: 0,
            requested_by: None,
        })
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, seed: random::bytes() }
    }
}

/// The storage of a trial.
struct CopiedStorage(Arc<Copied>);

/// No storage.
struct Nothing;

impl Storage for CopiedStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailed> {
        Ok(self.0.entries.get(key).cloned().flatten())
    }

    fn scan(&self, range: &Range, visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool) -> Result<(), StorageFailed> {
        scan_over(&self.0.entries, &Nothing, range, visit)
    }
}

impl Storage for Nothing {
    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StorageFailed> {
        Ok(None)
    }

    fn scan(&self, _: &Range, _: &mut dyn FnMut(&Bytes, &Bytes) -> bool) -> Result<(), StorageFailed> {
        Ok(())
    }
}

/// Refuses each call, and remembers that there was one.
#[derive(Default)]
struct NoNetwork {
    was_asked: AtomicBool,
}

impl Outbound for NoNetwork {
    fn call(&self, _: u64, _: Instant, _: &str, _: &str, _: Request) -> Waited<Result<Response, CallError>> {
        self.was_asked.store(true, Ordering::Relaxed);
        Box::pin(async { Ok(Err(CallError::Denied)) })
    }

    fn fetch(&self, _: u64, _: Instant, origin: String, _: Request) -> Waited<Result<Response, FetchError>> {
        self.was_asked.store(true, Ordering::Relaxed);
        Box::pin(async move { Ok(Err(FetchError::Denied(origin))) })
    }

    /// A post would leave after the commit, and there is none.
    fn destination(&self, destination: Destination) -> Result<Destination, PostError> {
        Ok(destination)
    }
}
