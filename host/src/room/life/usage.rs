//! Counts what the room uses: its turns, the time with an instance, the sockets of its users. It reports the counters
//! to the meter, which does not know how they came about.

use std::time::Duration;

use super::RoomTask;
use super::turn::Counted;
use crate::clock;
use crate::guest::TurnCost;
use crate::model::{Answer, Audience, Output, RoomReport, SocketKey, Turn};

impl RoomTask {
    /// Counts an event that ran. `turn` is absent if it failed.
    pub(super) fn count_turn(&mut self, counted: &Counted, cost: TurnCost, turn: Option<&Turn>) {
        self.mailbox.times.turn_cpu.observe(cost.cpu);
        if counted.is_of_operator {
            return;
        }
        let cpu_ns = u64::try_from(cost.cpu.as_nanos()).unwrap_or(u64::MAX);
        let succeeded = u32::from(turn.is_some());
        let calls = cost.calls + turn.map_or(0, |turn| u32::try_from(turn.posts.len()).unwrap_or(u32::MAX));
        let bytes_out = match turn.map(|turn| &turn.answer) {
            Some(Answer::Response(response)) => response.body.len() as u64,
            _ => 0,
        };
        let amounts = &mut self.usage.amounts;
        amounts.events += 1;
        amounts.turns += u64::from(succeeded);
        amounts.cpu_ns += cpu_ns;
        amounts.calls += u64::from(calls);
        amounts.timers += u64::from(counted.is_timer);
        amounts.bytes_in += counted.bytes_in;
        amounts.bytes_out += bytes_out;
        if let Some(socket) = counted.socket {
            if let Some(usage) = self.opened().resources().sockets.usage_mut(socket) {
                usage.events += 1;
                usage.turns += succeeded;
                usage.calls += calls;
                usage.cpu_ns += cpu_ns;
                usage.bytes_in += counted.bytes_in;
            }
        } else if let Some(user) = &counted.user {
            let usage = &mut self.usage.user(user).usage;
            usage.events += 1;
            usage.turns += u64::from(succeeded);
            usage.calls += u64::from(calls);
            usage.cpu_ns += cpu_ns;
            usage.bytes_in += counted.bytes_in;
            usage.bytes_out += bytes_out;
        }
    }

    /// Counts the messages of a turn, for the sockets that are in the room at its end.
    pub(super) fn count_outputs(&mut self, outputs: &[Output]) {
        let mut sent = (0, 0);
        for output in outputs {
            let Output::Message(message, audience) = output else { continue };
            let sockets = &mut self.opened().resources().sockets;
            let bytes = message.len();
            let receivers = match audience {
                Audience::Everyone(except) => sockets.count_broadcast(bytes, except),
                Audience::These(keys) => keys.iter().filter(|key| sockets.count_sent(**key, bytes)).count(),
            };
            sent.0 += receivers as u64;
            sent.1 += (receivers * bytes) as u64;
        }
        if sent.0 > 0 {
            self.shared.metrics.deliveries.inc_by(sent.0);
        }
        self.usage.amounts.deliveries += sent.0;
        self.usage.amounts.bytes_out += sent.1;
    }

    /// The room has an instance from now on. `took` is the time of the wake.
    pub(super) fn instance_made(&mut self, took: Duration) {
        self.mailbox.times.wake.observe(took);
        self.usage.awake_since = Some(clock::steady_millis());
        self.no_longer_asleep();
    }

    /// Drops the instance.
    pub(super) fn drop_instance(&mut self) {
        self.instance = None;
        self.instance_dropped();
    }

    /// The room has no instance any more.
    pub(super) fn instance_dropped(&mut self) {
        let Some(since) = self.usage.awake_since.take() else { return };
        let now = clock::steady_millis();
        self.usage.amounts.awake_ms += now.saturating_sub(since);
        self.mailbox.activity.asleep(clock::unix_millis());
        let opened = self.opened();
        let has_sockets = opened.resources.as_ref().is_some_and(|resources| !resources.sockets.is_empty());
        if has_sockets && !std::mem::replace(&mut opened.counted_asleep, true) {
            self.usage.asleep.step(1, now);
        }
    }

    /// Removes a socket whose turn is over.
    pub(super) fn remove_socket(&mut self, key: SocketKey) {
        let sockets = &mut self.opened().resources().sockets;
        let usage = sockets.take_usage(key);
        let Some(socket) = sockets.remove(key) else { return };
        let is_last = sockets.is_empty();
        self.usage.add_socket(&socket.user.id, &usage);
        self.usage.user(&socket.user.id).sockets.step(-1, clock::steady_millis());
        if is_last {
            self.no_longer_asleep();
        }
    }

    fn no_longer_asleep(&mut self) {
        if std::mem::take(&mut self.opened().counted_asleep) {
            self.usage.asleep.step(-1, clock::steady_millis());
        }
    }

    /// Reports the counters, and begins again.
    pub(super) fn report_usage(&mut self) {
        let now = clock::steady_millis();
        self.usage.reported(clock::monotonic());
        if let Some(since) = &mut self.usage.awake_since {
            self.usage.amounts.awake_ms += now.saturating_sub(std::mem::replace(since, now));
        }
        let Some(state) = &mut self.state else { return };
        let Some(opened) = &mut state.opened else { return };
        let bytes = if self.deletion.is_some() { 0 } else { opened.log.bytes() };
        let sockets = opened.resources.as_mut().map(|resources| resources.sockets.take_usages());
        for (user, usage) in sockets.unwrap_or_default() {
            self.usage.add_socket(&user.id, &usage);
        }
        let (usage, asleep) = (std::mem::take(&mut self.usage.amounts), std::mem::take(&mut self.usage.asleep));
        let users = std::mem::take(&mut self.usage.users);
        if usage.is_nothing() && asleep.is_nothing() && users.is_empty() {
            return;
        }
        self.shared.meter.report(&state.address, RoomReport { usage, bytes, asleep }, users);
    }

    /// The room is broken or deleted: all its sockets end.
    pub(super) fn report_broken(&mut self) {
        let now = clock::steady_millis();
        let Some(opened) = self.state.as_mut().and_then(|state| state.opened.as_mut()) else { return };
        let was_asleep = std::mem::take(&mut opened.counted_asleep);
        let sockets = opened.resources.iter().flat_map(|resources| resources.sockets.users());
        for user in sockets {
            self.usage.user(&user.id).sockets.step(-1, now);
        }
        if was_asleep {
            self.usage.asleep.step(-1, now);
        }
        self.report_usage();
    }
}
