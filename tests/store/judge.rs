//! Compares what nodes were told with what the database has. Each commit with the number `n` of a room has to write the
//! entry `m` + `n` with the text that the node names it by, and nothing else may write it.

use std::collections::{BTreeMap, BTreeSet};

use dormouse::cluster::ownership::RoomId;
use dormouse::store::Record;
use tokio_postgres::Client;

use crate::node::{address, entry};

/// A commit that a node was told is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Confirmed {
    pub(crate) room: RoomId,
    pub(crate) number: u64,
    /// Different for each commit that any node tries.
    pub(crate) text: String,
}

/// Commits that break the promises.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// They were confirmed, and the database has not them, but others or nothing.
    pub(crate) lost: usize,
    /// Two commits were confirmed with the same number.
    pub(crate) twice: usize,
    /// The stored commits are not 1, 2, 3 … up to the number of the row, or an older epoch follows a newer one.
    pub(crate) disordered: usize,
}

/// The records of a commit with this number. The text begins with the epoch.
pub(crate) fn message(number: u64, text: &str) -> Vec<Record> {
    let key = [b"m", &number.to_be_bytes()[..]].concat();
    vec![entry(&key, Some(text.as_bytes())), entry(b"last", Some(text.as_bytes()))]
}

pub(crate) async fn judge(admin: &Client, rooms: &[RoomId], confirmed: &[Confirmed]) -> Verdict {
    let mut verdict = Verdict::default();
    for room in rooms {
        let query = "SELECT id, number FROM dormouse.rooms WHERE namespace = 'ROOMS' AND name = $1";
        let Some(row) = admin.query_opt(query, &[&address(*room).name()]).await.unwrap() else {
            verdict.lost += confirmed.iter().filter(|commit| commit.room == *room).count();
            continue;
        };
        let (id, last) = (row.get::<_, i64>(0), row.get::<_, i64>(1).cast_unsigned());
        let query = "SELECT key, value FROM dormouse.entries WHERE room = $1 AND key <> 'last'";
        let mut stored = BTreeMap::new();
        for row in admin.query(query, &[&id]).await.unwrap() {
            let number = u64::from_be_bytes(row.get::<_, &[u8]>(0)[1..].try_into().unwrap());
            stored.insert(number, String::from_utf8(row.get(1)).unwrap());
        }
        let is_dense = stored.keys().copied().eq(1..=last);
        let epochs = stored.values().map(|text| text.split(':').next().unwrap().parse::<u64>().unwrap());
        verdict.disordered += usize::from(!is_dense || !epochs.is_sorted());
        let mut numbers = BTreeSet::new();
        for commit in confirmed.iter().filter(|commit| commit.room == *room) {
            verdict.lost += usize::from(stored.get(&commit.number) != Some(&commit.text));
            verdict.twice += usize::from(!numbers.insert(commit.number));
        }
    }
    verdict
}
