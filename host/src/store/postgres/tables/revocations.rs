//! The table of revocations. Each change has a number, and readers ask for the changes behind the last one that they
//! know. The row with the last number is locked by each change, so they become visible in their order.

use tokio_postgres::Row;

use super::{Connection, Problem, Tables, in_time};
use crate::limits::REVOCATIONS;
use crate::revocations::{Changes, Entry, Kept, Revoked, Table, Waits};

const USER: i16 = 0;
const TOKEN: i16 = 1;
const MEMBER: i16 = 2;

/// A removal is remembered for so many changes. A server that is further behind reads all.
const REMEMBERED: i64 = 10_000;

/// A new revocation, unless the table is full. The longer one counts.
const ADD: &str = "WITH n AS (UPDATE dormouse.meta SET revocations = revocations + 1 RETURNING revocations) \
    INSERT INTO dormouse.revocations AS r (kind, id, room, until, version) \
    SELECT $1::smallint, $2::bytea, $3::bytea, $4::bigint, n.revocations FROM n \
    WHERE EXISTS (SELECT FROM dormouse.revocations o WHERE (o.kind, o.id, o.room) = ($1, $2, $3) AND NOT o.removed) \
        OR (SELECT count(*) FROM dormouse.revocations o WHERE NOT o.removed) < $5::bigint \
    ON CONFLICT (kind, id, room) DO UPDATE SET \
        until = CASE WHEN r.removed THEN excluded.until \
            WHEN r.until IS NOT NULL AND excluded.until IS NOT NULL THEN greatest(r.until, excluded.until) END, \
        removed = false, version = excluded.version";

const REMOVE: &str = "WITH n AS (UPDATE dormouse.meta SET revocations = revocations + 1 RETURNING revocations) \
    UPDATE dormouse.revocations r SET removed = true, version = n.revocations FROM n \
    WHERE (r.kind, r.id, r.room) = ($1, $2, $3) AND NOT r.removed";

/// Forgets old removals, and says so to readers.
const FORGET: &str = "WITH gone AS (DELETE FROM dormouse.revocations \
        WHERE removed AND version < (SELECT revocations FROM dormouse.meta) - $1 RETURNING version) \
    UPDATE dormouse.meta SET revocations_forgotten = greatest(revocations_forgotten, (SELECT max(version) FROM gone)) \
    WHERE EXISTS (SELECT FROM gone)";

/// Tokens that are refused by their expiry alone.
const EXPIRED: &str = "DELETE FROM dormouse.revocations WHERE kind = $1 AND NOT removed AND until < $2";

impl Table for Tables {
    fn add(&self, entry: &Entry, expired_before: u64) -> Waits<Result<Kept, String>> {
        let (this, entry) = (self.clone(), entry.clone());
        Box::pin(async move {
            let add = async || {
                let mut held = this.take().await?;
                let added = add(&mut held.connection, &entry, expired_before).await;
                held.give_back(added.map_err(Problem::from))
            };
            let added = match in_time(add()).await {
                // The connection may have been lost long ago, and an entry may be added twice.
                Err(Problem::Lost(_)) => in_time(add()).await,
                added => added,
            };
            let added = added.map_err(text_of)?;
            Ok(if added == 0 { Kept::Full } else { Kept::Yes })
        })
    }

    fn remove(&self, revoked: &Revoked) -> Waits<Result<bool, String>> {
        let (this, revoked) = (self.clone(), revoked.clone());
        Box::pin(async move {
            let remove = async || {
                let mut held = this.take().await?;
                let removed = remove(&mut held.connection, &revoked).await;
                held.give_back(removed.map_err(Problem::from))
            };
            match in_time(remove()).await {
                // The first try may have removed it.
                Err(Problem::Lost(_)) => in_time(remove()).await.map(|_| true).map_err(text_of),
                removed => removed.map(|removed| removed > 0).map_err(text_of),
            }
        })
    }

    fn since(&self, known: Option<u64>) -> Waits<Result<Changes, String>> {
        let this = self.clone();
        Box::pin(async move {
            let read = async || {
                let held = this.take().await?;
                let read = since(&held.connection, known).await;
                held.give_back(read.map_err(Problem::from))
            };
            let changes = match in_time(read()).await {
                // The connection may have been lost long ago.
                Err(Problem::Lost(_)) => in_time(read()).await,
                changes => changes,
            };
            changes.map_err(text_of)
        })
    }
}

