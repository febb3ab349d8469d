//! A reader, from its connect to its close. It says nothing over its stream, so all there is to do is to look what was
//! said, and to tell others now and then that it is still here.

use std::collections::VecDeque;

use wasip2::clocks::monotonic_clock::{self, Duration, Instant};
use wasip2::http::types::ResponseOutparam;

use crate::bindings::dormouse::serve::ears::{self, Heard};
use crate::bindings::dormouse::serve::visits::Trouble;
use crate::events;
use crate::http::{Stream, Wrote};
use crate::rooms::{Failure, Room};

const MS: Duration = 1_000_000;

/// Between two looks at the log. Everything that is said waits half as long on average.
const LOOK_EVERY: Duration = 100 * MS;

/// A third of a lease, so that two may fail.
const RENEW_EVERY: Duration = 3_000 * MS;

/// How often a reader looks whether something is overdue in its room.
const CATCH_UP_EVERY: Duration = 1_000 * MS;

/// Shorter than what proxies and browsers wait for.
const PING_EVERY: Duration = 20_000 * MS;

/// What may wait for a reader; beyond it the stream ends with 1013.
const QUEUE_BYTES: usize = 1 << 20;

/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = 5_000 * MS;

/// How long the stream of a reader lasts whose room cannot be read for the moment.
const TROUBLES: u32 = 50;

/// How it ended.
enum End {
    /// The client has gone.
    Gone,
    /// We close, with a code and a reason.
    Close(u16, String),
}

/// Serve a reader that has joined, until one side ends it.
pub(crate) fn serve(room: &Room, socket: u64, out: ResponseOutparam, headers: &[(String, String)]) {
    let Some(stream) = Stream::begin(out, headers) else { return leave(room, socket, 1006, "", false) };
    let mut queue = Queue::default();
    match listen(room, socket, &stream, &mut queue) {
        End::Gone => leave(room, socket, 1006, "", false),
        End::Close(code, reason) => {
            // Others hear of it at once, however slowly the goodbye goes out.
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
                            // The history is what a reader hears first.
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
            // Where this fails, others try as well.
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

/// Tell the room. Where that fails, the lease ends, and whoever comes next does.
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
    /// Of the first event.
    written: usize,
    bytes: usize,
}

/// What became of the queue.
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

    /// A client that has read the half of an event must get the rest, or what follows would be a part of it.
    fn forget_what_was_not_begun(&mut self) {
        self.events.truncate(usize::from(self.written > 0));
        self.bytes = self.events.iter().map(String::len).sum::<usize>() - self.written;
    }

    /// Write what the client takes. Even with nothing to write it notices that the client has gone.
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
