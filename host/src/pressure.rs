//! Compares the memory of this process with the memory that it may use.
//!
//! Each queue and each instance has its own bound, but all of them together could exceed the memory of the machine. So
//! the process measures itself. Under pressure, new sockets and requests get 503 and may come back later, idle
//! rooms hibernate, and queues are 16 times shorter. Existing sockets stay open.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Interval of the measurement. The process can grow by some hundred megabytes in between.
pub const MEASURE_EVERY: Duration = Duration::from_millis(100);
/// How many times shorter queues are under pressure: short enough that full ones hold little, and long enough for
/// clients that read.
const SHORTENING: usize = 16;
/// Default limit, in percent of the memory of the machine or of its control group. The rest is for kernel buffers of
/// sockets and files.
pub(crate) const MAX_PERCENT: u64 = 80;
/// Files with the memory limit of a control group: version 2, then version 1.
const GROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// The memory of the process, and whether it is above the limit.
#[derive(Debug)]
pub struct Pressure {
    max_bytes: u64,
    has_bytes: AtomicU64,
    is_high: AtomicBool,
}

/// The change since the last measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Memory is now above the limit.
    Began,
    /// Memory is still above the limit.
    Continues,
    /// Memory is no longer above the limit.
    Ended,
    /// Memory was and is below the limit.
    None,
}

impl Pressure {
    /// Pressure begins above this many bytes; 0 means a share of the memory of the machine.
    pub fn above(max_bytes: u64) -> Self {
        let max_bytes =
            if max_bytes > 0 { max_bytes } else { machine_bytes().map_or(u64::MAX, |total| total / 100 * MAX_PERCENT) };
        Pressure { max_bytes, has_bytes: AtomicU64::new(resident().unwrap_or(0)), is_high: AtomicBool::new(false) }
    }

    /// Measures the process.
    pub fn measure(&self) -> Change {
        match resident() {
            Some(bytes) => self.set(bytes),
            None => Change::None,
        }
    }

    fn set(&self, bytes: u64) -> Change {
        self.has_bytes.store(bytes, Ordering::Relaxed);
        // Hysteresis: pressure ends 1/16 below the limit, so that it does not switch at each measurement.
        let was_high = self.is_high.load(Ordering::Relaxed);
        let is_high = bytes > if was_high { self.max_bytes / 16 * 15 } else { self.max_bytes };
        self.is_high.store(is_high, Ordering::Relaxed);
        match (was_high, is_high) {
            (false, true) => Change::Began,
            (true, true) => Change::Continues,
            (true, false) => Change::Ended,
            (false, false) => Change::None,
        }
    }

    /// Whether memory is above the limit.
    pub fn is_high(&self) -> bool {
        self.is_high.load(Ordering::Relaxed)
    }

    /// The length of a queue under the current pressure; `max_len` is its length without pressure.
    pub fn shorten(&self, max_len: usize) -> usize {
        if self.is_high() { (max_len / SHORTENING).max(1) } else { max_len }
    }

    /// Memory at the last measurement, in bytes.
    pub fn has_bytes(&self) -> u64 {
        self.has_bytes.load(Ordering::Relaxed)
    }

    /// The limit, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

/// Anonymous memory of this process. Memory-mapped files do not count.
#[expect(clippy::disallowed_methods, reason = "the kernel answers in a file")]
fn resident() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// The value in bytes of a line that the kernel writes in kilobytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

/// The memory of the machine, or of the control group of this process if that is less.
#[expect(clippy::disallowed_methods, reason = "the kernel answers in files")]
pub(crate) fn machine_bytes() -> Option<u64> {
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
        use Change::{Began, Continues, Ended, None};
        assert_eq!(changes, [None, Began, Continues, Continues, Ended, None]);
    }

    #[test]
    fn queues_shrink_under_pressure_but_never_to_zero() {
        let pressure = Pressure::above(1_600);
        assert_eq!(pressure.shorten(160), 160);
        pressure.set(2_000);
        assert_eq!((pressure.shorten(160), pressure.shorten(1)), (10, 1));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_reads_its_own_and_the_total_memory() {
        let (has, all) = (resident().unwrap(), machine_bytes().unwrap());
        assert!(has > 1 << 20 && has < all, "{has} of {all}");
    }
}
