//! Serves a reader, from its connect to its close. A reader only receives: this module polls the log for its messages,
//! and renews its lease.

use std::collections::VecDeque;

use wasip2::clocks::monotonic_clock::{self, Duration, Instant};
use wasip2::http::types::ResponseOutparam;

use crate::bindings::dormouse::serve::log_reader::{self, Received};
use crate::bindings::dormouse::serve::sessions::Error;
use crate::events;
use crate::http::{EventStream, WriteResult};
use crate::rooms::{Failure, Room};

const MS: Duration = 1_000_000;

/// The time between two polls of the log. A message waits half as long on average.
const POLL_INTERVAL: Duration = 100 * MS;

/// A third of a lease, so that two renewals may fail.
const RENEW_INTERVAL: Duration = 3_000 * MS;

/// How often a reader checks its room for overdue events.
const CATCH_UP_INTERVAL: Duration = 1_000 * MS;

/// Shorter than the idle timeouts of proxies and browsers.
const PING_INTERVAL: Duration = 20_000 * MS;

/// The most bytes that may wait for a reader; above it the stream ends with 1013.
const QUEUE_BYTES: usize = 1 << 20;

/// How long the last events may take to send.
const CLOSE_TIMEOUT: Duration = 5_000 * MS;

/// After this many failed reads of the log, one after the other, the stream ends.
const MAX_READ_ERRORS: u32 = 50;

/// How a stream ends.
enum StreamEnd {
    /// The client closed the connection.
    Disconnected,
    /// The server closes it, with a code and a reason.
    Close(u16, String),
}

/// Serves a reader that has joined, until one side ends the stream.
pub(crate) fn serve(room: &Room, socket: u64, out: ResponseOutparam, headers: &[(String, String)]) {
    let Some(stream) = EventStream::open(out, headers) else { return leave(room, socket, 1006, "", false) };
    let mut queue = Queue::default();
    match send_events(room, socket, &stream, &mut queue) {
        StreamEnd::Disconnected => leave(room, socket, 1006, "", false),
        StreamEnd::Close(code, reason) => {
            // Leave first: the others learn of it at once, even if the last event goes out slowly.
            leave(room, socket, code, &reason, true);
            queue.drop_unstarted_events();
            queue.push(events::close(code, &reason));
            send_rest(&stream, &mut queue);
            stream.finish();
        }
    }
}

fn send_events(room: &Room, socket: u64, stream: &EventStream, queue: &mut Queue) -> StreamEnd {
    let mut read_errors = 0;
    let started_at = monotonic_clock::now();
    let (mut last_renewal, mut last_catch_up, mut last_write) = (started_at, started_at, started_at);
    if log_reader::start(socket).is_err() {
        return StreamEnd::Close(1011, "the room cannot be read".into());
    }
    loop {
        match log_reader::poll() {
            Ok(received) => {
                read_errors = 0;
                for received in received {
                    match received {
                        Received::Message(event) => queue.push(events::message(&event.text, event.id.as_deref())),
                        Received::Closed((code, reason)) => {
                            while !queue.is_empty() && monotonic_clock::now() < last_write + CLOSE_TIMEOUT {
                                if queue.write(stream) == WriteProgress::Closed {
                                    return StreamEnd::Disconnected;
                                }
                                stream.wait(POLL_INTERVAL, true);
                            }
                            return StreamEnd::Close(code, reason);
                        }
                    }
                }
            }
            Err(Error::Disk(problem)) => {
                read_errors += 1;
                if read_errors == MAX_READ_ERRORS {
                    eprintln!("{problem}");
                    return StreamEnd::Close(1011, "the room cannot be read".into());
                }
            }
            Err(Error::Busy) => {}
        }
        let now = monotonic_clock::now();
        if queue.is_empty() && now >= last_write + PING_INTERVAL {
            queue.push(events::PING.to_owned());
        }
        match queue.write(stream) {
            WriteProgress::Closed => return StreamEnd::Disconnected,
            WriteProgress::Some => last_write = now,
            WriteProgress::None => {}
        }
        if queue.bytes > QUEUE_BYTES {
            return StreamEnd::Close(1013, "the reader is too slow".into());
        }
        if is_due(&mut last_renewal, RENEW_INTERVAL, now) {
            log_reader::renew_lease();
        }
        if is_due(&mut last_catch_up, CATCH_UP_INTERVAL, now) && log_reader::has_overdue_event() {
            // If this fails, other readers try too.
            let _ = room.catch_up();
        }
        stream.wait(POLL_INTERVAL, !queue.is_empty());
    }
}

fn is_due(last: &mut Instant, interval: Duration, now: Instant) -> bool {
    let is_due = now >= *last + interval;
    if is_due {
        *last = now;
    }
    is_due
}

/// Tells the room. If that fails, the lease ends, and the next session tells the room.
fn leave(room: &Room, socket: u64, code: u16, reason: &str, clean: bool) {
    log_reader::stop();
    if let Err(Failure::Session(Error::Disk(problem))) = room.close(socket, code, reason, clean) {
        eprintln!("{problem}");
    }
}

fn send_rest(stream: &EventStream, queue: &mut Queue) {
    let until = monotonic_clock::now() + CLOSE_TIMEOUT;
    while queue.write(stream) != WriteProgress::Closed && !queue.is_empty() && monotonic_clock::now() < until {
        stream.wait(POLL_INTERVAL, true);
    }
}

/// Events that wait for the client.
#[derive(Default)]
struct Queue {
    events: VecDeque<String>,
    /// The bytes of the first event that are already written.
    written: usize,
    bytes: usize,
}

/// The result of writing the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteProgress {
    None,
    Some,
    Closed,
}

impl Queue {
    fn push(&mut self, event: String) {
        self.bytes += event.len();
        self.events.push_back(event);
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Drops all events except one that is partly written: its rest must follow, or the next event would become part of
    /// it.
    fn drop_unstarted_events(&mut self) {
        self.events.truncate(usize::from(self.written > 0));
        self.bytes = self.events.iter().map(String::len).sum::<usize>() - self.written;
    }

    /// Writes as much as the client accepts. An empty queue still detects that the client has disconnected.
    fn write(&mut self, stream: &EventStream) -> WriteProgress {
        let mut progress = WriteProgress::None;
        loop {
            let first = self.events.front().map_or(&b""[..], |event| &event.as_bytes()[self.written..]);
            match stream.write(first) {
                WriteResult::Closed => return WriteProgress::Closed,
                WriteResult::Accepted(0) => return progress,
                WriteResult::Accepted(bytes) => {
                    progress = WriteProgress::Some;
                    self.written += bytes;
                    self.bytes -= bytes;
                }
            }
            if self.events.front().is_some_and(|event| event.len() == self.written) {
                self.events.pop_front();
                self.written = 0;
            }
        }
    }
}
