//! Locks that say once what happens if a holder panics: it is a bug, so the next holder panics too.
//!
//! A holder calls no code of guests, and of embedders only a storage engine's scan (`room/overlay.rs`), so only a bug
//! of the host or of that engine can make it panic. The data may then be inconsistent. The panic of the next holder
//! ends its room or its task, which `panics` reports; going on could break a promise silently.

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The invariant of all locks, for those that wait in another way, such as on a condition variable.
pub(crate) const NO_HOLDER_PANICS: &str = "no holder of this lock panics";

/// A mutex.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Lock(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect(NO_HOLDER_PANICS)
    }
}

/// A lock that many may read at the same time.
#[derive(Debug, Default)]
pub(crate) struct ReadWriteLock<T>(RwLock<T>);

impl<T> ReadWriteLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        ReadWriteLock(RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect(NO_HOLDER_PANICS)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect(NO_HOLDER_PANICS)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn after_a_holder_that_panics_the_next_one_panics_too() {
        let lock = Lock::new(());
        let hold = |panics: bool| {
            catch_unwind(AssertUnwindSafe(|| {
                let _held = lock.lock();
                assert!(!panics);
            }))
        };
        assert!(hold(false).is_ok() && hold(true).is_err());
        assert!(hold(false).is_err());
    }
}
