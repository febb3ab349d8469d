//! The log of the process on stderr. A line that cannot be written costs nothing but the line, and is counted.
//!
//! Whoever logs puts a line into a queue and goes on. A thread of its own writes. So a full disk, a reader that went away
//! and one that reads no more stop nobody. While lines are written at all, a full queue makes whoever logs wait a moment,
//! so that a burst loses nothing.

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
use crate::config::{LOG_BYTES, LOG_LINES, LOG_WAIT};

/// How long whoever waits for space sleeps before looking again.
const LOOK_EVERY: Duration = Duration::from_millis(1);

static LOST: LazyLock<Counter> = LazyLock::new(Counter::default);
static LOG: OnceLock<Option<Log>> = OnceLock::new();

thread_local! {
    /// Whether this is the thread that writes; it must not wait for itself.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// The queue of one process.
struct Log {
    queue: SyncSender<Entry>,
    bytes: AtomicUsize,
    /// Nothing was written while somebody waited for it: until something is, nobody waits.
    is_stuck: AtomicBool,
}

enum Entry {
    Line(Vec<u8>),
    /// Tell when all before it is written.
    Flush(SyncSender<()>),
}

/// Writes a line of the log each time it is written to, and never fails.
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

/// Write a line that is no event of the log, such as what the command has to say.
pub fn line(text: &str) {
    put(format!("{text}\n").as_bytes());
}

/// Wait until what was logged so far is written, but no longer than that.
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

/// Lines that were lost.
pub(crate) fn lost() -> Counter {
    LOST.clone()
}

fn put(line: &[u8]) {
    let kept = log().is_some_and(|log| log.put(line));
    if !kept {
        LOST.inc();
    }
}

/// The queue; absent where the operating system gives no thread.
fn log() -> Option<&'static Log> {
    LOG.get_or_init(|| {
        let (queue, entries) = sync_channel(LOG_LINES);
        let writer = thread::Builder::new().name("dormouse-log".into()).spawn(move || write_all(&entries));
        writer.ok().map(|_| Log { queue, bytes: AtomicUsize::new(0), is_stuck: AtomicBool::new(false) })
    })
    .as_ref()
}

impl Log {
    /// Whether the line found a place.
    fn put(&self, line: &[u8]) -> bool {
        let mut entry = Entry::Line(line.to_vec());
        let began = clock::monotonic();
        loop {
            // Counted before it can be written, so that the count never falls below nothing.
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
            if began.elapsed() >= LOG_WAIT {
                self.is_stuck.store(true, Ordering::Relaxed);
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// The thread that writes.
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
                        tracing::warn!(lines, "lines of the log were lost: they could not be written");
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
