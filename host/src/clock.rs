//! The only source of time. Everything else is told what time it is, or asks here.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Unix time in milliseconds.
pub type UnixMillis = u64;

/// Now, as people and rooms read it. May jump when the operator sets the system's clock.
pub fn unix_millis() -> UnixMillis {
    to_unix_millis(SystemTime::now())
}

/// A moment as Unix time in milliseconds; 0 for one before 1970.
pub fn to_unix_millis(time: SystemTime) -> UnixMillis {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Now, for measuring how long something took. Never goes back.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// CPU that this thread has used.
pub fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    // Both are 0 or more: it begins with the thread.
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Wait for a while.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Wait until a Unix time in milliseconds. Returns at once where it has passed.
pub async fn sleep_until(at: UnixMillis) {
    // A wait is cut into hours, so that a system clock set forward delays a timer by one hour at most.
    const LONGEST_WAIT_MS: u64 = 3_600_000;
    loop {
        let now = unix_millis();
        if at <= now {
            return;
        }
        sleep(Duration::from_millis((at - now).min(LONGEST_WAIT_MS))).await;
    }
}
