//! What rooms log and print, kept for the test that asks and shown by the one that fails.

use std::cell::RefCell;

/// The lines that are kept. A room that logs without end must not use up the memory of its tests.
const KEPT: usize = 10_000;

thread_local! {
    /// Of the rooms of this thread, which is: of this test.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A room has logged a line.
pub(crate) fn push(line: String) {
    println!("{line}"); // the test runner shows it where the test fails
    LINES.with_borrow_mut(|lines| {
        if lines.len() < KEPT {
            lines.push(line);
        }
    });
}

/// The lines of this thread since it was last asked.
pub(crate) fn take() -> Vec<String> {
    LINES.take()
}
