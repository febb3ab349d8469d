//! The live tail of rooms: turns, migrations, commits, failures and log lines, as they happen.
//!
//! A room that is tailed puts a line into the bounded queue of each reader and goes on. A reader that is too slow loses
//! lines and is told how many. While nothing is tailed, a turn reads one number.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use serde::Serialize;

use crate::clock::{self, UnixMillis};
use crate::limits::{TAIL_LINES, TAIL_READERS};
use crate::lock::Lock;
use crate::model::{Address, Answer, Event, Sockets};
use crate::store::{CommitError, CommitListener, Receipt};

/// Which rooms a tail shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailOf {
    /// All rooms.
    Everything,
    /// The rooms of a namespace.
    Namespace(String),
    /// One room.
    Room(Address),
    /// The turns of the events of one user, in all rooms, without their log lines and commits.
    User(String),
}

/// A line of a tail.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum TailLine {
    /// A turn has run. Its outputs leave when its commit is durable.
    Turn {
        /// Unix time in milliseconds.
        time: UnixMillis,
        /// The room, as NAMESPACE/NAME.
        room: String,
        /// The kind of its event: `connect`, `message`, `close`, `timer` or `request`.
        event: &'static str,
        /// The user whom the event is about.
        user: Option<String>,
        /// Bytes of the message, of the request's body, or of the timer's payload.
        bytes: usize,
        /// CPU time, in microseconds.
        cpu_micros: u64,
        /// Messages, closes and other outputs to clients. A broadcast is one.
        outputs: usize,
        /// The commit that its outputs wait for; 0 if the room never wrote.
        commit: u64,
        /// The reason, if the room refused the client who wanted to connect.
        refused: Option<String>,
    },
    /// A turn has failed and was undone.
    Failure {
        /// Unix time in milliseconds.
        time: UnixMillis,
        /// The room.
        room: String,
        /// The kind of its event.
        event: &'static str,
        /// The user whom the event is about.
        user: Option<String>,
        /// CPU time, in microseconds.
        cpu_micros: u64,
        /// The error.
        error: String,
    },
    /// The code has migrated the data of the room. The turn for which it did so comes next.
    Migration {
        /// Unix time in milliseconds.
        time: UnixMillis,
        /// The room.
        room: String,
        /// The version of the data before.
        from: u32,
        /// The version of the data now.
        to: u32,
        /// CPU time, in microseconds.
        cpu_micros: u64,
    },
    /// A commit is durable.
    Commit {
        /// Unix time in milliseconds.
        time: UnixMillis,
        /// The room.
        room: String,
        /// Its number.
        commit: u64,
        /// How many turns of the room it has.
        turns: usize,
        /// From its submission until it was durable, in microseconds.
        micros: u64,
    },
    /// The code of the room has logged a line.
    Log {
        /// Unix time in milliseconds.
        time: UnixMillis,
        /// The room.
        room: String,
        /// `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        line: String,
    },
    /// The reader was too slow.
    Lost {
        /// So many lines are missing here.
        lines: u64,
    },
}

impl TailLine {
    fn user(&self) -> Option<&str> {
        match self {
            TailLine::Turn { user, .. } | TailLine::Failure { user, .. } => user.as_deref(),
            TailLine::Migration { .. } | TailLine::Commit { .. } | TailLine::Log { .. } | TailLine::Lost { .. } => None,
        }
    }
}

/// There are as many readers as there may be.
#[derive(Debug, thiserror::Error)]
#[error("{TAIL_READERS} tails are open already; end one of them first")]
pub struct TooManyTails;

/// A reader of lines. Dropping it ends the tail.
pub struct Tail {
    tails: Arc<Tails>,
    reader: Arc<Reader>,
}

/// All readers of a host.
#[derive(Default)]
pub(super) struct Tails {
    /// The number of readers, which a turn looks at.
    count: AtomicUsize,
    readers: Lock<Vec<Arc<Reader>>>,
}

struct Reader {
    of: TailOf,
    inner: Lock<Waiting>,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Arc<TailLine>>,
    /// Lines that found no space behind the last one.
    lost: u64,
    waker: Option<Waker>,
    /// The waker is woken when so many lines wait.
    wakes_at: usize,
}

