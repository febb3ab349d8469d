//! Keeps other servers away: a lock of the database that belongs to a connection of this process. The nodes of a cluster
//! share it, which keeps a server away that is no node.
//!
//! The lock ends with the connection, so nothing compares clocks and nothing has to be cleaned up after `kill -9`: the
//! kernel closes the connection, and the database frees the lock at once. After a power loss the database notices within
//! some ten seconds that nothing answers any more. A server that is only paused keeps the lock.
//!
//! The lock decides who tries. Two servers that both believe to have it, as after a failover, are kept apart by the
//! fence of each room. So nothing is lost when it is wrong; clients of one of them are asked to come back.

use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::links::Event;
use super::presence::Standing;
use crate::clock;
use crate::store::postgres::failure::describe;
use crate::store::postgres::{Connection, Purpose, Target, connect};

/// The lock. `schema` has another one.
const LOCK: i64 = i64::from_be_bytes(*b"dormserv");

/// How long a start waits for the lock: a server that was killed may still have it for a moment.
const WAIT: Duration = Duration::from_secs(5);
const TRY_EVERY: Duration = Duration::from_millis(100);

/// How often the connection is tried while nothing else may ask the database.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The time for its answer. After it the connection is given up, and the lock with it.
const PING_TIME: Duration = Duration::from_secs(5);
/// An answer that takes longer is news: nothing else may ask a database that hangs.
const PING_IS_LATE: Duration = Duration::from_secs(2);

/// The database notices a client that is gone after about 10 s.
const SESSION: &str = "SET tcp_keepalives_idle = 4; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; \
                       SET tcp_user_timeout = '10s'";

/// The lock, as long as this lives.
pub(in crate::store::postgres) struct Only(Connection);

/// How the lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::postgres) enum Hold {
    /// By one server alone.
    Alone,
    /// By all nodes of a cluster.
    Shared,
}

/// The reason why this server does not have the lock.
pub(in crate::store::postgres) enum NotOnly {
    /// Another server has it, which this names.
    Other(String),
    Unreachable(String),
}

impl Only {
    /// Takes the lock, or waits for it a little.
    pub(in crate::store::postgres) async fn take(target: &Target, hold: Hold) -> Result<Self, NotOnly> {
        let until = clock::monotonic() + WAIT;
        loop {
            match Self::try_take(target, hold).await {
                Err(NotOnly::Other(_)) if clock::monotonic() < until => clock::sleep(TRY_EVERY).await,
                taken => return taken,
            }
        }
    }

    async fn try_take(target: &Target, hold: Hold) -> Result<Self, NotOnly> {
        let take = match hold {
            Hold::Alone => "SELECT pg_try_advisory_lock($1)",
            Hold::Shared => "SELECT pg_try_advisory_lock_shared($1)",
        };
        let unreachable = |error: tokio_postgres::Error| NotOnly::Unreachable(describe(&error));
        let connected = connect(target, Purpose::Setup).await;
        let connection = connected.map_err(|error| NotOnly::Unreachable(error.to_string()))?;
        let client = connection.client();
        let name = format!("dormouse server, process {}", std::process::id());
        let asked = async {
            client.batch_execute(&format!("SET application_name = '{name}'; {SESSION}")).await?;
            client.query_one(take, &[&LOCK]).await.map(|row| row.get::<_, bool>(0))
        };
        if asked.await.map_err(unreachable)? {
            return Ok(Only(connection));
        }
        let holder = "SELECT coalesce(a.application_name, 'unknown') || ', connected from ' \
                          || coalesce(host(a.client_addr), 'this machine') \
                          || ' since ' || coalesce(date_trunc('second', a.backend_start)::text, 'some time') \
                      FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
                      WHERE l.locktype = 'advisory' AND l.granted \
                          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                          AND (l.classid::bigint << 32 | l.objid::bigint) = $1 AND l.objsubid = 1";
        let rows = client.query(holder, &[&LOCK]).await.map_err(unreachable)?;
        Err(NotOnly::Other(rows.first().map_or_else(|| "it has just stopped".into(), |row| row.get(0))))
    }

    /// Keeps the lock, and takes it again after the connection was lost. It also counts the standbys that commits wait
    /// for.
    pub(super) async fn keep(self, target: Target, hold: Hold, events: Sender<Event>) {
        let mut only = Some(self);
        loop {
            clock::sleep(PING_EVERY).await;
            let event = match &only {
                Some(Only(connection)) => match ping(connection, &events).await {
                    Ok(standbys) => Event::Standbys(standbys),
                    Err(problem) => {
                        only = None;
                        if events.send(Event::Away(problem)).await.is_err() {
                            return;
                        }
                        Event::Standing(Standing::Unknown)
                    }
                },
                None => match Self::try_take(&target, hold).await {
                    Ok(taken) => {
                        only = Some(taken);
                        Event::Standing(Standing::Alone)
                    }
                    Err(NotOnly::Other(other)) => Event::Standing(Standing::NotAlone(other)),
                    Err(NotOnly::Unreachable(problem)) => Event::Away(problem),
                },
            };
            // The driver has ended if nothing receives it.
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Asks the database something. Tells the driver if that takes long.
async fn ping(connection: &Connection, events: &Sender<Event>) -> Result<i64, String> {
    let query =
        "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')";
    let asked = clock::timeout(PING_TIME, connection.client().query_one(query, &[]));
    let mut asked = std::pin::pin!(asked);
    let asked = match clock::timeout(PING_IS_LATE, asked.as_mut()).await {
        Ok(asked) => asked,
        Err(_) => {
            // The driver has ended if nothing receives it.
            let _ = events.send(Event::Away("no answer".into())).await;
            asked.await
        }
    };
    match asked {
        Ok(Ok(row)) => Ok(row.get(0)),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err("no answer".into()),
    }
}
