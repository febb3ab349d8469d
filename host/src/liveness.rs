//! Checks that this process still works, for the watchdog of a service manager. It asks the parts on which all rooms
//! depend, and knows none of their insides. A host that refuses clients at a limit, or whose disk is full, works.

use std::sync::Arc;

use crate::edge::Edge;
use crate::room::Rooms;
use crate::store::CommitError;

/// Asks the parts of a host whether they work. It stays usable while the host shuts down.
pub struct Liveness {
    rooms: Rooms,
    edge: Arc<Edge>,
}

/// The reason why a host does not work. Only a restart helps.
#[derive(Debug, thiserror::Error)]
pub enum NotAlive {
    /// The store has failed, or it is closed.
    #[error(transparent)]
    Store(#[from] CommitError),
    /// A part of the host is in a state that panics.
    #[error("a check of the server panicked")]
    Panicked,
}

impl Liveness {
    pub(crate) fn new(rooms: Rooms, edge: Arc<Edge>) -> Self {
        Liveness { rooms, edge }
    }

    /// Waits until these have answered: a thread of the runtime, the locks through which every room and socket is
    /// found, and the commit thread, which answers when it has synced what it is writing.
    ///
    /// It does not end while one of them hangs, so limit the time. Call it in the runtime of the host.
    ///
    /// Fails: if the store can write nothing more until a restart.
    pub async fn check(&self) -> Result<(), NotAlive> {
        let (rooms, edge) = (self.rooms.clone(), self.edge.clone());
        // A task of its own, so that another thread of the runtime has to run it.
        let checked = tokio::spawn(async move {
            edge.take_locks();
            rooms.take_locks();
            rooms.commit_thread_answers().await
        });
        Ok(checked.await.map_err(|_| NotAlive::Panicked)??)
    }
}