impl Reader {
    fn wants(&self, address: &Address, line: &TailLine) -> bool {
        match &self.of {
            TailOf::Everything => true,
            TailOf::Namespace(namespace) => address.namespace() == namespace,
            TailOf::Room(room) => room == address,
            TailOf::User(user) => line.user() == Some(user),
        }
    }

    /// Never waits: a line that finds no space is counted.
    fn push(&self, line: &Arc<TailLine>) {
        let mut inner = self.inner.lock();
        // One place is kept for the line that tells the loss.
        if inner.lines.len() + 1 >= TAIL_LINES {
            inner.lost += 1;
            return;
        }
        inner.flush_lost();
        inner.lines.push_back(line.clone());
        let waker = if inner.lines.len() >= inner.wakes_at { inner.waker.take() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Waiting {
    /// Puts the line about lost ones at their place.
    fn flush_lost(&mut self) {
        match std::mem::take(&mut self.lost) {
            0 => {}
            lines => self.lines.push_back(Arc::new(TailLine::Lost { lines })),
        }
    }

    fn wake_at(&mut self, lines: usize, context: &Context<'_>) {
        self.wakes_at = lines;
        self.waker = Some(context.waker().clone());
    }
}

impl Tails {
    /// A reader of what happens from now on.
    ///
    /// Fails: if there are as many as there may be.
    pub(super) fn open(self: &Arc<Self>, of: TailOf) -> Result<Tail, TooManyTails> {
        let mut readers = self.readers.lock();
        if readers.len() >= TAIL_READERS {
            return Err(TooManyTails);
        }
        let reader = Arc::new(Reader { of, inner: Lock::default() });
        readers.push(reader.clone());
        self.count.store(readers.len(), Ordering::Relaxed);
        Ok(Tail { tails: self.clone(), reader })
    }

    /// Whether a line could have a reader.
    pub(super) fn is_active(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Passes a line about a room to its readers.
    pub(super) fn tell(&self, address: &Address, line: TailLine) {
        let readers = self.readers.lock().clone();
        let mut readers = readers.iter().filter(|reader| reader.wants(address, &line)).peekable();
        if readers.peek().is_none() {
            return;
        }
        let readers = readers.cloned().collect::<Vec<_>>();
        let line = Arc::new(line);
        readers.iter().for_each(|reader| reader.push(&line));
    }

    /// A line of the code of a room.
    pub(super) fn tell_log(&self, address: &Address, level: &str, line: &str) {
        if self.is_active() {
            let (time, room) = (clock::unix_millis(), name(address));
            self.tell(address, TailLine::Log { time, room, level: level.into(), line: line.into() });
        }
    }
}

/// The name of a room in a line.
pub(super) fn name(address: &Address) -> String {
    address.to_string()
}

impl Tail {
    /// The next line.
    pub async fn next(&mut self) -> Arc<TailLine> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next line, for a stream.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Arc<TailLine>> {
        let mut inner = self.reader.inner.lock();
        if inner.lines.is_empty() {
            inner.flush_lost();
        }
        if let Some(line) = inner.lines.pop_front() {
            return Poll::Ready(line);
        }
        inner.wake_at(1, context);
        Poll::Pending
    }

    /// Resolves when the queue is half full. Fewer lines wake nobody, so a room that is followed does not wake the
    /// reader for each of them.
    pub(crate) fn poll_half_full(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.reader.inner.lock();
        if inner.lines.len() >= TAIL_LINES / 2 {
            return Poll::Ready(());
        }
        inner.wake_at(TAIL_LINES / 2, context);
        Poll::Pending
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut readers = self.tails.readers.lock();
        readers.retain(|reader| !Arc::ptr_eq(reader, &self.reader));
        self.tails.count.store(readers.len(), Ordering::Relaxed);
    }
}

/// The reason in the answer of a turn, if the room refused a client.
pub(super) fn refusal(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Refuse(status, reason) => Some(format!("{status}: {reason}")),
        Answer::None
        | Answer::Accept
        | Answer::Response(_)
        | Answer::Exported(_)
        | Answer::Erased(_)
        | Answer::Migrated(_) => None,
    }
}

/// The facts about an event that a tail shows. They are taken before the turn, which consumes the event.
pub(super) struct Observed {
    pub(super) user: Option<String>,
    pub(super) bytes: usize,
}

impl Observed {
    pub(super) fn of(event: &Event, sockets: &Sockets) -> Self {
        let of_socket = |key| sockets.get(key).map(|socket| socket.user.id.clone());
        let (user, bytes) = match event {
            Event::Connect(key, request) => (of_socket(*key), request.body.len()),
            Event::Message(key, message) => (of_socket(*key), message.len()),
            Event::Close(key, _) => (of_socket(*key), 0),
            Event::Timer(timer) => (None, timer.payload.len()),
            Event::Request(request) => (request.user.as_ref().map(|user| user.id.clone()), request.body.len()),
            Event::ExportUser(of) | Event::EraseUser(of) => (Some(of.user.to_string()), 0),
            Event::Migrate(_) => (None, 0),
        };
        Observed { user, bytes }
    }
}

/// Passes the news of a commit on to the room first, and then to the readers.
pub(super) struct TailedCommit<L> {
    pub(super) listener: Arc<L>,
    pub(super) tails: Arc<Tails>,
    pub(super) address: Address,
    pub(super) turns: usize,
    pub(super) began: Instant,
}

impl<L: CommitListener> CommitListener for TailedCommit<L> {
    fn committed(&self, receipt: Receipt, few: bool) {
        let commit = receipt.number();
        let micros = u64::try_from(clock::since(self.began).as_micros()).unwrap_or(u64::MAX);
        let (time, room) = (clock::unix_millis(), name(&self.address));
        // Before its outputs leave: what a client then does comes behind it.
        self.tails.tell(&self.address, TailLine::Commit { time, room, commit, turns: self.turns, micros });
        self.listener.committed(receipt, few);
    }

    fn failed(&self, error: &CommitError) {
        self.listener.failed(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(number: usize) -> Arc<TailLine> {
        let (room, level) = ("ROOMS/lobby".into(), "info".into());
        Arc::new(TailLine::Log { time: 0, room, level, line: number.to_string() })
    }

    #[tokio::test]
    async fn a_slow_reader_loses_lines_and_is_told_how_many() {
        let reader = Arc::new(Reader { of: TailOf::Everything, inner: Lock::default() });
        let mut tail = Tail { tails: Arc::default(), reader: reader.clone() };
        for number in 0..TAIL_LINES + 9 {
            reader.push(&log(number));
        }
        for number in 0..TAIL_LINES - 1 {
            assert_eq!(tail.next().await, log(number));
        }
        reader.push(&log(7));
        assert_eq!(*tail.next().await, TailLine::Lost { lines: 10 });
        assert_eq!(tail.next().await, log(7), "and it goes on");
    }

    #[test]
    fn a_reader_that_gathers_lines_is_woken_when_its_queue_is_half_full() {
        #[derive(Default)]
        struct Wakes(AtomicUsize);
        impl std::task::Wake for Wakes {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let reader = Arc::new(Reader { of: TailOf::Everything, inner: Lock::default() });
        let mut tail = Tail { tails: Arc::default(), reader: reader.clone() };

        assert!(tail.poll_half_full(&mut context).is_pending());
        (1..TAIL_LINES / 2).for_each(|number| reader.push(&log(number)));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
        reader.push(&log(0));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(tail.poll_half_full(&mut context).is_ready());

        while tail.poll_next(&mut context).is_ready() {}
        reader.push(&log(1));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "a reader that waits is woken by the first line");
    }

    #[test]
    fn a_line_is_json_with_its_type() {
        let line = TailLine::Commit { time: 1, room: "ROOMS/lobby".into(), commit: 2, turns: 3, micros: 4 };
        let json = serde_json::to_value(&line).unwrap();
        let expected = serde_json::json!({
            "type": "commit", "time": 1, "room": "ROOMS/lobby", "commit": 2, "turns": 3, "micros": 4,
        });
        assert_eq!(json, expected);
    }
}
