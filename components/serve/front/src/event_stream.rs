//! Serves a reader, from its connect to its close. A reader only receives: this module polls the log for its messages,
//! and renews its lease.

use std::collections::VecDeque;

use wasip2::clocks::monotonic_clock::{self, Duration, Instant};
use wasip2::http::types::ResponseOutparam;

use crate::bindings::dormouse::serve::ears::{self, Heard};
use crate::bindings::dormouse::serve::visits::Trouble;
use crate::events;
use crate::http::{Stream, Wrote};
use crate::rooms::{Failure, Room};

const MS: Duration = 1_000_000;

/// The time between two polls of the log. A message waits half as long on average.
const LOOK_EVERY: Duration = 100 * MS;

/// A third of a lease, so that two renewals may fail.
const RENEW_EVERY: Duration = 3_000 * MS;

/// How often a reader checks its room for overdue events.
const CATCH_UP_EVERY: Duration = 1_000 * MS;

/// Shorter than the idle timeouts of proxies and browsers.
const PING_EVERY: Duration = 20_000 * MS;

/// The most bytes that may wait for a reader; above it the stream ends with 1013.
const QUEUE_BYTES: usize = 1 << 20;

/// How long the last events may take to send.
const CLOSE_WITHIN: Duration = 5_000 * MS;

/// After this many failed reads of the log, one after the other, the stream ends.
const TROUBLES: u32 = 50;

/// How a stream ends.
enum End {
    /// The client has gone.
    Gone,
    /// The server closes it, with a code and a reason.
    Close(u16, String),
}

/// Serves a reader that has joined, until one side ends the stream.
pub(crate) fn serve(room: &Room, socket: u64, out: ResponseOutparam, headers: &[(String, String)]) {
    let Some(stream) = Stream::begin(out, headers) else { return leave(room, socket, 1006, "", false) };
    let mut queue = Queue::default();
    match listen(room, socket, &stream, &mut queue) {
        End::Gone => leave(room, socket, 1006, "", false),
        End::Close(code, reason) => {
            // Leave first: the others learn of it at once, even if the last event goes out slowly.
            leave(room, socket, code, &reason, true);
            queue.forget_what_was_not_begun();
            queue.push(events::close(code, &reason));
            say_goodbye(&stream, &mut queue);
            stream.end();
        }
    }
}

fn listen(room: &Room, socket: u64, stream: &Stream, queue: &mut Queue) -> End {
    let mut troubles = 0;
    let mut incarnation = None;
    let began = monotonic_clock::now();
    let (mut renewed, mut caught_up, mut wrote) = (began, began, began);
    if ears::listen(socket).is_err() {
        return End::Close(1011, "the room cannot be read".into());
    }
    loop {
        match ears::hear() {
            Ok(heard) => {
                troubles = 0;
                for heard in heard {
                    match heard {
                        Heard::Said(text) => {
                            // The history is the first message to a reader.
                            incarnation = incarnation.or_else(|| events::incarnation(&text));
                            queue.push(events::message(&text, incarnation.as_deref()));
                        }
                        Heard::Closed((code, reason)) => {
                            while !queue.is_empty() && monotonic_clock::now() < wrote + CLOSE_WITHIN {
                                if queue.write(stream) == Flow::Gone {
                                    return End::Gone;
                                }
                                stream.wait(LOOK_EVERY, true);
                            }
                            return End::Close(code, reason);
                        }
                    }
                }
            }
            Err(Trouble::Disk(what)) => {
                troubles += 1;
                if troubles == TROUBLES {
                    eprintln!("{what}");
                    return End::Close(1011, "the room cannot be read".into());
                }
            }
            Err(Trouble::Busy) => {}
        }
        let now = monotonic_clock::now();
        if queue.is_empty() && now >= wrote + PING_EVERY {
            queue.push(events::PING.to_owned());
        }
        match queue.write(stream) {
            Flow::Gone => return End::Gone,
            Flow::Some => wrote = now,
            Flow::Nothing => {}
        }
        if queue.bytes > QUEUE_BYTES {
            return End::Close(1013, "the reader is too slow".into());
        }
        if is_time(&mut renewed, RENEW_EVERY, now) {
            ears::renew();
        }
        if is_time(&mut caught_up, CATCH_UP_EVERY, now) && ears::is_something_overdue() {
            // If this fails, other readers try too.
            let _ = room.catch_up();
        }
        stream.wait(LOOK_EVERY, !queue.is_empty());
    }
}

fn is_time(last: &mut Instant, every: Duration, now: Instant) -> bool {
    let is_time = now >= *last + every;
    if is_time {
        *last = now;
    }
    is_time
}

/// Tells the room. If that fails, the lease ends, and the next visit tells the room.
fn leave(room: &Room, socket: u64, code: u16, reason: &str, clean: bool) {
    ears::stop();
    if let Err(Failure::Trouble(Trouble::Disk(what))) = room.close(socket, code, reason, clean) {
        eprintln!("{what}");
    }
}

fn say_goodbye(stream: &Stream, queue: &mut Queue) {
    let until = monotonic_clock::now() + CLOSE_WITHIN;
    while queue.write(stream) != Flow::Gone && !queue.is_empty() && monotonic_clock::now() < until {
        stream.wait(LOOK_EVERY, true);
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
enum Flow {
    Nothing,
    Some,
    Gone,
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
    fn forget_what_was_not_begun(&mut self) {
        self.events.truncate(usize::from(self.written > 0));
        self.bytes = self.events.iter().map(String::len).sum::<usize>() - self.written;
    }

    /// Writes as much as the client accepts. An empty queue still detects that the client has gone.
    fn write(&mut self, stream: &Stream) -> Flow {
        let mut flow = Flow::Nothing;
        loop {
            let first = self.events.front().map_or(&b""[..], |event| &event.as_bytes()[self.written..]);
            match stream.write(first) {
                Wrote::Gone => return Flow::Gone,
                Wrote::Some(0) => return flow,
                Wrote::Some(bytes) => {
                    flow = Flow::Some;
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
