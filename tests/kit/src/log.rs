//! The log and output of rooms: kept for the test that asks for it, and shown if a test fails.

use std::cell::RefCell;

/// Most lines that are kept. A room that logs without end must not exhaust the memory of its tests.
const MAX_LINES: usize = 10_000;

thread_local! {
    /// The lines of rooms of this thread, and so of this test.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Adds a line of a room.
pub(crate) fn push(line: String) {
    println!("{line}"); // the test runner shows it if the test fails
    LINES.with_borrow_mut(|lines| {
        if lines.len() < MAX_LINES {
            lines.push(line);
        }
    });
}

/// The lines of this thread since the last call.
pub(crate) fn take() -> Vec<String> {
    LINES.take()
}
