//! Reading the storage of a room: ordered keys, and an overlay of newer writes over an older state. It knows no disk;
//! the store, the room and the guest implement or call [`Storage`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// Keys from `start` to `end`.
#[derive(Debug, Clone)]
pub struct Range {
    /// The first key.
    pub start: Bound<Bytes>,
    /// The last key.
    pub end: Bound<Bytes>,
    /// Whether the highest key comes first.
    pub reverse: bool,
}

/// The disk could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the room's storage cannot be read: {0}")]
pub struct StorageFailed(pub String);

/// The storage of a room as it was before the turn.
pub trait Storage: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageFailed>;

    /// Passes the entries of a range to `visit`, in order, until that returns false.
    fn scan(&self, range: &Range, visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool) -> Result<(), StorageFailed>;
}

/// A written value in an overlay; the key may have been removed.
pub trait Written {
    /// The value; absent if the key was removed.
    fn value(&self) -> Option<&Bytes>;
}

impl Written for Option<Bytes> {
    fn value(&self) -> Option<&Bytes> {
        self.as_ref()
    }
}

impl Range {
    fn is_empty(&self) -> bool {
        use Bound::{Excluded, Included, Unbounded};
        match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(start), Included(end)) => start > end,
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
        }
    }
}

/// Scans `base` with the writes in `over` on top.
pub fn scan_over<W: Written>(
    over: &BTreeMap<Bytes, W>,
    base: &dyn Storage,
    range: &Range,
    visit: &mut dyn FnMut(&Bytes, &Bytes) -> bool,
) -> Result<(), StorageFailed> {
    if range.is_empty() {
        return Ok(());
    }
    let newer = over.range((range.start.clone(), range.end.clone()));
    let mut newer: Box<dyn Iterator<Item = (&Bytes, &W)>> =
        if range.reverse { Box::new(newer.rev()) } else { Box::new(newer) };
    let mut next = newer.next();
    let mut go_on = true;

    base.scan(range, &mut |key, value| {
        while let Some((newer_key, written)) = next {
            let order = if range.reverse { key.cmp(newer_key) } else { newer_key.cmp(key) };
            if order == Ordering::Greater {
                break;
            }
            next = newer.next();
            if let Some(newer_value) = written.value() {
                go_on = visit(newer_key, newer_value);
            }
            // The key was replaced or removed, so the older value is skipped.
            if order == Ordering::Equal {
                return go_on;
            }
            if !go_on {
                return false;
            }
        }
        go_on = visit(key, value);
        go_on
    })?;

    while let (true, Some((key, written))) = (go_on, next) {
        if let Some(value) = written.value() {
            go_on = visit(key, value);
        }
        next = newer.next();
    }
    Ok(())
}
