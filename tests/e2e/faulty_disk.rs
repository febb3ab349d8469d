//! A disk that goes wrong at a chosen moment, and what is found on it afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dormouse::store::{DiskError, MemoryEngine, Record, StorageEngine, StorageReader};
use rand::RngExt;
use rand::rngs::StdRng;

/// A fault of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// A sync fails, and everything after it. What was not synced is lost, or it is there after all.
    Sync { kept: bool },
    /// A write fails for want of space. What was to be written is lost, or it is there after all.
    Write { kept: bool },
    /// Of the reads from then on each third one fails.
    Read,
    /// Each sync takes so many milliseconds.
    Slow(u64),
    /// From then on syncs do nothing and say that they did; a few later the power is gone.
    Lie,
    /// A sync fails, and what the disk has of the last batch that it did make durable is lost as well.
    LoseTail,
    /// A sync fails, and everything of one kind is lost: keys that begin with this byte.
    LoseKind(u8),
}

impl Fault {
    /// One of those that a disk may have and no room may notice.
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        match rng.random_range(0..8) {
            0 => Fault::None,
            1 | 2 => Fault::Sync { kept: false },
            3 => Fault::Sync { kept: true },
            4 => Fault::Write { kept: false },
            5 => Fault::Write { kept: true },
            6 => Fault::Read,
            _ => Fault::Slow(rng.random_range(1..4)),
        }
    }
}

type Contents = BTreeMap<Bytes, Bytes>;

/// Fails once as its fault says, and then with every operation.
pub(crate) struct FaultDisk {
    fault: Fault,
    /// Which of its writes, syncs or reads the fault meets; the first is 1.
    at: u64,
    visible: MemoryEngine,
    is_full: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    durable: Contents,
    /// As it was before its last batch.
    before: Contents,
    unsynced: Vec<Record>,
    writes: u64,
    syncs: u64,
    reads: u64,
    failed: bool,
    struck: bool,
    reads_fail: bool,
    /// A violation of the contract by the store.
    misused: Option<&'static str>,
}

impl FaultDisk {
    pub(crate) fn new(found: Contents, fault: Fault, at: u64) -> Arc<Self> {
        let visible = MemoryEngine::default();
        let records = found.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        visible.write(records.collect()).expect("memory does not fail");
        let state = State { before: found.clone(), durable: found, ..State::default() };
        Arc::new(FaultDisk { fault, at, visible, is_full: AtomicBool::new(false), state: Mutex::new(state) })
    }

    /// Whether the fault has shown.
    pub(crate) fn struck(&self) -> bool {
        self.state().struck
    }

    /// From now on each read fails, or none does.
    pub(crate) fn fail_reads(&self, fail: bool) {
        self.state().reads_fail = fail;
    }

    /// From now on it has no space left, or it has.
    pub(crate) fn fill(&self, full: bool) {
        self.is_full.store(full, Ordering::SeqCst);
    }

    /// The disk when the power comes back.
    pub(crate) fn found(&self) -> Contents {
        let state = self.state();
        assert_eq!(state.misused, None, "with {:?} at {}", self.fault, self.at);
        let mut found = state.durable.clone();
        match self.fault {
            Fault::Sync { kept: true } | Fault::Write { kept: true } => apply(&mut found, state.unsynced.clone()),
            Fault::LoseTail => found = state.before.clone(),
            Fault::LoseKind(kind) => found.retain(|key, _| key[0] != kind),
            _ => {}
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn read(&self) -> Result<(), DiskError> {
        let mut state = self.state();
        state.reads += 1;
        let fails = self.fault == Fault::Read && state.reads >= self.at && state.reads.is_multiple_of(3);
        if fails || state.reads_fail {
            state.struck = true;
            return Err(DiskError("input/output error".into()));
        }
        Ok(())
    }
}

impl fmt::Display for FaultDisk {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.fault {
            Fault::Slow(_) => f.write_str("Slow"),
            fault => write!(f, "{fault:?}"),
        }
    }
}

fn apply(contents: &mut Contents, records: Vec<Record>) {
    for (key, value) in records {
        match value {
            Some(value) => contents.insert(key, value),
            None => contents.remove(&key),
        };
    }
}

impl StorageEngine for FaultDisk {
    fn write(&self, batch: Vec<Record>) -> Result<(), DiskError> {
        let mut state = self.state();
        if state.failed {
            state.misused = Some("it was written to after it had failed");
        }
        if !state.unsynced.is_empty() {
            // Else a crash could keep the later one and lose the earlier.
            state.misused = Some("a batch was written before the last one was synced");
        }
        state.writes += 1;
        state.unsynced = batch.clone();
        if matches!(self.fault, Fault::Write { .. }) && state.writes == self.at {
            (state.failed, state.struck) = (true, true);
            return Err(DiskError("no space left on device".into()));
        }
        drop(state);
        self.visible.write(batch)
    }

    fn sync(&self) -> Result<(), DiskError> {
        if let Fault::Slow(millis) = self.fault {
            std::thread::sleep(Duration::from_millis(millis));
            self.state().struck = true;
        }
        let mut state = self.state();
        if state.failed {
            state.misused = Some("it was synced after it had failed");
        }
        state.syncs += 1;
        let (syncs, at) = (state.syncs, self.at);
        let fails = match self.fault {
            Fault::Sync { .. } | Fault::LoseTail | Fault::LoseKind(_) => syncs == at,
            Fault::Lie => syncs == at + 3,
            _ => false,
        };
        if fails {
            (state.failed, state.struck) = (true, true);
            return Err(DiskError("input/output error".into()));
        }
        let unsynced = std::mem::take(&mut state.unsynced);
        if self.fault == Fault::Lie && syncs >= at {
            return Ok(());
        }
        if self.fault == Fault::LoseTail {
            state.before = state.durable.clone();
        }
        apply(&mut state.durable, unsynced);
        Ok(())
    }

    fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        Some(Ok(if self.is_full.load(Ordering::SeqCst) { 0 } else { u64::MAX }))
    }
}

impl StorageReader for FaultDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.read()?;
        self.visible.get(key)
    }

    fn scan(
        &self,
        range: (Bound<Bytes>, Bound<Bytes>),
        reverse: bool,
        visit: &mut dyn FnMut(Bytes, Bytes) -> bool,
    ) -> Result<(), DiskError> {
        self.read()?;
        self.visible.scan(range, reverse, visit)
    }
}
