//! The protocols between systemd and a service, which other service managers have too: messages about its state
//! (`notify`), a watchdog (`watchdog`), and sockets that it finds open (`sockets`).
//!
//! Each is switched on by the environment variables that the service manager sets. It knows no rooms: `main` calls it.

mod notify;
mod sockets;
mod watchdog;

use std::ffi::OsString;

pub(crate) use notify::Notifier;
pub(crate) use sockets::PassedSockets;
pub(crate) use watchdog::Watchdog;

/// An environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
