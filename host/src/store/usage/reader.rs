//! Sums up what was used in some hours, a page at a time. The work of a page depends on its rows and on the hours, not
//! on the number of rooms: the first rows of the page are among the first rows of each hour.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{
    behind, ended, ended_subject, escaped, hour_prefix, level_prefix, own_prefix, read_levels, read_own, read_usage,
    with_subject,
};
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
        scan(disk, &hour_prefix(hour, query.by), Form::Plain, query, &mut |subject, key, value| {
            rows.entry(subject).or_default().add(&read_usage(key, value)?);
            Ok(())
        })?;
    }
    // Levels have filled the hours only up to the time when they were last touched.
    for (prefix, form) in [(level_prefix(query.by), Form::Plain), (own_prefix(query.by), Form::OfServer)] {
        scan(disk, &prefix, form, query, &mut |subject, key, value| {
            let levels = read_levels(key, value)?;
            let row = rows.entry(subject).or_default();
            levels.fill(now, ended(disk, epoch, &levels)?, 0, 0, |hour, usage| {
                if (query.from..query.until).contains(&hour) {
                    row.add(&usage);
                }
            });
            Ok(())
        })?;
    }
    let more = rows.len() > query.limit;
    let mut page = rows.into_iter().take(query.limit).collect::<Vec<_>>();
    let next = page.last().filter(|_| more).map(|(subject, _)| subject.clone());
    page.retain(|(_, usage)| !usage.is_nothing());
    let row = |(key, usage): (Bytes, Usage)| Some((UsageSubject::from_key(query.by, &key)?, usage));
    Ok(UsagePage { rows: page.into_iter().filter_map(row).collect(), next })
}

/// The form of keys behind their prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The subject.
    Plain,
    /// The subject, with an end and the epoch of a server.
    OfServer,
}

/// Visits the subjects of a query below a prefix: one more than the rows of the page, so that it is known whether more
/// follow.
fn scan(
    disk: &dyn StorageReader,
    prefix: &[u8],
    form: Form,
    query: &UsageQuery,
    visit: &mut Visit<'_>,
) -> Result<(), DiskError> {
    let spelled = |subject: &[u8]| if form == Form::Plain { subject.to_vec() } else { escaped(subject) };
    let mut wanted = Vec::new();
    if let (UsageBy::Room, Some(namespace)) = (query.by, &query.namespace) {
        wanted.extend_from_slice(namespace.as_bytes());
        wanted.push(0);
    }
    wanted.extend_from_slice(query.prefix.as_bytes());
    let wanted = with_subject(prefix, &spelled(&wanted));
    let behind_after = query.after.as_ref().map(|after| match form {
        Form::Plain => Bound::Excluded(with_subject(prefix, after)),
        Form::OfServer => match behind(&with_subject(prefix, &ended_subject(after))) {
            Bound::Excluded(next) => Bound::Included(next),
            bound => bound,
        },
    });
    let start = match behind_after {
        Some(Bound::Excluded(after) | Bound::Included(after)) if after < wanted => Bound::Included(wanted.clone()),
        Some(start) => start,
        None => Bound::Included(wanted.clone()),
    };
    let (end, mut seen, mut last, mut failed) = (behind(&wanted), 0, None, Ok(()));
    // An engine may refuse a range whose end is before its start.
    if let (Bound::Excluded(start) | Bound::Included(start), Bound::Excluded(end)) = (&start, &end)
        && start >= end
    {
        return Ok(());
    }
    disk.scan((start, end), false, &mut |key, value| {
        let rest = key.slice(prefix.len()..);
        let subject = match form {
            Form::Plain => Some(rest),
            Form::OfServer => read_own(&rest).map(|(subject, _)| subject),
        };
        let Some(subject) = subject else { return true };
        if last.as_ref() != Some(&subject) {
            seen += 1;
            last = Some(subject.clone());
        }
        // One more subject was seen whole, and this is the next.
        if seen > query.limit + 1 {
            return false;
        }
        failed = visit(subject, &key, &value);
        failed.is_ok()
    })?;
    failed
}
