//! The interface `context`.

use std::env;

use super::room::context::{Guest, Level, WakeReason};
use super::sessions::WOKEN_BY;
use super::{Disk, has_session, with_session};
use crate::session::unix_millis;

/// The router's configuration. The router runs before a session is opened.
const NAMESPACES: &str = "PRESENCE,ROOMS";

impl Guest for Disk {
    fn namespace() -> String {
        with_session(|session| session.namespace.clone())
    }

    fn name() -> String {
        with_session(|session| session.name.clone())
    }

    fn now() -> u64 {
        with_session(|session| session.turn.as_ref().map_or_else(unix_millis, |turn| turn.now))
    }

    fn woken_by() -> WakeReason {
        WOKEN_BY.get()
    }

    fn incarnation() -> u64 {
        with_session(|session| session.incarnation)
    }

    /// Reads the environment: `--env ROOMS_keep_messages=100`.
    fn config(key: String) -> Option<String> {
        if !has_session() {
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
