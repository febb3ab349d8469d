//! Whether this host accepts new clients, which `/readyz` of both listeners tells load balancers, and whether its locks
//! can be had, which `liveness` asks.
//!
//! It knows no requests. A host that is ready may still refuse a client at a limit of its own, such as that of its
//! address.

use std::sync::atomic::Ordering;

use super::Edge;
use crate::room::Unhealthy;

/// The reason why a host accepts no new clients now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// A shutdown was announced, or has begun.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Rooms cannot write or wake.
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    /// The process uses more memory than `limits.memory_total_bytes`.
    #[error("the server has too little memory now")]
    Memory,
}

impl Edge {
    /// Whether this host accepts new clients; if not, the reason.
    pub fn ready(&self) -> Result<(), NotReady> {
        if self.shutdown_announced.load(Ordering::Relaxed) || *self.draining.borrow() {
            return Err(NotReady::ShuttingDown);
        }
        self.rooms.health()?;
        if self.pressure.is_high() { Err(NotReady::Memory) } else { Ok(()) }
    }

    /// Takes and returns the lock of all sockets. It hangs if another thread keeps it.
    pub(crate) fn take_locks(&self) {
        let _ = self.sockets.is_empty();
    }

    /// From now on the host is not ready. Clients that come nevertheless are served until [`drain`](Self::drain).
    pub fn announce_shutdown(&self) {
        self.shutdown_announced.store(true, Ordering::Relaxed);
    }
}
