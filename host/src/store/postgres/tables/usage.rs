//! Records of usage, which several servers add to: they change only if they are as the server has read them. A lock of
//! the database orders the changes.
//!
//! Invariant: a change happens once. Among its records is one that no other change makes as it is, so a caller that got no
//! answer finds out by reading that one.

use bytes::Bytes;

use super::{Connection, Problem, Tables, TablesError, in_time};

/// Held by a transaction that changes usage.
const LOCK: i64 = i64::from_be_bytes(*b"dormusag");

const DIFFERS: &str = "SELECT EXISTS (SELECT FROM unnest($1::bytea[], $2::bytea[]) AS x (key, value) \
    LEFT JOIN dormouse.records r ON r.key = x.key WHERE r.value IS DISTINCT FROM x.value)";

const PUT: &str = "INSERT INTO dormouse.records (key, value) \
    SELECT x.key, x.value FROM unnest($1::bytea[], $2::bytea[]) AS x (key, value) WHERE x.value IS NOT NULL \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

const DELETE: &str = "DELETE FROM dormouse.records r USING unnest($1::bytea[], $2::bytea[]) AS x (key, value) \
    WHERE r.key = x.key AND x.value IS NULL";

/// A record that changes, if it is as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// Its key. The records of a change have different ones.
    pub key: Bytes,
    /// Its value as it was read; absent if there was none.
    pub before: Option<Bytes>,
    /// Its new value; absent if it is removed.
    pub after: Option<Bytes>,
}

/// The outcome of a change of usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchanged {
    /// It is durable.
    Yes,
    /// Another server has changed one of the records. Nothing was changed.
    Differs,
}

impl Tables {
    /// Changes all of these records, or none.
    ///
    /// Fails: if the database does not answer. Then it may have happened.
    pub async fn exchange(&self, records: &[Exchange]) -> Result<Exchanged, TablesError> {
        let exchanged = in_time(async {
            let mut held = self.take().await?;
            let exchanged = exchange(&mut held.connection, records).await;
            held.give_back(exchanged.map_err(Problem::from))
        });
        exchanged.await.map_err(Problem::into_error)
    }
}

async fn exchange(connection: &mut Connection, records: &[Exchange]) -> Result<Exchanged, tokio_postgres::Error> {
    let keys = records.iter().map(|record| &record.key[..]).collect::<Vec<_>>();
    let before = records.iter().map(|record| record.before.as_deref()).collect::<Vec<_>>();
    let after = records.iter().map(|record| record.after.as_deref()).collect::<Vec<_>>();
    let transaction = connection.client_mut().transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    if transaction.query_one(DIFFERS, &[&keys, &before]).await?.get(0) {
        transaction.rollback().await?;
        return Ok(Exchanged::Differs);
    }
    transaction.execute(DELETE, &[&keys, &after]).await?;
    transaction.execute(PUT, &[&keys, &after]).await?;
    transaction.commit().await?;
    Ok(Exchanged::Yes)
}
