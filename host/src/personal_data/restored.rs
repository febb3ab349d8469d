//! Erasures after a restore: the data of a backup may have users again that were erased since. A newer list of erasures
//! says which. Its erasures are repeated: by themselves where the list has the id of the user, and otherwise as soon as
//! the operator gives the id again. It knows no rooms; the command line calls it.

use std::path::Path;

use super::journal::{BadErasures, Journal, read};
use super::record::{Erasure, State};
use crate::clock::UnixMillis;

/// Erasures that ended so shortly before a backup, in milliseconds, are repeated too: the list of a backup is copied
/// after its snapshot of the rooms.
const DOUBTFUL_MS: u64 = 60_000;

/// A newer list of erasures, which was read and is valid.
pub struct ErasureList(Vec<Erasure>);

/// How many erasures have to be repeated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Those that the server repeats at its start.
    pub by_itself: usize,
    /// Those whose user is not known: the operator has to give the id again.
    pub need_ids: usize,
}

impl ErasureList {
    /// Reads the file `erasures.json` of another data directory, or a copy of it.
    pub fn read(path: &Path) -> Result<Self, BadErasures> {
        let erasures = read(path)?.ok_or_else(|| BadErasures::new(path, "there is no such file"))?;
        Ok(ErasureList(erasures))
    }
}

/// Marks the erasures in a restored data directory that have to be repeated: those of the newer list that the backup
/// does not have, and those that ended while the backup began, which was at `created`.
pub fn repeat_erasures(data: &Path, newer: Option<ErasureList>, created: UnixMillis) -> Result<Repeats, BadErasures> {
    let mut journal = Journal::open(Some(data))?;
    // Whether ids are kept is decided by the configuration, at the start of the server.
    journal.keep_ids_ms = u64::MAX;
    merge(&mut journal.erasures, newer.map_or(Vec::new(), |list| list.0), created);
    let repeated = journal.erasures.iter().filter(|erasure| matches!(erasure.state, State::Repeat | State::Running));
    let known = repeated.clone().filter(|erasure| erasure.user.is_some()).count();
    let repeats = Repeats { by_itself: known, need_ids: repeated.count() - known };
    if !journal.erasures.is_empty() {
        journal.write().map_err(|error| BadErasures::new(data, &error.to_string()))?;
    }
    Ok(repeats)
}

fn merge(restored: &mut Vec<Erasure>, newer: Vec<Erasure>, created: UnixMillis) {
    let is_doubtful = |erasure: &Erasure| erasure.ended.is_some_and(|ended| ended + DOUBTFUL_MS > created);
    for erasure in restored.iter_mut().filter(|erasure| erasure.state == State::Finished && is_doubtful(erasure)) {
        erasure.repeat();
    }
    for mut erasure in newer {
        let known = restored.iter_mut().find(|other| other.id == erasure.id);
        match known {
            Some(known) if known.state == State::Finished => {}
            // It ran in the backup, and was cancelled since.
            Some(known) if erasure.state == State::Cancelled => *known = erasure,
            None if erasure.state == State::Cancelled => {}
            Some(known) => {
                // The newer list may have forgotten the id since.
                erasure.user = erasure.user.or(known.user.take());
                erasure.repeat();
                *known = erasure;
            }
            None => {
                erasure.repeat();
                restored.push(erasure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(user: &str, state: State, at: UnixMillis, keep_ms: u64) -> Erasure {
        let mut erasure = Erasure::new(user, 1);
        erasure.end(state, at);
        erasure.forget(at, keep_ms);
        erasure
    }

    #[test]
    fn only_erasures_that_the_backup_may_not_have_are_repeated() {
        let created = 1_000_000;
        let old = ended("old", State::Finished, created - DOUBTFUL_MS, 0);
        let doubtful = ended("doubtful", State::Finished, created - 1, 0);
        let running = Erasure::new("running", 1);
        let mut finished_since = running.clone();
        finished_since.end(State::Finished, created + 1);
        finished_since.forget(created + 1, 0);
        let later = ended("later", State::Finished, created + 5, 9);
        let forgotten = ended("forgotten", State::Finished, created + 5, 0);
        let cancelled = ended("cancelled", State::Cancelled, created + 5, 0);
        let cancelled_since = Erasure::new("cancelled since", 1);
        let mut restored = vec![old.clone(), doubtful, running, cancelled_since.clone()];
        let mut ended_since = cancelled_since;
        ended_since.end(State::Cancelled, created + 1);
        ended_since.forget(created + 1, 0);
        merge(&mut restored, vec![old, finished_since, ended_since, later, forgotten, cancelled], created);
        let found = restored.iter().map(|erasure| (erasure.state, erasure.user.as_deref())).collect::<Vec<_>>();
        let expected = [
            (State::Finished, None),
            (State::Repeat, None),
            (State::Repeat, Some("running")),
            (State::Cancelled, None),
            (State::Repeat, Some("later")),
            (State::Repeat, None),
        ];
        assert_eq!(found, expected);
        assert!(restored[5].mark.is_of("forgotten") && restored[5].ended.is_none());
    }
}
