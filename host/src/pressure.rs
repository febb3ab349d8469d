//! How much memory this process has, against what it may have.
//!
//! The bounds on queues and instances hold one by one; all of them at once could still be more than a machine has. So the
//! process looks at itself. Under pressure, new sockets and requests are told to come back, rooms that are idle hibernate,
//! and queues are a sixteenth as long; what is here lives on.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often the process looks at itself. It can grow by some hundred megabytes meanwhile.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much shorter queues are under pressure.
const SHORTER: usize = 16;
/// What the process may have where nothing else is said, in percent of what the machine or its control group has: the
/// rest is for the kernel's buffers of sockets and files.
const PERCENT: u64 = 80;
/// Where the limit of a control group is told, in its second and first version.
const GROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Whether the process has more memory than it should.
#[derive(Debug)]
pub struct Pressure {
    most_bytes: u64,
    has_bytes: AtomicU64,
    is_high: AtomicBool,
}

/// What has changed since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There is too much now.
    Began,
    /// There is still too much.
    Goes,
    /// There is no longer too much.
    Ended,
    /// There was not too much, and is not.
    None,
}

impl Pressure {
    /// Pressure above so many bytes; 0 for what this machine can give.
    pub fn above(most_bytes: u64) -> Self {
        let most_bytes =
            if most_bytes > 0 { most_bytes } else { total().map_or(u64::MAX, |total| total / 100 * PERCENT) };
        Pressure { most_bytes, has_bytes: AtomicU64::new(resident().unwrap_or(0)), is_high: AtomicBool::new(false) }
    }

    /// Look at the process.
    pub fn look(&self) -> Change {
        match resident() {
            Some(bytes) => self.set(bytes),
            None => Change::None,
        }
    }

    fn set(&self, bytes: u64) -> Change {
        self.has_bytes.store(bytes, Ordering::Relaxed);
        // It ends a little below where it begins, so that it does not come and go with each look.
        let was_high = self.is_high.load(Ordering::Relaxed);
        let is_high = bytes > if was_high { self.most_bytes / 16 * 15 } else { self.most_bytes };
        self.is_high.store(is_high, Ordering::Relaxed);
        match (was_high, is_high) {
            (false, true) => Change::Began,
            (true, true) => Change::Goes,
            (true, false) => Change::Ended,
            (false, false) => Change::None,
        }
    }

    /// Whether there is too much.
    pub fn is_high(&self) -> bool {
        self.is_high.load(Ordering::Relaxed)
    }

    /// How long a queue may be now that may be so long otherwise.
    pub fn shorten(&self, most: usize) -> usize {
        if self.is_high() { (most / SHORTER).max(1) } else { most }
    }

    /// What the process had at the last look, in bytes.
    pub fn has_bytes(&self) -> u64 {
        self.has_bytes.load(Ordering::Relaxed)
    }

    /// What it may have, in bytes.
    pub fn most_bytes(&self) -> u64 {
        self.most_bytes
    }
}

/// What this process has in memory of its own: not what it has mapped of files.
fn resident() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// A line of the kernel's that tells kilobytes, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

/// What this machine, or the control group of this process, has in all.
fn total() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemTotal:"));
    let groups = GROUP_LIMITS.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    groups.chain(machine).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_above_the_limit_and_ends_a_little_below_it() {
        let pressure = Pressure::above(1_600);
        let changes = [1_600, 1_601, 1_600, 1_501, 1_500, 1_501].map(|bytes| pressure.set(bytes));
        use Change::{Began, Ended, Goes, None};
        assert_eq!(changes, [None, Began, Goes, Goes, Ended, None]);
    }

    #[test]
    fn queues_are_shorter_under_pressure_and_never_without_a_place() {
        let pressure = Pressure::above(1_600);
        assert_eq!(pressure.shorten(160), 160);
        pressure.set(2_000);
        assert_eq!((pressure.shorten(160), pressure.shorten(1)), (10, 1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_knows_what_it_has_and_what_there_is() {
        let (has, all) = (resident().unwrap(), total().unwrap());
        assert!(has > 1 << 20 && has < all, "{has} of {all}");
    }
}
