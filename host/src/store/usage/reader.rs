//! Sums up what was used in some hours, a page at a time. The work of a page depends on its rows and on the hours, not
//! on the number of rooms: the first rows of the page are among the first rows of each hour.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{behind, ended, hour_prefix, level_prefix, read_levels, read_usage, with_subject};
use crate::clock::UnixMillis;
use crate::model::{Usage, UsageBy, UsagePage, UsageQuery, UsageSubject};
use crate::store::engine::StorageReader;
use crate::store::error::DiskError;

/// Takes a subject with the key and the value of its record.
type Visit<'a> = dyn FnMut(Bytes, &[u8], &[u8]) -> Result<(), DiskError> + 'a;

/// The rows of a query, as of `now`.
pub(in crate::store) fn page(
    disk: &dyn StorageReader,
    query: &UsageQuery,
    now: UnixMillis,
    epoch: u64,
) -> Result<UsagePage, DiskError> {
    let mut rows = BTreeMap::<Bytes, Usage>::new();
    for hour in query.from..query.until {
        scan(disk, &hour_prefix(hour, query.by), query, &mut |subject, key, value| {
            rows.entry(subject).or_default().add(&read_usage(key, value)?);
            Ok(())
        })?;
    }
    // Levels have filled the hours only up to the time when they were last touched.
    scan(disk, &level_prefix(query.by), query, &mut |subject, key, value| {
        let levels = read_levels(key, value)?;
        let row = rows.entry(subject).or_default();
        levels.fill(now, ended(disk, epoch, &levels)?, 0, 0, |hour, usage| {
            if (query.from..query.until).contains(&hour) {
                row.add(&usage);
            }
        });
        Ok(())
    })?;
    let more = rows.len() > query.limit;
    let mut page = rows.into_iter().take(query.limit).collect::<Vec<_>>();
    let next = page.last().filter(|_| more).map(|(subject, _)| subject.clone());
    page.retain(|(_, usage)| !usage.is_nothing());
    let row = |(key, usage): (Bytes, Usage)| Some((UsageSubject::from_key(query.by, &key)?, usage));
    Ok(UsagePage { rows: page.into_iter().filter_map(row).collect(), next })
}

/// Visits the subjects of a query below a prefix: one more than the rows of the page, so that it is known whether more
/// follow.
fn scan(disk: &dyn StorageReader, prefix: &[u8], query: &UsageQuery, visit: &mut Visit<'_>) -> Result<(), DiskError> {
    let mut wanted = prefix.to_vec();
    if let (UsageBy::Room, Some(namespace)) = (query.by, &query.namespace) {
        wanted.extend_from_slice(namespace.as_bytes());
        wanted.push(0);
    }
    wanted.extend_from_slice(query.prefix.as_bytes());
    let start = match &query.after {
        Some(after) if with_subject(prefix, after)[..] >= wanted[..] => Bound::Excluded(with_subject(prefix, after)),
        _ => Bound::Included(Bytes::copy_from_slice(&wanted)),
    };
    let (end, mut seen, mut failed) = (behind(&wanted), 0, Ok(()));
    // An engine may refuse a range whose end is before its start.
    if let (Bound::Excluded(start), Bound::Excluded(end)) = (&start, &end)
        && start >= end
    {
        return Ok(());
    }
    disk.scan((start, end), false, &mut |key, value| {
        failed = visit(key.slice(prefix.len()..), &key, &value);
        seen += 1;
        failed.is_ok() && seen <= query.limit
    })?;
    failed
}
