//! Opens a room: becomes its owner, reads its timers and posts, and sets the time at which it must wake. Later it moves
//! all stored times when the system clock is set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Broken, OpenRoom, RoomTask};
use crate::clock;
use crate::guest::{LogLimiter, TurnResources};
use crate::model::{Changes, Timer};
use crate::room::overlay::StorageOverlay;
use crate::room::policy;
use crate::room::posts::Posting;
use crate::room::reply::Reply;
use crate::room::tenant::Tenant;
use crate::store::Stored;

impl RoomTask {
    pub(super) async fn open(&mut self) -> Result<(), Broken> {
        let state = self.state();
        if state.opened.is_some() {
            return Ok(());
        }
        let (address, namespace) = (state.address.clone(), state.namespace.clone());
        // The order matters: if the clock is set in between, the first event follows it.
        let offset_now = self.shared.timeline.offset();
        let offset = self.shared.timer_queue.old_offset(&address).unwrap_or(offset_now);
        let store = &self.shared.store;
        let listener = self.shared.wants_proofs.then(|| Tenant::of(&self.mailbox, &self.shared));
        let Stored { log, timers, posts, continues } = store.open_room(&address, listener).await?;
        let overlay = Arc::new(StorageOverlay::new(log.reader()));
        let now = clock::shifted(clock::steady_millis(), offset);
        let posting = Posting::new(policy::posts_in_time(posts, now));
        let timers = policy::timers_in_time(timers, now);
        let first = timers.earliest().into_iter().chain(posting.next_at(log.number())).min();
        let wakes_at = first.map(|at| clock::shifted(at, -offset));
        if let Some(at) = wakes_at {
            // The timer queue has this entry already, unless an earlier task was woken for it and broke.
            self.shared.timer_queue.set(&address, Some(at), at);
        }
        self.mailbox.open_at(log.number());
        let resources = TurnResources {
            address,
            incarnation: log.incarnation(),
            config: namespace.config.clone(),
            sockets: Default::default(),
            timers,
            storage: overlay.clone(),
            message_out_bytes: namespace.message_out_bytes,
            outbound: None,
            confirmed_by: 0,
            posts_waiting: 0,
            turn: 0,
            requested_by: None,
        };
        let per_second = self.shared.limits.log_lines_per_second;
        let (tails, room) = (self.shared.tails.clone(), resources.address.clone());
        let tap = Box::new(move |level: &str, line: &str| tails.tell_log(&room, level, line));
        let log_limiter = LogLimiter::counted(per_second, self.shared.limit_hits.clone()).with_tap(tap);
        let log_limiter = Arc::new(log_limiter);
        let (waiting_closes, closes_due_at) = (VecDeque::new(), None);
        let resources = Some(Box::new(resources));
        let opened = OpenRoom {
            log,
            overlay,
            resources,
            now: 0,
            offset,
            wakes_at,
            posting,
            waiting_closes,
            closes_due_at,
            log_limiter,
            counted_asleep: false,
        };
        self.state().opened = Some(opened);
        if self.shared.peers.get().is_some() {
            self.arrived(continues);
        }
        Ok(())
    }

    /// If the system clock was set, moves all stored times by the same step.
    pub(super) fn follow_clock(&mut self) {
        let offset = self.shared.timeline.offset();
        let opened = self.opened();
        let step = offset.saturating_sub(opened.offset);
        if step == 0 {
            return;
        }
        opened.offset = offset;
        opened.posting.shift(step);
        opened.closes_due_at = opened.closes_due_at.map(|at| clock::shifted(at, step));
        let shift = |timer: &Timer| {
            let moved = Timer { at: clock::shifted(timer.at, step), ..timer.clone() };
            (timer.name.clone(), Some(moved))
        };
        let timers = opened.resources().timers.iter().map(shift).collect::<BTreeMap<_, _>>();
        let address = self.state().address.clone();
        if timers.is_empty() {
            self.shared.timer_queue.clock_followed(&address);
            return;
        }
        match self.write(Changes { timers: timers.clone(), ..Changes::default() }) {
            Ok(()) => {
                self.shared.timer_queue.clock_followed(&address);
                self.hold(Vec::new(), Reply::None);
            }
            // In memory they have moved; on disk they have not, and the timer queue still remembers the old offset.
            Err(_) => self.set_timers(timers),
        }
    }
}
