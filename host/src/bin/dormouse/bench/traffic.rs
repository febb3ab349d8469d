//! `fanout` and `rooms`: members of rooms send, all members receive, and each checks the messages that it got.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use dormouse::clock;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::check::{self, Sequence};
use super::latency::Latencies;
use super::report::{Counts, PerSecond, Report, Server, progress};
use super::socket::{Ended, Socket};
use super::target::Target;
use super::{Load, process};

/// If nothing arrives for this time, missing messages count as lost.
const NOTHING_MORE_AFTER: Duration = Duration::from_secs(10);
/// After the last join, no frame may arrive for this time before the senders start.
const AT_REST_AFTER: Duration = Duration::from_millis(300);
/// The longest wait for that.
const AT_REST_WITHIN: Duration = Duration::from_secs(60);

/// The number of rooms and members.
pub(super) struct Settings {
    pub(super) scenario: &'static str,
    pub(super) rooms: usize,
    /// Sockets in each room.
    pub(super) members: usize,
    /// How many of them send.
    pub(super) senders: usize,
}

/// The state that all members of a run share.
struct Run {
    phase: AtomicU8,
    /// The wakers of the members, for a change of the phase.
    members: Mutex<Vec<Waker>>,
    began: Instant,
    load: Load,
    senders: usize,
    latencies: Latencies,
    frames: AtomicU64,
    sends: AtomicU64,
    deliveries: AtomicU64,
}

/// A run goes through these in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Joining,
    WarmingUp,
    Measuring,
    /// No member sends any more; messages in flight are awaited.
    Ending,
    Over,
}

/// One socket and what it does.
struct Member {
    run: Arc<Run>,
    socket: Socket,
    number: usize,
    /// The number among the room's senders, if it is a sender.
    sender: Option<usize>,
    sent: u64,
    on_their_way: u32,
    next: Option<Pin<Box<tokio::time::Sleep>>>,
    received: Vec<Sequence>,
    listed: bool,
    delays: Vec<u64>,
}

/// The result of a member.
struct Outcome {
    room: usize,
    sender: Option<usize>,
    sent: u64,
    received: Vec<Sequence>,
    ended: Option<Ended>,
}

/// Runs the scenario.
pub(super) async fn run(target: &Target, settings: &Settings, load: &Load) -> anyhow::Result<Report> {
    let before = process::usage(target.pid());
    let run = Arc::new(Run {
        phase: AtomicU8::new(Phase::Joining as u8),
        members: Mutex::default(),
        began: clock::monotonic(),
        load: load.clone(),
        senders: settings.senders,
        latencies: Latencies::default(),
        frames: AtomicU64::new(0),
        sends: AtomicU64::new(0),
        deliveries: AtomicU64::new(0),
    });
    let members = join(target, settings, &run).await?;
    run.come_to_rest().await;

    run.enter(Phase::WarmingUp);
    run.wait("warming up", load.warmup).await;
    let (from, sends, deliveries) = (process::usage(target.pid()), run.sent(), run.delivered());
    let began = clock::monotonic();
    run.enter(Phase::Measuring);
    run.wait("measuring", load.duration).await;
    run.enter(Phase::Ending);
    let (to, sends, deliveries) = (process::usage(target.pid()), run.sent() - sends, run.delivered() - deliveries);
    let seconds = began.elapsed().as_secs_f64();
    run.receive_the_rest(settings.members as u64).await;
    run.enter(Phase::Over);

    let mut report = Report::new(
        settings.scenario,
        json!({
            "rooms": settings.rooms, "members": settings.members, "senders": settings.senders,
            "window": load.rate.is_none().then_some(load.window), "rate": load.rate, "bytes": load.bytes,
        }),
    );
    report.seconds = seconds;
    report.per_second = PerSecond { sends: sends as f64 / seconds, deliveries: deliveries as f64 / seconds };
    let mut outcomes = Vec::with_capacity(members.len());
    for member in members {
        outcomes.push(member.await?);
    }
    let (faults, example) = faults(settings, outcomes);
    report.counts = Counts { sends, deliveries, ..faults };
    report.latency.insert("delivery", run.latencies.percentiles());
    report.server = Server::between(target.pid(), before, from, to);
    if let Some(server) = &mut report.server
        && deliveries > 0
    {
        server.cpu_seconds_per_million_deliveries = Some(server.cpu_seconds / deliveries as f64 * 1e6);
    }
    report.complain(example);
    Ok(report)
}

async fn join(target: &Target, settings: &Settings, run: &Arc<Run>) -> anyhow::Result<Vec<JoinHandle<Outcome>>> {
    let all = settings.rooms * settings.members;
    let mut opening = JoinSet::new();
    for number in 0..all {
        let (target, run) = (target.clone(), run.clone());
        let (room, place) = (number % settings.rooms, number / settings.rooms);
        let sender = (place < settings.senders).then_some(place);
        opening.spawn(async move {
            let _turn = target.may_open().await;
            let socket = Socket::open(&target, &target.room(room), &format!("u{number}")).await?;
            // From now on it reads, while the others still join.
            Ok::<_, Ended>(tokio::spawn(Member::new(run, socket, number, sender).live(room)))
        });
    }
    let mut members = Vec::with_capacity(all);
    while let Some(opened) = opening.join_next().await {
        members.push(opened??);
        progress(format_args!("joining: {} of {all}", members.len()));
    }
    Ok(members)
}

