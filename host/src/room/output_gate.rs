//! The output gate: it holds the outputs of turns, in order, until the position that they wait for is confirmed: that of
//! their commit, or of a proof if they wrote nothing and the store wants one.
//!
//! The receivers of held outputs are already known, so releasing them needs nothing of the room. The task of the room
//! or the commit thread releases them, whichever learns first that a position is confirmed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::clock;
use crate::histogram::Histogram;
use crate::lock::Lock;
use crate::model::{AutoResponse, CLOSED_BY_OPERATOR, Client, Except, Listener, Message, OutboundMessage, ROOM_MOVED};
use crate::panics::guard;
use crate::store::Receipt;
use crate::telemetry::Span;

/// Close code and reason for clients of a room whose storage is lost or failing.
pub(super) const CLOSE_BROKEN: (u16, &str) = (1011, "the room failed; come back");
/// Close code and reason for clients of a room that another node owns now.
pub(super) const CLOSE_MOVED: (u16, &str) = (ROOM_MOVED, "the room moved; come back");
/// Close code and reason for clients of a room whose store has not answered for too long.
pub(super) const CLOSE_UNREACHABLE: (u16, &str) = (1013, "the store does not answer; come back");
/// Close code and reason for clients of a room that was deleted.
pub(super) const CLOSE_DELETED: (u16, &str) = (CLOSED_BY_OPERATOR, "the room was deleted");
/// How many clients one task writes to, about 200 µs of work. More clients are split among tasks.
const CLIENTS_A_TASK: usize = 64;
/// Broadcasts of several turns are merged up to this size: copying that much costs less than a system call.
const BURST_BYTES: usize = 16 << 10;

/// The outputs and the reply of one turn.
pub(super) struct TurnOutput<R> {
    pub(super) deliveries: Vec<Delivery>,
    pub(super) reply: R,
    /// When the room took the event of the turn; absent if the time until its deliveries is not measured.
    pub(super) taken_at: Option<Instant>,
    /// The wait for the commit, if the turn is traced and waits. It ends when the outputs leave.
    pub(super) span: Option<Span>,
}

/// A reply that leaves with the outputs of its turn.
pub(super) trait HeldReply {
    /// Sends the reply. It is dropped if its receiver has gone.
    fn send(self);
}

/// One output and its receivers.
pub(super) enum Delivery {
    ToEveryone(OutboundMessage, Arc<[Listener]>, Except),
    To(OutboundMessage, Vec<Arc<dyn Client>>),
    Close(Arc<dyn Client>, u16, String),
    /// The client has left, and the outputs of all turns before that were released.
    Left(Arc<dyn Client>),
    AutoResponse(Option<AutoResponse>),
}

/// Outputs of a room that have not left yet, and its auto-response, which is the one output that waits for nothing.
pub(super) struct OutputGate<R>(Lock<Inner<R>>);

struct Inner<R> {
    held: VecDeque<(u64, TurnOutput<R>)>,
    /// The last confirmed position. Positions begin anew when the room is opened.
    confirmed: u64,
    /// The number of the last durable commit.
    durable: u64,
    /// Waiters for a position.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// One thread is releasing. Others leave their work to it, so that the order holds.
    releasing: bool,
    /// The reply that the host gives without the room. It changes at its place among the outputs.
    auto_response: Option<AutoResponse>,
}

impl<R> Default for OutputGate<R> {
    fn default() -> Self {
        let (held, confirmed, durable, waiting, releasing, auto_response) = Default::default();
        OutputGate(Lock::new(Inner { held, confirmed, durable, waiting, releasing, auto_response }))
    }
}

impl<R: HeldReply> OutputGate<R> {
    /// The room is opened; its commits up to `durable` are on disk. Nothing is held.
    pub(super) fn start_at(&self, durable: u64) {
        let mut inner = self.0.lock();
        inner.confirmed = 0;
        inner.durable = durable;
    }

    /// Holds the outputs of a turn until a position is confirmed: its own, or the last one before it.
    pub(super) fn hold(&self, position: u64, held: TurnOutput<R>) {
        self.0.lock().held.push_back((position, held));
    }

    /// A position is confirmed: its outputs may leave.
    pub(super) fn open_up_to(&self, receipt: &Receipt) {
        let mut inner = self.0.lock();
        inner.confirmed = inner.confirmed.max(receipt.position());
        inner.durable = inner.durable.max(receipt.number());
        let confirmed = inner.confirmed;
        for (_, waiting) in inner.waiting.extract_if(.., |(position, _)| *position <= confirmed) {
            // The waiter may have given up.
            let _ = waiting.send(());
        }
    }

    /// The number of the last durable commit.
    pub(super) fn durable(&self) -> u64 {
        self.0.lock().durable
    }

    /// Whether a position is confirmed.
    pub(super) fn is_confirmed(&self, position: u64) -> bool {
        position <= self.0.lock().confirmed
    }

