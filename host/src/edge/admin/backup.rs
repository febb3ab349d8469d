//! `/backup`: a backup of all rooms, made and sent while the server runs.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hyper::{Response, StatusCode};

use super::Admin;
use super::outcome::Outcome;
use super::request::{AdminRequest, bad};
use crate::clock;
use crate::edge::response::body::Body;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::store::backup::{BackupError, back_up};

/// The rate of a backup that asks for no other, in MiB a second. Reading and writing it takes CPU and the disk from
/// rooms; at this rate an hour is enough for 100 GiB.
const MIB_PER_SECOND: u32 = 32;
/// The highest rate: no disk is faster.
const MAX_MIB_PER_SECOND: u32 = 100_000;

impl Admin {
    /// `GET /backup`: the snapshot is taken before the answer begins, so everything that was acknowledged before the
    /// request is in it.
    pub(super) async fn backup(self: Arc<Self>, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let expected = format!("a number from 1 to {MAX_MIB_PER_SECOND}");
        let rate = request.parsed("mib-per-second", &expected)?.unwrap_or(MIB_PER_SECOND);
        if !(1..=MAX_MIB_PER_SECOND).contains(&rate) {
            return Err(bad(format_args!("the parameter `mib-per-second` is {expected}")));
        }
        request.no_more_parameters()?;
        if self.edge.rooms.are_in_database() {
            let advice = "the rooms are in a database, which has better backups: see docs/postgres.md";
            return Err(problem(StatusCode::CONFLICT, advice).into());
        }
        let permit = self.backups.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            problem(StatusCode::CONFLICT, "another backup is being made; wait until it ends, or end its command")
        })?;
        self.audit.record(&request, "back up", "all rooms", None).await?;
        let snapshot = self.edge.rooms.snapshot().map_err(|error| {
            tracing::error!(%error, "a backup cannot be made");
            problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("no backup can be made: {error}"))
        })?;
        let (audit, recorded) = (self.audit.clone(), request.recorded.take());
        Ok(self.download(&request, "application/octet-stream", move |send| {
            let mut pace = Pace::new(rate);
            let made = back_up(&snapshot, &mut |portion| {
                pace.wait(portion.len());
                send(portion)
            });
            // Before the log says that it ended.
            drop((snapshot, permit));
            let outcome = made.as_ref().map_or_else(|error| Outcome::Failed(error.to_string()), |_| Outcome::Done);
            audit.finish_blocking(&recorded, &outcome);
            match made {
                Ok(totals) => tracing::info!(
                    rooms = totals.rooms,
                    records = totals.records,
                    bytes = totals.bytes,
                    "a backup was made"
                ),
                Err(BackupError::Stopped) => tracing::warn!("a backup broke off: its receiver went or does not read"),
                Err(error) => tracing::error!(%error, "a backup broke off"),
            }
        }))
    }
}

/// Keeps a thread at a steady rate. Time in which it was slower is not caught up.
struct Pace {
    next: Instant,
    bytes_per_second: f64,
}

impl Pace {
    fn new(mib_per_second: u32) -> Self {
        Pace { next: clock::monotonic(), bytes_per_second: f64::from(mib_per_second) * f64::from(1 << 20) }
    }

    /// Waits before these bytes.
    fn wait(&mut self, bytes: usize) {
        let now = clock::monotonic();
        thread::sleep(self.next.saturating_duration_since(now));
        self.next = self.next.max(now) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
    }
}
