//! One connection as its room sees it: a bounded queue of frames, and the way to wake its task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Waker};

use bytes::Bytes;

use super::close::Why;
use super::frames;
use crate::model::{Client, Said};

/// What the room and the host put in, and the connection's task takes out.
pub(super) struct Outgoing {
    inner: Mutex<Inner>,
    /// Bytes that wait: in the queue, and taken but not yet written.
    waiting: AtomicUsize,
    /// Messages that were handed to the room and have not had their turn.
    in_flight: AtomicUsize,
    most_waiting: usize,
    most_in_flight: usize,
}

#[derive(Default)]
struct Inner {
    frames: VecDeque<Bytes>,
    close: Option<(u16, String)>,
    closing: bool,
    resumed: bool,
    waker: Option<Waker>,
}

/// What the connection's task has to do.
#[derive(Default)]
pub(super) struct Work {
    /// Frames to write.
    pub(super) frames: VecDeque<Bytes>,
    /// Say goodbye after them.
    pub(super) close: Option<(u16, String)>,
    /// The room has space again.
    pub(super) resumed: bool,
}

impl Outgoing {
    pub(super) fn new(most_waiting: usize, most_in_flight: usize) -> Self {
        Outgoing {
            inner: Mutex::default(),
            waiting: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_waiting,
            most_in_flight,
        }
    }

    /// Take all there is to do, and be woken when there is more.
    pub(super) fn take(&self, context: &Context<'_>) -> Work {
        let mut inner = self.lock();
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            inner.waker = Some(context.waker().clone());
        }
        Work {
            frames: std::mem::take(&mut inner.frames),
            close: inner.close.take(),
            resumed: std::mem::take(&mut inner.resumed),
        }
    }

    /// Bytes were written.
    pub(super) fn written(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A message goes to the room.
    pub(super) fn sent(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the client may send one more message.
    pub(super) fn may_send(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) < self.most_in_flight
    }

    /// End the connection.
    pub(super) fn end(&self, why: Why) {
        self.close(why.code(), &why.reason());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

/// The lock is let go first, so that the task does not run into it.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Client for Outgoing {
    fn say(&self, said: &Said) {
        let frame = said.encoded(frames::encode);
        let mut inner = self.lock();
        if inner.closing {
            return;
        }
        let waiting = self.waiting.load(Ordering::Relaxed);
        // One frame always fits, however long: a history can be longer than what may wait behind it.
        if waiting > 0 && waiting + frame.len() > self.most_waiting {
            let dropped = inner.frames.drain(..).map(|frame| frame.len()).sum();
            self.waiting.fetch_sub(dropped, Ordering::Relaxed);
            inner.closing = true;
            inner.close = Some((Why::TooSlow.code(), Why::TooSlow.reason()));
        } else {
            self.waiting.fetch_add(frame.len(), Ordering::Relaxed);
            inner.frames.push_back(frame.clone());
        }
        wake(inner);
    }

    fn close(&self, code: u16, reason: &str) {
        let mut inner = self.lock();
        if !std::mem::replace(&mut inner.closing, true) {
            inner.close = Some((code, reason.to_owned()));
            wake(inner);
        }
    }

    fn taken(&self) {
        // Only a client at its limit is not being read; only then is there somebody to wake.
        if self.in_flight.fetch_sub(1, Ordering::AcqRel) == self.most_in_flight {
            wake(self.lock());
        }
    }

    fn resume(&self) {
        let mut inner = self.lock();
        inner.resumed = true;
        wake(inner);
    }

    fn buffered(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Message;

    fn say(outgoing: &Outgoing, bytes: usize) {
        outgoing.say(&Said::new(Message::Binary(vec![0; bytes])));
    }

    fn take(outgoing: &Outgoing) -> Work {
        outgoing.take(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_client_that_cannot_keep_up_is_closed_with_1013_and_its_queue_is_freed() {
        let outgoing = Outgoing::new(100, 1);
        say(&outgoing, 60);
        say(&outgoing, 60);
        let work = take(&outgoing);
        assert_eq!(work.close.map(|(code, _)| code), Some(1013));
        assert!(work.frames.is_empty());
        assert_eq!(outgoing.buffered(), 0);
    }

    #[test]
    fn one_frame_always_fits() {
        let outgoing = Outgoing::new(100, 1);
        say(&outgoing, 5_000);
        let work = take(&outgoing);
        assert!(work.close.is_none());
        assert_eq!(work.frames.len(), 1);
    }

    #[test]
    fn nothing_is_said_after_a_goodbye() {
        let outgoing = Outgoing::new(100, 1);
        say(&outgoing, 1);
        outgoing.end(Why::Idle);
        say(&outgoing, 1);
        outgoing.end(Why::TooBig);
        let work = take(&outgoing);
        assert_eq!((work.frames.len(), work.close.map(|(code, _)| code)), (1, Some(4408)));
    }
}
