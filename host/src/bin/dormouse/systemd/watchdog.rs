//! Pings the watchdog of the service manager, which restarts a server that hangs. It pings only while the server works,
//! which the library checks, so a thread that merely runs keeps no dead server alive.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::time::Duration;

use dormouse::{Liveness, clock};

use super::Notifier;
use super::variable;

/// The shortest time between two pings, so that a wrong setting does not use up a core.
const SHORTEST: Duration = Duration::from_millis(1);

/// A watchdog that waits for pings, or none.
pub(crate) struct Watchdog {
    /// Half of the time after which the service manager acts.
    every: Option<Duration>,
}

impl Watchdog {
    /// The watchdog that `WATCHDOG_USEC` and `WATCHDOG_PID` describe. A value that cannot be used is logged.
    pub(crate) fn from_environment(notifier: &Notifier) -> Self {
        let time = variable("WATCHDOG_USEC").filter(|_| notifier.is_used());
        let every = time.and_then(|time| match interval(&time, variable("WATCHDOG_PID").as_deref()) {
            Ok(every) => every,
            Err(problem) => {
                tracing::warn!("{problem}: the watchdog is not told that the server works");
                None
            }
        });
        Watchdog { every }
    }

    /// Pings for ever. A check that hangs stops the pings: that is the signal.
    pub(crate) async fn ping(&self, notifier: &Notifier, liveness: &Liveness) -> Infallible {
        let Some(every) = self.every else { return std::future::pending().await };
        let mut has_failed = false;
        loop {
            clock::sleep(every).await;
            match liveness.check().await {
                Ok(()) => notifier.alive(),
                Err(_) if has_failed => {}
                Err(error) => {
                    has_failed = true;
                    tracing::error!(%error, "the server does not work, so the service manager will restart it");
                }
            }
        }
    }
}

/// The time between two pings; absent if another process is watched.
fn interval(time: &OsStr, pid: Option<&OsStr>) -> Result<Option<Duration>, String> {
    let number = |name: &str, text: &OsStr| {
        let number = text.to_str().and_then(|text| text.parse::<u64>().ok());
        number.ok_or_else(|| format!("{name} is {text:?} and not a number"))
    };
    let micros = number("WATCHDOG_USEC", time)?;
    let watched = pid.map(|pid| number("WATCHDOG_PID", pid)).transpose()?;
    let is_ours = watched.is_none_or(|pid| pid == u64::from(std::process::id()));
    Ok(is_ours.then(|| (Duration::from_micros(micros) / 2).max(SHORTEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_pinged_twice_in_its_time() {
        let read = |time: &str, pid: Option<&str>| interval(OsStr::new(time), pid.map(OsStr::new));
        let ours = std::process::id().to_string();
        assert_eq!(read("3000000", None), Ok(Some(Duration::from_millis(1_500))));
        assert_eq!(read("3000000", Some(&ours)), Ok(Some(Duration::from_millis(1_500))));
        assert_eq!(read("3000000", Some("1")), Ok(None), "another process is watched");
        assert_eq!(read("1", None), Ok(Some(SHORTEST)));
        assert_eq!(read("3s", None), Err("WATCHDOG_USEC is \"3s\" and not a number".into()));
        assert_eq!(read("3000000", Some("us")), Err("WATCHDOG_PID is \"us\" and not a number".into()));
    }
}
