//! The interface `context`.

use std::env;

use super::room::context::{Guest, Level, WakeReason};
use super::sessions::WOKEN_BY;
use super::{Disk, is_visiting, visit};
use crate::session::unix_millis;

/// The router's configuration. The router runs before a room is visited.
const NAMESPACES: &str = "PRESENCE,ROOMS";

impl Guest for Disk {
    fn namespace() -> String {
        visit(|visit| visit.namespace.clone())
    }

    fn name() -> String {
        visit(|visit| visit.name.clone())
    }

    fn now() -> u64 {
        visit(|visit| visit.turn.as_ref().map_or_else(unix_millis, |turn| turn.now))
    }

    fn woken_by() -> WakeReason {
        WOKEN_BY.get()
    }

    fn incarnation() -> u64 {
        visit(|visit| visit.incarnation)
    }

    /// Reads the environment: `--env ROOMS_keep_messages=100`.
    fn config(key: String) -> Option<String> {
        if !is_visiting() {
            return (key == "namespaces").then(|| NAMESPACES.to_owned());
        }
        env::var(format!("{}_{key}", Self::namespace())).ok()
    }

    fn random() -> u64 {
        wasip2::random::random::get_random_u64()
    }

    fn log(level: Level, line: String) {
        eprintln!("{level:?} {}/{}: {line}", Self::namespace(), Self::name());
    }
}
