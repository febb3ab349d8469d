//! Refuses a configuration that cannot work: each key alone, and keys that must fit each other. Each refusal names the
//! key, the value, the reason, and what to write instead.
//!
//! Except for the directory of the data and its disk, nothing is opened here. `dormouse check` and each start call it.

mod cluster;
mod headers;
mod identity;
mod limits;
mod listeners;
mod namespace;
mod paths;
mod shares;
mod store;
mod telemetry;
#[cfg(test)]
mod tests;
mod warnings;

use std::time::Duration;

use super::{AccessMode, Config, ConfigError, Telemetry};
use crate::limits::ROUTER_REUSE;
use crate::routes::spelling;

pub use paths::full_path;

/// The highest number of rooms, sockets, requests and the like. More fit into no machine, and would overflow counters.
const MOST_THINGS: u64 = 1_000_000_000;
/// The highest limit in bytes: 1 PiB.
const MOST_BYTES: u64 = 1 << 50;
/// The shortest duration. Timers of the host count in milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest duration. Points in time that are much farther away cannot be represented on every system.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Config {
    /// Checks everything that can be checked without opening anything.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_base_path()?;
        duration("hibernate_after", self.hibernate_after)?;
        if self.namespaces.is_empty() {
            return Err(ConfigError::invalid("namespaces", "at least one is needed, such as [namespaces.ROOMS]"));
        }
        self.limits.check()?;
        for (name, namespace) in &self.namespaces {
            namespace.check(name, self)?;
            self.check_spelling(name)?;
        }
        if self.router.is_empty() {
            return Err(ConfigError::invalid("router", "must not be empty; write `builtin:router` or name a file"));
        }
        if let Some(unknown) = self.router_calls.iter().find(|called| !self.namespaces.contains_key(*called)) {
            let problem = format!("there is no namespace `{unknown}`; name one that is configured");
            return Err(ConfigError::invalid("router_calls", problem));
        }
        number("router_reuse", self.router_reuse.into(), 1, ROUTER_REUSE.into())?;
        self.check_response_headers()?;
        if let Some(admin) = &self.admin {
            admin.check(self.listen)?;
        }
        self.telemetry.as_ref().map_or(Ok(()), Telemetry::check)?;
        self.store.check()?;
        self.cluster.as_ref().map_or(Ok(()), |cluster| cluster.check(self))?;
        self.identity.check(self.listen)
    }

    /// A grant names a namespace as a path does, so it must not mean two of them.
    fn check_spelling(&self, name: &str) -> Result<(), ConfigError> {
        let twin = self.namespaces.keys().find(|other| *other != name && spelling(other) == spelling(name));
        let Some(twin) = twin.filter(|_| self.access(name) == AccessMode::Granted) else { return Ok(()) };
        let problem = format!(
            "grants cannot tell it from `{twin}`, because both are `{}` in a path; rename one, or write \
             `access = \"open\"` for both",
            spelling(name)
        );
        Err(ConfigError::invalid(format!("namespaces.{name}"), problem))
    }
}

/// A limit that counts things.
fn number(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    within(key, value, least, most, "")
}

/// A limit in bytes.
fn bytes(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    within(key, value, least, most, " bytes")
}

/// 0 means "no limit" where a limit can be off. Where it cannot, 0 would stop everything, and is refused.
fn within(key: &str, value: u64, least: u64, most: u64, unit: &str) -> Result<(), ConfigError> {
    let problem = match value {
        0 if least > 0 => {
            format!("must not be 0, which would refuse everything; write at least {least}{unit}, or leave it out")
        }
        _ if value < least => {
            format!("{value}{unit} is too little for anything to work; write at least {least}")
        }
        _ if value > most => {
            format!("{value} is more than {most}{unit}, the most that is possible; write that or less")
        }
        _ => return Ok(()),
    };
    Err(ConfigError::invalid(key, problem))
}

/// A duration of at least [`SHORTEST`].
fn duration(key: &str, value: Duration) -> Result<(), ConfigError> {
    duration_at_least(key, value, SHORTEST)
}

fn duration_at_least(key: &str, value: Duration, shortest: Duration) -> Result<(), ConfigError> {
    let least = text(shortest);
    let problem = if value.is_zero() {
        format!("must not be 0: it cannot be turned off; write at least \"{least}\", or leave it out for the default")
    } else if value < shortest {
        format!("{} is too short for anything to work; write at least \"{least}\"", text(value))
    } else if value > LONGEST {
        format!("{} is more than the longest time that works; write at most \"365d\"", text(value))
    } else {
        return Ok(());
    };
    Err(ConfigError::invalid(key, problem))
}

/// A duration as the configuration has it.
fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