fn text_of(problem: Problem) -> String {
    problem.into_error().to_string()
}

async fn add(connection: &mut Connection, entry: &Entry, expired_before: u64) -> Result<u64, tokio_postgres::Error> {
    let (kind, id, room, until) = columns(entry);
    let most = i64::try_from(REVOCATIONS).unwrap_or(i64::MAX);
    let transaction = connection.client_mut().transaction().await?;
    transaction.execute(EXPIRED, &[&TOKEN, &number(expired_before)]).await?;
    let added = transaction.execute(ADD, &[&kind, &id, &room, &until, &most]).await?;
    transaction.commit().await?;
    Ok(added)
}

async fn remove(connection: &mut Connection, revoked: &Revoked) -> Result<u64, tokio_postgres::Error> {
    let (kind, id, room) = key(revoked);
    let transaction = connection.client_mut().transaction().await?;
    let removed = transaction.execute(REMOVE, &[&kind, &id, &room]).await?;
    transaction.execute(FORGET, &[&REMEMBERED]).await?;
    transaction.commit().await?;
    Ok(removed)
}

async fn since(connection: &Connection, known: Option<u64>) -> Result<Changes, tokio_postgres::Error> {
    let client = connection.client();
    let last = "SELECT revocations, revocations_forgotten FROM dormouse.meta";
    let last = client.query_one(last, &[]).await?;
    let (last, forgotten) = (unsigned(&last, 0), unsigned(&last, 1));
    // A database that was restored has fewer changes.
    let known = known.filter(|known| (forgotten..=last).contains(known));
    if known == Some(last) {
        return Ok(Changes { last, is_all: false, added: Vec::new(), removed: Vec::new() });
    }
    let query = "SELECT kind, id, room, until, removed, version FROM dormouse.revocations \
                 WHERE version > $1 AND (NOT removed OR NOT $2) ORDER BY version";
    let rows = client.query(query, &[&known.map_or(-1, number), &known.is_none()]).await?;
    Ok(changes(last, known.is_none(), &rows))
}

fn changes(last: u64, is_all: bool, rows: &[Row]) -> Changes {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut last = last;
    for row in rows {
        let Some(entry) = entry(row) else { continue };
        if row.get(4) {
            removed.push(entry.revoked())
        } else {
            added.push(entry)
        }
        // A change that was made between the two queries.
        last = last.max(unsigned(row, 5));
    }
    Changes { last, is_all, added, removed }
}

/// A number of the database has a sign.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or(0)
}

fn key(revoked: &Revoked) -> (i16, Vec<u8>, Vec<u8>) {
    match revoked {
        Revoked::User(revoked) => (USER, revoked.user.clone().into(), Vec::new()),
        Revoked::Token(revoked) => (TOKEN, revoked.jti.clone().into(), Vec::new()),
        Revoked::Member(revoked) => (MEMBER, revoked.user.clone().into(), revoked.room.clone().into()),
    }
}

fn columns(entry: &Entry) -> (i16, Vec<u8>, Vec<u8>, Option<i64>) {
    let (kind, id, room) = key(&entry.revoked());
    let until = match entry {
        Entry::User { before, .. } => Some(number(*before)),
        Entry::Token { exp, .. } => exp.map(number),
        Entry::Member { .. } => None,
    };
    (kind, id, room, until)
}

/// Absent for a kind of a newer program, and for an id that is no text.
fn entry(row: &Row) -> Option<Entry> {
    let text = |column| String::from_utf8(row.get::<_, Vec<u8>>(column)).ok();
    let until = row.get::<_, Option<i64>>(3).map(|until| u64::try_from(until).unwrap_or(0));
    match row.get::<_, i16>(0) {
        USER => Some(Entry::User { user: text(1)?, before: until.unwrap_or(u64::MAX) }),
        TOKEN => Some(Entry::Token { jti: text(1)?, exp: until }),
        MEMBER => Some(Entry::Member { user: text(1)?, room: text(2)? }),
        _ => None,
    }
}
