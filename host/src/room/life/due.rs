//! Work of a room that is due at a time: timers, closes that wait for disk space, and posts. The room tells the timer
//! queue when to wake it.

use std::collections::BTreeMap;

use super::turn::Cause;
use super::{Broken, OpenRoom, RoomTask};
use crate::model::{Changes, Close, Event, PostNumber, SocketKey, StorageFailed, Timer};
use crate::random;
use crate::room::policy;
use crate::room::posts::{Outcome, PostId};
use crate::room::reply::Reply;

impl RoomTask {
    /// A client has left. If closes are waiting, this one waits behind them, so that the room sees them in order.
    pub(super) async fn closed(&mut self, socket: SocketKey, close: Close) -> Result<(), Broken> {
        let waiting_closes = &mut self.opened().waiting_closes;
        if !waiting_closes.is_empty() {
            waiting_closes.push_back((socket, close));
            return Ok(());
        }
        self.turn(Event::Close(socket, close.clone()), Cause::Close(socket, close)).await
    }

    /// Delivers the waiting closes, in order, until the host lacks something again.
    pub(super) async fn closes_due(&mut self) -> Result<(), Broken> {
        let now = self.opened().clock();
        if self.opened().closes_due_at.take_if(|at| *at <= now).is_none() {
            return Ok(());
        }
        while let Some((socket, close)) = self.opened().waiting_closes.pop_front() {
            self.turn(Event::Close(socket, close.clone()), Cause::Close(socket, close)).await?;
            if self.opened().closes_due_at.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Runs all timers that are due now, each in its own turn. A timer that is set to a past time during this waits for
    /// the next round, behind the events that came meanwhile.
    pub(super) async fn timers_due(&mut self) -> Result<(), Broken> {
        let opened = self.opened();
        let now = opened.clock();
        opened.wakes_at = None;
        let mut due = opened.resources().timers.iter().filter(|timer| timer.at <= now).cloned().collect::<Vec<_>>();
        due.sort_by_key(|timer| timer.at);
        for timer in due {
            // The turn of an earlier timer may have cancelled it or set it again.
            if self.opened().resources().timers.get(&timer.name) == Some(&timer) {
                self.turn(Event::Timer(timer.clone()), Cause::Timer(timer)).await?;
            }
        }
        self.closes_due().await?;
        self.carry_posts();
        self.schedule_wake();
        Ok(())
    }

    /// Carries the posts that are due and durable.
    pub(super) fn carry_posts(&mut self) {
        let durable = self.mailbox.output_gate.durable();
        let opened = self.opened();
        let now = opened.clock();
        let due = opened.posting.begin(now, durable);
        self.posts_wait_for_disk |= due.more_wait_for_the_disk;
        let state = self.state.as_ref().expect("a running room has its state");
        for (number, post) in due.posts {
            self.shared.carry(&state.address, &state.namespace, number, post);
        }
    }

    /// A post was tried: removes it, or schedules the next try.
    pub(super) fn posted(&mut self, number: PostNumber, outcome: Outcome) {
        let now = self.opened().clock();
        let OpenRoom { posting, log_limiter, .. } = self.opened();
        let tried = posting.tried(number, outcome, now, log_limiter);
        log_limiter.report_dropped();
        if let Some(changes) = tried {
            let in_memory = Changes { posts: changes.posts.clone(), ..Changes::default() };
            // Without disk space the result is kept only in memory. A restart would then carry the post again, and the
            // receiver recognises it.
            match self.write(changes) {
                // No client waits for this commit, but the room must stay in memory until it is durable.
                Ok(()) => self.hold(Vec::new(), Reply::None),
                Err(_) => self.opened().posting.apply(&in_memory),
            }
        }
        self.carry_posts();
        self.schedule_wake();
    }

    /// Whether this post of another room was accepted before.
    pub(super) fn has_accepted(&mut self, post: &PostId) -> Result<bool, StorageFailed> {
        let opened = self.opened();
        let last = match opened.posting.last_accepted(&post.sender) {
            Some(last) => Some(last),
            None => opened.log.reader().last_accepted(&post.sender)?,
        };
        Ok(last.is_some_and(|last| last >= post.number))
    }

    pub(super) fn set_timers(&mut self, timers: impl IntoIterator<Item = (String, Option<Timer>)>) {
        let opened = self.opened();
        for (name, timer) in timers {
            opened.resources().timers.apply(&name, timer);
        }
        self.schedule_wake();
    }

    /// Sets the time at which the timer queue wakes this room: when its first timer or post is due. If that time
    /// becomes later, the old entry stays, because one needless wake is cheaper than tracking it.
    pub(super) fn schedule_wake(&mut self) {
        let has_posts = self.opened().posting.waiting() > 0;
        let durable = if has_posts { self.mailbox.output_gate.durable() } else { 0 };
        let opened = self.opened();
        let timer = opened.resources().timers.earliest();
        let post = opened.posting.next_at(durable);
        let Some(at) = timer.into_iter().chain(post).chain(opened.closes_due_at).min() else { return };
        let at = opened.steady(at);
        if opened.wakes_at.is_none_or(|set| at < set) {
            let before = opened.wakes_at.replace(at);
            let state = self.state();
            let address = state.address.clone();
            self.shared.timer_queue.set(&address, before, at);
        }
    }

    /// Schedules the retry of a failed timer, or gives it up.
    pub(super) fn retry_timer(&mut self, timer: Timer) {
        let failures = timer.attempt + 1;
        let again = policy::timer_backoff(failures, random::jitter());
        if again.is_none() && self.opened().log_limiter.take() {
            let turn = self.opened().resources().turn;
            tracing::error!(turn, timer = timer.name, failures, "the timer failed too often and is given up");
        }
        let now = self.opened().clock();
        let name = timer.name.clone();
        let next = again.map(|wait| Timer { at: now + wait.as_millis() as u64, attempt: failures, ..timer });
        match self.write(Changes { timers: BTreeMap::from([(name.clone(), next.clone())]), ..Changes::default() }) {
            Ok(()) => self.hold(Vec::new(), Reply::None),
            // In memory the retry waits as well; only a restart would lose the count.
            Err(_) => self.set_timers([(name, next)]),
        }
    }
}
