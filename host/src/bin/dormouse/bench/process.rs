//! The resources that a process has used, from Linux's /proc. Absent on other systems, and after the process has ended.

use std::fs;

/// CPU and memory of one process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

/// The resources that the process has used so far.
pub(super) fn usage(pid: Option<u32>) -> Option<Usage> {
    let pid = pid?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; after it comes the state, which is field 3.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().collect::<Vec<_>>();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes = resident.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(Usage { cpu_seconds: (ticks(14)? + ticks(15)?) / per_second, resident_bytes: kibibytes << 10 })
}
