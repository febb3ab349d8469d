//! Shows on stderr how far a long command is.

use std::time::{Duration, Instant};

use dormouse::{clock, log};

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(1);

/// The progress of one command.
pub(crate) struct Progress {
    command: &'static str,
    printed: Instant,
}

impl Progress {
    /// Prints nothing before the first second has passed.
    pub(crate) fn new(command: &'static str) -> Self {
        Progress { command, printed: clock::monotonic() }
    }

    /// Prints a line, unless the last one is younger than a second.
    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        if clock::since(self.printed) >= EVERY {
            self.printed = clock::monotonic();
            self.note(&text());
        }
    }

    /// Prints a line in any case.
    pub(crate) fn note(&self, text: &str) {
        log::line(&format!("dormouse {}: {text}", self.command));
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = (bytes as f64, "B");
    for unit in UNITS {
        if shown.0 >= 1_024.0 {
            shown = (shown.0 / 1_024.0, unit);
        }
    }
    if shown.1 == "B" { format!("{bytes} B") } else { format!("{:.1} {}", shown.0, shown.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_with_their_unit() {
        for (number, text) in [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (5 << 29, "2.5 GiB")] {
            assert_eq!(bytes(number), text);
        }
    }
}
