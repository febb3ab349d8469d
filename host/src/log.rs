//! The log of the process on stderr. If a line cannot be written, only that line is lost, and it is counted.
//!
//! A thread that logs puts the line into a queue and goes on; a separate thread writes. So a full disk or a reader that
//! stopped reading stops no other thread. While the writer makes progress, a full queue makes loggers wait a moment, so
//! that a burst loses nothing.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock;
use crate::limits::{LOG_BYTES, LOG_LINES, LOG_WAIT};

/// How long the process waits at its end for the last lines.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);
/// A pipe that is ready takes so many bytes at once: PIPE_BUF of Linux.
const PIPE_BYTES: usize = 4_096;

/// How often a waiting logger looks for space.
const LOOK_EVERY: Duration = Duration::from_millis(1);

static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG: OnceLock<Option<Log>> = OnceLock::new();

thread_local! {
    /// True in the writing thread, which must not wait for itself.
    static WRITES: Cell<bool> = const { Cell::new(false) };
    /// True in a thread that writes its lines itself.
    static DIRECT: Cell<bool> = const { Cell::new(false) };
}

/// The queue of one process.
struct Log {
    queue: SyncSender<Entry>,
    bytes: AtomicUsize,
    /// Nothing was written during a whole wait: until the next write, no logger waits.
    is_stuck: AtomicBool,
}

enum Entry {
    Line(Vec<u8>),
    /// Signals when all lines before it are written.
    Flush(SyncSender<()>),
}

/// Sends each write to the log as a line, and never fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writer;

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer
    }
}

/// Writes a line that is not a tracing event, such as a command's error.
pub fn line(text: &str) {
    put(format!("{text}\n").as_bytes());
}

/// Writes the last lines of the process, such as the reason why it ends: `write` logs them, and this thread writes them
/// to stderr itself, behind all earlier lines. So none is lost if the writing thread gets no CPU time. Lines are
/// dropped if stderr takes none for a second, so that an unread stderr does not keep the process.
pub fn at_end(write: impl FnOnce()) {
    flush(LAST_LINES_WITHIN);
    DIRECT.set(true);
    write();
    DIRECT.set(false);
}

/// Waits until all earlier lines are written, or until the time is over.
pub fn flush(within: Duration) {
    let Some(log) = log() else { return };
    let until = clock::monotonic() + within;
    let (done, is_done) = sync_channel(1);
    let mut entry = Entry::Flush(done);
    while let Err(TrySendError::Full(back)) = log.queue.try_send(entry) {
        if clock::monotonic() >= until {
            return;
        }
        entry = back;
        thread::sleep(LOOK_EVERY);
    }
    let _ = is_done.recv_timeout(until.saturating_duration_since(clock::monotonic()));
}

/// The number of lost lines.
pub(crate) fn lost() -> Counter {
    LOST.clone()
}

fn put(line: &[u8]) {
    let kept = match DIRECT.get() {
        true => write_directly(line),
        false => log().is_some_and(|log| log.put(line)),
    };
    if !kept {
        LOST.inc();
    }
}

/// Returns whether the line was written. It is not tried while stderr is full: a write would wait for its reader.
fn write_directly(line: &[u8]) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stderr = io::stderr();
    let until = clock::monotonic() + LAST_LINES_WITHIN;
    let is_ready = || loop {
        let left = until.saturating_duration_since(clock::monotonic());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            ready => break ready.is_ok_and(|ready| ready > 0),
        }
    };
    line.chunks(PIPE_BYTES).all(|piece| is_ready() && stderr.lock().write_all(piece).is_ok())
}

/// The queue; absent if the thread could not be started.
fn log() -> Option<&'static Log> {
    LOG.get_or_init(|| {
        let (queue, entries) = sync_channel(LOG_LINES);
        let writer = thread::Builder::new().name("dormouse-log".into()).spawn(move || write_all(&entries));
        writer.ok().map(|_| Log { queue, bytes: AtomicUsize::new(0), is_stuck: AtomicBool::new(false) })
    })
    .as_ref()
}

impl Log {
    /// Returns whether the line got a place in the queue.
    fn put(&self, line: &[u8]) -> bool {
        let mut entry = Entry::Line(line.to_vec());
        let began = clock::monotonic();
        loop {
            // Counted before it can be written, so that the count never falls below 0.
            let waiting = self.bytes.fetch_add(line.len(), Ordering::Relaxed);
            if waiting + line.len() <= LOG_BYTES {
                match self.queue.try_send(entry) {
                    Ok(()) => return true,
                    Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => entry = back,
                }
            }
            self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            if WRITES.get() || self.is_stuck.load(Ordering::Relaxed) {
                return false;
            }
            if clock::since(began) >= LOG_WAIT {
                self.is_stuck.store(true, Ordering::Relaxed);
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// The loop of the writing thread.
fn write_all(entries: &Receiver<Entry>) {
    WRITES.set(true);
    let mut reported = 0;
    while let Ok(entry) = entries.recv() {
        match entry {
            Entry::Line(line) => {
                let written = io::stderr().lock().write_all(&line);
                if let Some(Some(log)) = LOG.get() {
                    log.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    log.is_stuck.store(false, Ordering::Relaxed);
                }
                match written {
                    Ok(()) if LOST.get() > reported => {
                        let lines = LOST.get() - reported;
                        reported += lines;
                        tracing::warn!(lines, "lines of the log were lost because they could not be written");
                    }
                    Ok(()) => {}
                    Err(_) => {
                        LOST.inc();
                    }
                }
            }
            Entry::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}
