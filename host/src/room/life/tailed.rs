//! The lines of a room for its tails: turns, migrations, failures and commits. While nobody follows, this costs one
//! read of a number.

use std::sync::Arc;
use std::time::Duration;

use super::RoomTask;
use crate::clock;
use crate::model::Event;
use crate::room::activity::Failure;
use crate::room::tail::{self, Observed, TailLine, TailedCommit};
use crate::store::CommitListener;

impl RoomTask {
    /// Notes what the event is about, if somebody follows.
    pub(super) fn observe(&mut self, event: &Event) -> Option<Observed> {
        if !self.shared.tails.is_active() {
            return None;
        }
        Some(Observed::of(event, &self.opened().resources().sockets))
    }

    /// A turn has run.
    pub(super) fn tell_turn(&mut self, event: &'static str, of: Observed, outputs: usize, refused: Option<String>) {
        let commit = self.last_commit();
        let address = self.state().address.clone();
        let (time, room, cpu_micros) = (clock::unix_millis(), tail::name(&address), self.cpu_micros());
        let Observed { user, bytes } = of;
        let line = TailLine::Turn { time, room, event, user, bytes, cpu_micros, outputs, commit, refused };
        self.shared.tails.tell(&address, line);
    }

    /// The data of the room was migrated, before the turn that is told next.
    pub(super) fn tell_migration(&mut self, from: u32, to: u32, cpu: Duration) {
        if self.shared.tails.is_active() {
            let address = self.state().address.clone();
            let (time, room, cpu_micros) = (clock::unix_millis(), tail::name(&address), micros(cpu));
            self.shared.tails.tell(&address, TailLine::Migration { time, room, from, to, cpu_micros });
        }
    }

    /// A turn has failed. The room remembers the last ones.
    pub(super) fn failed(&mut self, event: &'static str, user: Option<String>, error: String) {
        let time = clock::unix_millis();
        if self.shared.tails.is_active() {
            let address = self.state().address.clone();
            let (room, cpu_micros) = (tail::name(&address), self.cpu_micros());
            let (user, error) = (user.clone(), error.clone());
            self.shared.tails.tell(&address, TailLine::Failure { time, room, event, user, cpu_micros, error });
        }
        self.mailbox.activity.failed(Failure { at: time, event, user, error });
    }

    /// The listener of a commit of so many turns: the room, and those who follow it.
    pub(super) fn commit_listener(&mut self, turns: usize) -> Arc<dyn CommitListener> {
        let listener = self.mailbox.clone();
        if !self.shared.tails.is_active() {
            return listener;
        }
        let (tails, address) = (self.shared.tails.clone(), self.state().address.clone());
        Arc::new(TailedCommit { listener, tails, address, turns, began: clock::monotonic() })
    }

    fn cpu_micros(&self) -> u64 {
        micros(self.turn_cpu)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
