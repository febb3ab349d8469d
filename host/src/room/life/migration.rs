//! Which version the data of a room has. Before the first event with other code the room compares it with the version of
//! that code, and lets the code migrate the data if they differ.
//!
//! A migration is a turn. It is staged until the event that follows it has run: if new code fails that event during a
//! deploy, the old code runs it on the old data. `code` and `turn` call this; it does not know who deploys.

use std::time::Duration;

use super::turn::TurnError;
use super::{Broken, RoomTask};
use crate::guest::{TurnCost, TurnFailure};
use crate::model::{Answer, Changes, Event, Timers, Turn};
use crate::room::metrics::cause;
use crate::room::overlay::Covered;
use crate::room::reply::Reply;
use crate::store::{CommitError, Reserved};

/// A migration that the next turns see, and that can still be taken back.
struct Staged {
    turn: Turn,
    from: u32,
    to: u32,
    /// The CPU that it used.
    cpu: Duration,
    /// As it was before.
    timers: Timers,
    covered: Covered,
    reserved: Reserved,
}

impl RoomTask {
    /// Runs the guest, after a migration if the code needs one. If both fail the room is as it was before; a migration
    /// alone is kept, unless there is other code to return to.
    pub(super) async fn run_on_data(&mut self, event: Event) -> Result<(Result<Turn, TurnError>, TurnCost), Broken> {
        let (staged, migration_cost) = match self.read_data().await? {
            (Ok(staged), cost) => (staged, cost),
            (Err(error), cost) => return Ok((Err(error), cost)),
        };
        let (ran, cost) = self.run_guest(event).await?;
        if let Some(staged) = staged {
            let has_way_back = self.code.fallback.is_some();
            if has_way_back && ran.as_ref().is_err_and(TurnFailure::is_of_code) {
                self.take_back(staged);
            } else {
                self.keep_migration(staged);
            }
        }
        Ok((ran.map_err(TurnError::Guest), migration_cost + cost))
    }

    /// Makes sure that the code can read the data.
    async fn read_data(&mut self) -> Result<(Result<Option<Staged>, TurnError>, TurnCost), Broken> {
        let no_cost = TurnCost::default();
        if self.data_is_checked {
            return Ok((Ok(None), no_cost));
        }
        let is_new = self.batch.is_empty() && self.opened().log.is_new();
        let stored = (!is_new).then_some(self.opened().log.data_version());
        match self.code.code.component.check_data(stored) {
            Ok(Some(version)) => {
                self.begin_with(version);
                Ok((Ok(None), no_cost))
            }
            Ok(None) => self.migrate(stored).await,
            Err(failure) => Ok((Err(TurnError::Guest(failure)), no_cost)),
        }
    }

    /// The data needs no migration.
    fn begin_with(&mut self, version: u32) {
        self.opened().log.set_data_version(version);
        self.data_is_checked = true;
    }

    /// Asks the code for its version, and migrates the data if it has another one.
    async fn migrate(&mut self, stored: Option<u32>) -> Result<(Result<Option<Staged>, TurnError>, TurnCost), Broken> {
        // So that the migration has a commit of its own, with the event behind it.
        self.submit()?;
        self.drop_instance();
        let mut span = self.migration_span(stored);
        let (ran, cost) = self.run_guest(Event::Migrate(stored)).await?;
        let turn = match ran {
            Ok(turn) => turn,
            Err(failure) => {
                span.iter_mut().for_each(|span| span.fail(cause(&failure)));
                return Ok((Err(TurnError::Guest(failure)), cost));
            }
        };
        let Answer::Migrated(to) = turn.answer else { unreachable!("it is the answer to this event") };
        span.iter_mut().for_each(|span| span.set_number("dormouse.data.to", to));
        match stored {
            Some(from) if from != to => {
                let staged = self.stage(turn, from, to, cost.cpu);
                if staged.is_err() {
                    span.iter_mut().for_each(|span| span.fail("space"));
                }
                self.data_is_checked = staged.is_ok();
                Ok((staged.map(Some), cost))
            }
            _ => {
                turn.undo(&mut self.opened().resources().sockets);
                self.begin_with(to);
                Ok((Ok(None), cost))
            }
        }
    }

    /// Lets the next turn see the changes of a migration.
    fn stage(&mut self, turn: Turn, from: u32, to: u32, cpu: Duration) -> Result<Staged, TurnError> {
        let opened = self.opened();
        let (writes, reserved) = (&turn.changes.writes, opened.log.reserved());
        if let Err(error) = opened.log.reserve(writes, &*opened.overlay) {
            turn.undo(&mut self.opened().resources().sockets);
            self.drop_instance();
            return Err(match error {
                // More space on the disk would not help.
                CommitError::RoomFull { .. } => {
                    let cause = Box::new(TurnFailure::Guest(error.to_string()));
                    TurnError::Guest(TurnFailure::Migration { from, cause })
                }
                error => TurnError::Space(error),
            });
        }
        let covered = opened.overlay.cover(opened.log.number() + 1, writes);
        let timers = opened.resources().timers.clone();
        self.set_timers(turn.changes.timers.clone());
        Ok(Staged { turn, from, to, cpu, timers, covered, reserved })
    }

    /// Adds a staged migration to the next commit.
    fn keep_migration(&mut self, staged: Staged) {
        let Staged { turn, from, to, cpu, .. } = staged;
        let opened = self.opened();
        opened.log.set_data_version(to);
        let commit = opened.log.number() + 1;
        self.batch.add(commit, Changes { migrated: true, ..turn.changes });
        self.code.code.version.count_migration();
        self.shared.metrics.turns.inc();
        tracing::debug!(from, to, "the data was migrated");
        self.tell_migration(from, to, cpu);
        self.hold(turn.outputs, Reply::None);
    }

    /// Undoes a staged migration.
    fn take_back(&mut self, staged: Staged) {
        let Staged { turn, timers, covered, reserved, .. } = staged;
        let opened = self.opened();
        opened.overlay.uncover(covered);
        opened.log.restore(reserved);
        let resources = opened.resources();
        resources.timers = timers;
        turn.undo(&mut resources.sockets);
        self.data_is_checked = false;
        self.schedule_wake();
    }
}