    /// Resolves when a position is confirmed. The sender is dropped if it never will be.
    pub(super) fn until_confirmed(&self, position: u64) -> oneshot::Receiver<()> {
        let (resolve, resolved) = oneshot::channel();
        let mut inner = self.0.lock();
        if position <= inner.confirmed {
            // Cannot fail: the receiver is still in this function.
            let _ = resolve.send(());
        } else {
            inner.waiting.push((position, resolve));
        }
        resolved
    }

    /// No later position will be confirmed.
    pub(super) fn fail(&self) {
        self.0.lock().waiting.clear();
    }

    /// The room gives no reply here any more.
    pub(super) fn forget_auto_response(&self) {
        self.0.lock().auto_response = None;
    }

    /// Drops all held outputs.
    pub(super) fn clear(&self) {
        // Dropping a seat calls its room, so the lock is released first.
        let held = std::mem::take(&mut self.0.lock().held);
        drop(held);
    }

    /// How many turns wait.
    pub(super) fn len(&self) -> usize {
        let inner = self.0.lock();
        inner.held.len() + usize::from(inner.releasing)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reply to this text, if the room has set one.
    pub(super) fn auto_response(&self, text: &str) -> Option<String> {
        let inner = self.0.lock();
        inner.auto_response.as_ref().filter(|auto| auto.request == text).map(|auto| auto.reply.clone())
    }

    /// The auto-response that the room has set.
    pub(super) fn current_auto_response(&self) -> Option<AutoResponse> {
        self.0.lock().auto_response.clone()
    }

    /// Releases the outputs of confirmed positions, in order, and measures how long each turn took until then.
    pub(super) fn release(&self, runtime: &Handle, times: &Histogram) {
        let mut inner = self.0.lock();
        if std::mem::replace(&mut inner.releasing, true) {
            return;
        }
        let mut to_flush = Vec::new();
        let mut burst = Burst::default();
        let mut taken = Taken { at: [None; MEASURED], count: 0 };
        loop {
            let next = inner.next();
            if next.is_none() && burst.is_empty() {
                inner.releasing = false;
                break;
            }
            drop(inner);
            match next {
                Some(held) => {
                    taken.add(held.taken_at);
                    for delivery in held.deliveries {
                        if let Some(delivery) = burst.add(delivery) {
                            burst.send(&mut to_flush);
                            self.deliver(delivery, &mut to_flush);
                        }
                    }
                    held.reply.send();
                    if let Some(mut span) = held.span {
                        span.succeed();
                    }
                }
                None => burst.send(&mut to_flush),
            }
            inner = self.0.lock();
        }
        drop(inner);
        flush(to_flush, runtime);
        taken.measure(times);
    }

    fn deliver(&self, delivery: Delivery, to_flush: &mut Vec<Arc<dyn Client>>) {
        match delivery {
            Delivery::ToEveryone(message, everyone, except) => {
                let receives = |listener: &&Listener| match &except {
                    Except::Nobody => true,
                    Except::Socket(id) => listener.id != *id,
                    Except::User(id) => listener.user.id != *id,
                };
                everyone.iter().filter(receives).for_each(|listener| send(&message, &listener.client, to_flush));
            }
            Delivery::To(message, clients) => clients.iter().for_each(|client| send(&message, client, to_flush)),
            Delivery::Close(client, code, reason) => {
                guard(|| client.close(code, &reason));
            }
            Delivery::Left(client) => {
                guard(|| client.nothing_follows());
            }
            Delivery::AutoResponse(auto_response) => self.0.lock().auto_response = auto_response,
        }
    }
}

impl<R> Inner<R> {
    fn next(&mut self) -> Option<TurnOutput<R>> {
        let (position, _) = self.held.front()?;
        if *position > self.confirmed {
            return None;
        }
        let next = self.held.pop_front().map(|(_, held)| held);
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        next
    }
}

/// The turns of one release that are measured: as many as share a commit. More are not.
const MEASURED: usize = 32;

/// When the events of released turns were taken.
struct Taken {
    at: [Option<Instant>; MEASURED],
    count: usize,
}

impl Taken {
    fn add(&mut self, at: Option<Instant>) {
        if at.is_some() && self.count < MEASURED {
            self.at[self.count] = at;
            self.count += 1;
        }
    }

    /// Their messages are written, as far as that needs no other thread.
    fn measure(&self, times: &Histogram) {
        if self.count > 0 {
            let now = clock::monotonic();
            self.at.iter().flatten().for_each(|at| times.observe(now.saturating_duration_since(*at)));
        }
    }
}

/// Broadcasts of several turns to the same clients, merged into one piece for each client.
#[derive(Default)]
struct Burst {
    everyone: Option<Arc<[Listener]>>,
    messages: Vec<OutboundMessage>,
    bytes: usize,
}

impl Burst {
    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a broadcast that can be merged; returns any other output.
    fn add(&mut self, delivery: Delivery) -> Option<Delivery> {
        let Delivery::ToEveryone(message, everyone, Except::Nobody) = delivery else { return Some(delivery) };
        let bytes = self.bytes + message.message().map_or(0, Message::len);
        let same = self.everyone.as_ref().is_none_or(|before| Arc::ptr_eq(before, &everyone));
        if !same || bytes > BURST_BYTES {
            return Some(Delivery::ToEveryone(message, everyone, Except::Nobody));
        }
        self.everyone = Some(everyone);
        self.bytes = bytes;
        self.messages.push(message);
        None
    }