/// Compares sent with received messages, over all rooms.
fn faults(settings: &Settings, outcomes: Vec<Outcome>) -> (Counts, Option<String>) {
    let mut sent = vec![vec![0; settings.senders]; settings.rooms];
    for outcome in &outcomes {
        if let Some(sender) = outcome.sender {
            sent[outcome.room][sender] = outcome.sent;
        }
    }
    let mut counts = Counts::default();
    let mut example = None;
    for outcome in outcomes {
        for (sequence, sent) in outcome.received.iter().zip(&sent[outcome.room]) {
            counts.lost += sequence.lost(*sent);
            counts.duplicated += sequence.duplicated;
            counts.out_of_order += sequence.out_of_order;
        }
        if let Some(ended) = outcome.ended {
            counts.failed += 1;
            example.get_or_insert_with(|| ended.to_string());
        }
    }
    (counts, example)
}

impl Run {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Joining,
            1 => Phase::WarmingUp,
            2 => Phase::Measuring,
            3 => Phase::Ending,
            _ => Phase::Over,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.members.lock().expect("no holder of this lock panics").iter().for_each(Waker::wake_by_ref);
    }

    fn sent(&self) -> u64 {
        self.sends.load(Ordering::Relaxed)
    }

    fn delivered(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    async fn wait(&self, what: &str, duration: Duration) {
        let until = clock::monotonic() + duration;
        let mut delivered = self.delivered();
        while let Some(left) = until.checked_duration_since(clock::monotonic()).filter(|left| !left.is_zero()) {
            clock::sleep(left.min(Duration::from_secs(1))).await;
            let now = self.delivered();
            progress(format_args!("{what}: {} deliveries in the last second", now - delivered));
            delivered = now;
        }
    }

    /// Waits until the frames of all joins have arrived.
    async fn come_to_rest(&self) {
        let until = clock::monotonic() + AT_REST_WITHIN;
        loop {
            let frames = self.frames.load(Ordering::Relaxed);
            clock::sleep(AT_REST_AFTER).await;
            if self.frames.load(Ordering::Relaxed) == frames || clock::monotonic() >= until {
                return;
            }
        }
    }

    async fn receive_the_rest(&self, members: u64) {
        let mut progressed = clock::monotonic();
        let mut delivered = self.delivered();
        while delivered < self.sent() * members && progressed.elapsed() < NOTHING_MORE_AFTER {
            clock::sleep(Duration::from_millis(20)).await;
            if self.delivered() > delivered {
                delivered = self.delivered();
                progressed = clock::monotonic();
            }
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Member {
    fn new(run: Arc<Run>, socket: Socket, number: usize, sender: Option<usize>) -> Self {
        let received = vec![Sequence::default(); run.senders];
        let (sent, on_their_way, listed) = (0, 0, false);
        Member { run, socket, number, sender, sent, on_their_way, next: None, received, listed, delays: Vec::new() }
    }

    async fn live(mut self, room: usize) -> Outcome {
        let ended = std::future::poll_fn(|context| self.poll(context)).await;
        Outcome { room, sender: self.sender, sent: self.sent, received: self.received, ended: ended.err() }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        if !std::mem::replace(&mut self.listed, true) {
            self.run.members.lock().expect("no holder of this lock panics").push(context.waker().clone());
        }
        loop {
            if self.run.phase() == Phase::Over {
                return Poll::Ready(Ok(()));
            }
            self.speak(context)?;
            self.socket.poll_flush(context)?;
            match self.receive(context) {
                Poll::Ready(received) => received?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends the messages that are due.
    fn speak(&mut self, context: &mut Context<'_>) -> Result<(), Ended> {
        let Some(sender) = self.sender else { return Ok(()) };
        if !matches!(self.run.phase(), Phase::WarmingUp | Phase::Measuring) {
            return Ok(());
        }
        let Some(rate) = self.run.load.rate else {
            while self.on_their_way < self.run.load.window {
                self.say(sender)?;
            }
            return Ok(());
        };
        let pause = Duration::from_secs_f64(1.0 / rate.max(1e-6));
        // Senders start spread over one pause, so that they do not all send at the same time.
        let next = self.next.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause.mul_f64(rand::random()))));
        if next.as_mut().poll(context).is_ready() {
            let due = next.deadline() + pause;
            next.as_mut().reset(due);
            context.waker().wake_by_ref();
            self.say(sender)?;
        }
        Ok(())
    }

    fn say(&mut self, sender: usize) -> Result<(), Ended> {
        self.sent += 1;
        self.on_their_way += 1;
        let line = check::line(sender, self.sent, self.run.nanos(), self.run.load.bytes);
        self.run.sends.fetch_add(1, Ordering::Relaxed);
        self.socket.queue(format!(r#"{{"type":"message","content":"{line}"}}"#))
    }

    /// Handles the frames of one read.
    fn receive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let (run, received, delays) = (&self.run, &mut self.received, &mut self.delays);
        let (sender, on_their_way) = (self.sender, &mut self.on_their_way);
        let now = run.nanos();
        let mut frames = 0;
        let mut deliveries = 0;
        let polled = self.socket.poll_receive(context, &mut |frame| {
            frames += 1;
            let Some((from, number, said_at)) = check::parts(frame) else { return };
            let Some(sequence) = received.get_mut(from) else { return };
            deliveries += 1;
            sequence.receive(number);
            delays.push(now.saturating_sub(said_at));
            if sender == Some(from) {
                *on_their_way = on_their_way.saturating_sub(1);
            }
        });
        if frames > 0 {
            run.frames.fetch_add(frames, Ordering::Relaxed);
            run.deliveries.fetch_add(deliveries, Ordering::Relaxed);
            if run.phase() == Phase::Measuring {
                run.latencies.record(self.number, delays.drain(..));
            }
            delays.clear();
        }
        polled
    }
}
