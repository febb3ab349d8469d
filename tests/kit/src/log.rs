//! What rooms log and print, kept for the test that asks and shown by the one that fails.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The lines that are kept. A room that logs without end must not use up the memory of its tests.
const KEPT: usize = 10_000;

thread_local! {
    /// Of the rooms of this thread, which is: of this test.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Hear what rooms log from now on, unless the program that is tested has a subscriber of its own.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("room=debug")).with_ansi(false);
        let _ = log.without_time().with_target(false).with_writer(Lines).try_init();
    });
}

/// What was logged on this thread since it was last asked.
pub(crate) fn take() -> Vec<String> {
    LINES.take()
}

struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes).trim().to_owned();
        println!("{line}"); // the test runner shows it where the test fails
        LINES.with_borrow_mut(|lines| {
            if lines.len() < KEPT {
                lines.push(line);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