    fn send(&mut self, to_flush: &mut Vec<Arc<dyn Client>>) {
        let Burst { everyone: Some(everyone), mut messages, .. } = std::mem::take(self) else { return };
        let message = if messages.len() == 1 { messages.remove(0) } else { OutboundMessage::together(messages) };
        everyone.iter().for_each(|listener| send(&message, &listener.client, to_flush));
    }
}

fn send(message: &OutboundMessage, client: &Arc<dyn Client>, to_flush: &mut Vec<Arc<dyn Client>>) {
    match guard(|| client.enqueue(message)) {
        Some(true) => to_flush.push(client.clone()),
        Some(false) => {}
        None => close_panicked(client),
    }
}

fn flush_client(client: &Arc<dyn Client>) {
    if guard(|| client.flush()).is_none() {
        close_panicked(client);
    }
}

/// A client whose code panicked may have lost a message, so it is closed before the next one.
fn close_panicked(client: &Arc<dyn Client>) {
    guard(|| client.close(CLOSE_BROKEN.0, CLOSE_BROKEN.1));
}

/// Writes to a few clients at once. Many are split among tasks, so that one large room does not hold a thread.
fn flush(mut clients: Vec<Arc<dyn Client>>, runtime: &Handle) {
    while clients.len() > CLIENTS_A_TASK {
        let some = clients.split_off(clients.len() - CLIENTS_A_TASK);
        runtime.spawn(async move { some.iter().for_each(flush_client) });
    }
    clients.iter().for_each(flush_client);
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::{Form, User};

    #[derive(Default)]
    struct RecordingClient(Mutex<Vec<OutboundMessage>>);

    impl Client for RecordingClient {
        fn enqueue(&self, message: &OutboundMessage) -> bool {
            self.0.lock().unwrap().push(message.clone());
            true
        }
        fn flush(&self) {}
        fn close(&self, _: u16, _: &str) {}
        fn turn_done(&self) {}
        fn resume(&self) {}
        fn buffered(&self) -> usize {
            0
        }
    }

    impl HeldReply for () {
        fn send(self) {}
    }

    fn list(clients: &[Arc<RecordingClient>]) -> Arc<[Listener]> {
        let user = Arc::new(User { id: "1".into(), name: "ana".into() });
        clients.iter().map(|client| Listener { key: 0, id: 1, user: user.clone(), client: client.clone() }).collect()
    }

    fn to(everyone: &Arc<[Listener]>, text: &str) -> Delivery {
        Delivery::ToEveryone(OutboundMessage::new(Message::Text(text.into())), everyone.clone(), Except::Nobody)
    }

    #[test]
    fn messages_to_the_same_sockets_are_merged() {
        let client = Arc::new(RecordingClient::default());
        let (everyone, mut burst, mut to_flush) = (list(std::slice::from_ref(&client)), Burst::default(), Vec::new());
        assert!(burst.add(to(&everyone, "one")).is_none() && burst.add(to(&everyone, "two")).is_none());
        burst.send(&mut to_flush);
        assert!(burst.is_empty());
        let received = client.0.lock().unwrap();
        let encode = |message: &Message, _: Option<&_>| bytes::Bytes::copy_from_slice(message.as_bytes());
        assert_eq!(
            (received.len(), &received[0].encoded(Form::Frame, encode)[..], to_flush.len()),
            (1, &b"onetwo"[..], 1)
        );
    }

    #[test]
    fn messages_to_other_sockets_and_long_ones_are_not_merged() {
        let (ana, bo) = (Arc::new(RecordingClient::default()), Arc::new(RecordingClient::default()));
        let (before, after) = (list(std::slice::from_ref(&ana)), list(&[ana, bo]));
        let mut burst = Burst::default();
        assert!(burst.add(to(&before, "one")).is_none());
        assert!(burst.add(to(&after, "two")).is_some(), "bo came meanwhile");
        assert!(burst.add(to(&before, &"x".repeat(BURST_BYTES))).is_some());
        let message = OutboundMessage::new(Message::Text("three".into()));
        assert!(burst.add(Delivery::ToEveryone(message, before, Except::Socket(1))).is_some());
    }

    #[tokio::test]
    async fn an_auto_response_changes_when_its_commit_is_durable() {
        let gate = OutputGate::default();
        let auto_response = AutoResponse { request: "ping".into(), reply: "pong".into() };
        let deliveries = vec![Delivery::AutoResponse(Some(auto_response))];
        let times = Histogram::default();
        gate.hold(1, TurnOutput { deliveries, reply: (), taken_at: None, span: None });
        gate.release(&Handle::current(), &times);
        assert_eq!((gate.auto_response("ping"), gate.len()), (None, 1));
        gate.open_up_to(&Receipt::at(1, 1));
        gate.release(&Handle::current(), &times);
        assert_eq!((gate.auto_response("ping").as_deref(), gate.len()), (Some("pong"), 0));
        assert_eq!(gate.auto_response("ping?"), None);
    }
}
