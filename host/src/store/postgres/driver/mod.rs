//! Rooms in a PostgreSQL database, run by one server or by a node of a cluster: it drives the rules of ownership with statements on the database,
//! and keeps what they confirm in a local cache, from which guests read.
//!
//! One thread with a runtime of its own has the rules, the connections and the cache: [`worker`]. Rooms reach it through
//! a queue, from any thread. `rooms` has what is not confirmed, `links` the connections, `only` the lock that keeps other
//! servers away, `presence` whether the database answers, `start` the order of a start. The node of a cluster also has
//! `beats` and `nodes`: who else lives, and `hand_over` passes rooms from node to node.
//!
//! It does not know SQL, and nothing of guests and sockets. The store calls it as its truth.
//!
//! - **Invariant: a commit enters the cache after it was confirmed, and before its room is told.**
//! - **Invariant: records are kept until their commit is confirmed,** so that a commit whose outcome is unknown can be
//!   handed in again.

mod beats;
mod cache;
mod cache_files;
mod due;
mod hand_over;
mod links;
mod metrics;
mod nodes;
mod only;
mod presence;
mod queue;
mod rooms;
mod shared;
mod start;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use self::cache::Cache;
use self::queue::{Open, Ready, Request};
use self::shared::Shared;
use crate::clock::UnixMillis;
use crate::histogram::Counts;
use crate::lock::Lock;
use crate::model::{Address, StorageFailed};
use crate::store::commit::{Commit, Proof};
use crate::store::engine::StorageReader;
use crate::store::error::{CommitError, NotOpened, unreadable};
use crate::store::local::LocalEngine;
use crate::store::membership::Membership;
use crate::store::owner::Owner;
use crate::store::postgres::{PostgresReader, Tables, Target};
use crate::store::records;
use crate::store::truth::{Opened, Opening, TenureListener, Truth, Waits};

pub use beats::compare_key;
pub(super) use only::{Hold, NotOnly, Only};
pub use start::{BeforeJoin, MayJoin, Settings};
pub(in crate::store) use start::{Started, start};

/// The truth in a database.
pub(in crate::store) struct PostgresTruth {
    shared: Arc<Shared>,
    local: Arc<LocalEngine>,
    cache: Cache,
    reader: PostgresReader,
    target: Target,
    tables: Tables,
    /// Absent if this is the only server.
    membership: Option<Membership>,
    thread: Lock<Option<JoinHandle<()>>>,
}

/// Lets go of a room whose opening is not awaited any more.
struct Unread {
    shared: Arc<Shared>,
    address: Option<Address>,
}

impl Unread {
    /// From here on the log of the room lets go.
    fn read(mut self) {
        self.address = None;
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(address) = self.address.take() {
            // After the end nothing has to be let go.
            let _ = self.shared.queue.push(Request::LetGo(address));
        }
    }
}

impl PostgresTruth {
    /// The content of the cache for a room that is open now.
    fn opened(local: &LocalEngine, address: &Address, ready: Ready) -> Result<Opened, NotOpened> {
        let Ready { record, is_stored, tenure, continues } = ready;
        let (timers, posts) = local.read(|engine| {
            let read = || Ok((records::timers(engine, record.id)?.collect(), records::posts(engine, record.id)?));
            read().map_err(|error| unreadable("the records in the cache", address, &error))
        })?;
        Ok(Opened { record, is_stored, timers, posts, tenure: Some(tenure), continues })
    }
}

impl Truth for PostgresTruth {
    fn open(&self, address: &Address, listener: Option<Arc<dyn TenureListener>>) -> Opening {
        let (answer, ready) = oneshot::channel();
        if let Err(error) = self.shared.queue.push(Request::Open(address.clone(), Open { answer, listener })) {
            return Opening::Done(Err(NotOpened::from(StorageFailed(error.to_string()))));
        }
        let (local, address) = (self.local.clone(), address.clone());
        let unread = Unread { shared: self.shared.clone(), address: Some(address.clone()) };
        Opening::Waits(Box::pin(async move {
            let closed = |_| NotOpened::from(StorageFailed("the store is closed".into()));
            let ready = ready.await.map_err(closed)??;
            let opened = PostgresTruth::opened(&local, &address, ready)?;
            unread.read();
            Ok(opened)
        }))
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.shared.queue.commit(commit)
    }

    fn wants_proofs(&self) -> bool {
        true
    }

    fn prove(&self, proof: Proof) -> Result<(), CommitError> {
        self.shared.queue.prove(proof)
    }

    fn let_go(&self, owner: &Owner) {
        // After the end nothing has to be let go.
        let _ = self.shared.queue.push(Request::LetGo(owner.address().clone()));
    }

    fn paused(&self, owner: &Owner) {
        // After the end nothing is handed over.
        let _ = self.shared.queue.push(Request::Paused(owner.address().clone(), owner.tenure));
    }

    fn read(&self, read: &mut dyn FnMut(&dyn StorageReader)) -> Result<(), StorageFailed> {
        if self.thread.lock().is_none() {
            return Err(StorageFailed("the store is closed".into()));
        }
        read(&self.reader);
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn StorageReader>, StorageFailed> {
        Ok(self.reader.snapshot()?)
    }

    fn due(&self) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
        due::rooms(&self.target)
    }

    fn refuses(&self) -> Option<CommitError> {
        self.shared.refuses()
    }

    fn has_space(&self) -> bool {
        !self.shared.has_no_space()
    }

    fn has_space_for(&self, bytes: u64) -> bool {
        self.has_space() && self.shared.has_space_for(&*self.cache.0, bytes)
    }

    fn is_behind(&self) -> bool {
        self.shared.queue.is_behind()
    }

    fn caught_up(&self) -> Waits<'_, ()> {
        Box::pin(self.shared.queue.caught_up())
    }

    fn answers(&self) -> Waits<'_, Result<(), CommitError>> {
        Box::pin(self.shared.queue.answers())
    }

    fn membership(&self) -> Option<Membership> {
        self.membership.clone()
    }

    fn tables(&self) -> Option<Tables> {
        Some(self.tables.clone())
    }

    fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
    }

    fn commit_times(&self) -> Counts {
        self.shared.metrics.commit_times()
    }

    fn close(&self) {
        self.shared.queue.close();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread of the store panicked; acknowledged messages are stored, others may be lost");
        }
    }
}

impl Drop for PostgresTruth {
    fn drop(&mut self) {
        self.close();
    }
}
