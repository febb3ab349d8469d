//! A trial before a deploy: new code wakes on copies of the storage of some rooms. Nothing that it does is kept, it
//! reaches no network, and the rooms do not notice. `deploys` calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tracing::Instrument;

use super::Rooms;
use super::shared::Shared;
use crate::clock;
use crate::guest::{
    CallError, CompiledRoom, LogLimiter, Moment, Outbound, PostError, TurnFailure, TurnResources, Waited,
};
use crate::limits::{INSTANCE_TIMEOUT, TRIAL_BYTES, TRIAL_ROOMS};
use crate::model::{Address, Destination, Range, Request, Response, Storage, StorageFailed, Timers, Writes, scan_over};
use crate::outbound::FetchError;
use crate::random;
use crate::store::Copied;

/// The reason why new code must not be deployed.
#[derive(Debug, thiserror::Error)]
#[error("it cannot wake on a copy of the storage of {room}: {failure}")]
pub struct TrialFailed {
    /// The address of the room, or "a room without data".
    pub room: String,
    /// The failure.
    pub failure: TurnFailure,
}

impl Rooms {
    /// Wakes new code of a namespace on a room without data, and on copies of the storage of recent rooms. Returns the
    /// number of these rooms. A room on which the present code cannot wake either does not count against the new code,
    /// nor does one whose `wake` makes calls, which have no answer here.
    ///
    /// Limit: [`TRIAL_ROOMS`] rooms, each with at most [`TRIAL_BYTES`] of storage.
    pub async fn try_code(&self, namespace: &str, new: &CompiledRoom) -> Result<usize, TrialFailed> {
        let Some(settings) = self.0.namespaces.get(namespace) else { return Ok(0) };
        let present = settings.code.present().component.clone();
        let trial =
            Trial { shared: &self.0, config: settings.config.clone(), message_out_bytes: settings.message_out_bytes };
        let without_data = "a-new-room";
        if let Ok(address) = Address::new(namespace, without_data) {
            let copied = Copied { incarnation: random::number(), entries: Writes::new(), timers: Timers::default() };
            trial.compare("a room without data", &address, Arc::new(copied), new, &present).await?;
        }
        let mut tried = 0;
        for address in recent(&self.0, namespace) {
            let (store, of) = (self.0.store.clone(), address.clone());
            let copied = tokio::task::spawn_blocking(move || store.copy(&of, TRIAL_BYTES)).await;
            // A room that cannot be read is not the fault of the new code, and says so when it is used.
            let Ok(Ok(Some(copied))) = copied else { continue };
            trial.compare(&address.to_string(), &address, Arc::new(copied), new, &present).await?;
            tried += 1;
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
    /// Fails if only the new code cannot wake.
    async fn compare(
        &self,
        room: &str,
        address: &Address,
        copied: Arc<Copied>,
        new: &CompiledRoom,
        present: &CompiledRoom,
    ) -> Result<(), TrialFailed> {
        let Some(failure) = self.wake(address, &copied, new).await else { return Ok(()) };
        match self.wake(address, &copied, present).await {
            Some(same) if same.is_like(&failure) => Ok(()),
            _ => Err(TrialFailed { room: room.to_owned(), failure }),
        }
    }

    /// The failure to wake, if there is one.
    async fn wake(&self, address: &Address, copied: &Arc<Copied>, code: &CompiledRoom) -> Option<TurnFailure> {
        if self.shared.instances.available_permits() == 0 {
            self.shared.make_space();
        }
        // A host without a free instance has no place for a trial.
        let permit = self.shared.instances.clone().acquire_owned();
        let _permit = clock::timeout(INSTANCE_TIMEOUT, permit).await.ok()?.expect("the semaphore is never closed");
        let no_network = Arc::new(NoNetwork::default());
        let resources = TurnResources {
            address: address.clone(),
            incarnation: copied.incarnation,
            config: self.config.clone(),
            sockets: Default::default(),
            timers: copied.timers.clone(),
            storage: Arc::new(CopiedStorage(copied.clone())),
            message_out_bytes: self.message_out_bytes,
            outbound: code.is_connected().then(|| no_network.clone() as Arc<dyn Outbound>),
            commits_before: 0,
            posts_waiting: 0,
            turn: 0,
            requested_by: None,
        };
        let moment = Moment { now: self.shared.timeline.now(), seed: random::bytes() };
        let (code, log_limiter) = (code.clone(), Arc::new(LogLimiter::new(0)));
        let span = tracing::info_span!("trial", room = %address);
        let wake = async move { code.try_wake(Box::new(resources), moment, &log_limiter).await }.instrument(span);
        let woken = self.shared.long_turns.run(Box::pin(wake), || {}).await;
        woken.err().filter(|_| !no_network.was_asked.load(Ordering::Relaxed))
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
