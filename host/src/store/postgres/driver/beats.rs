//! The beats of this node, and its readings of those of others, on a connection of their own. It knows no room, and
//! nothing of what a reading means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::links::Event;
use crate::clock;
use crate::cluster::members::{BEAT_MS, Row};
use crate::cluster::ownership::NodeId;
use crate::store::postgres::failure::describe;
use crate::store::postgres::{Connection, Purpose, Target, connect};

const BEAT: &str = include_str!("../sql/beat.sql");

/// A node that lives beats at least once in the time of so many beats.
const STRANGER_BEATS: u32 = 4;

const EVERY: Duration = Duration::from_millis(BEAT_MS);

/// The time for one statement. Longer means that the database hangs, and the next try has a new connection.
const TIME: Duration = Duration::from_secs(2);

/// How long the end of a node waits until its row is removed. Others find out by themselves after about two seconds.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// The beats of this node. They end when this is dropped.
pub(super) struct Beats {
    is_leaving: Arc<AtomicBool>,
    orders: Sender<Order>,
}

/// Something to do beside the beats.
enum Order {
    /// Remove the row of a dead node, if its beat is still this one.
    Remove(NodeId, u64),
    /// Remove the own row, beat no more, and say so.
    Leave(oneshot::Sender<()>),
}

/// The connection of the beats.
pub(super) struct Beating {
    target: Target,
    me: NodeId,
    address: String,
    is_leaving: Arc<AtomicBool>,
    connection: Option<Connection>,
}

impl Beating {
    /// Joins the cluster: makes the row of this node, and reads those of the others. No room is claimed before.
    ///
    /// Fails: while a node lives that has another `key`, as neither would reach the rooms of the other.
    pub(super) async fn join(
        target: &Target,
        me: NodeId,
        address: &str,
        key: Option<[u8; 32]>,
    ) -> Result<(Self, Vec<Row>), String> {
        let (target, address, is_leaving) = (target.clone(), address.to_owned(), Arc::default());
        let mut beating = Beating { target, me, address, is_leaving, connection: None };
        let rows = beating.beat().await?;
        if let Some(key) = key
            && let Some(other) = beating.strangers(&key).await?
        {
            beating.remove(me, None).await;
            return Err(format!(
                "the node at {other} has another cluster key; all nodes need the same, and to replace it, all must be \
                 stopped"
            ));
        }
        Ok((beating, rows))
    }

    /// Writes the key of this node, and returns the address of a node that lives with another one.
    async fn strangers(&mut self, key: &[u8; 32]) -> Result<Option<String>, String> {
        let Some(connection) = &self.connection else { return Ok(None) };
        let me = self.me.0.cast_signed();
        let write = "UPDATE dormouse.nodes SET cluster_key = $2 WHERE id = $1";
        let written = connection.client().execute(write, &[&me, &&key[..]]).await;
        written.map_err(|error| describe(&error))?;
        other_key(connection, key).await
    }

    /// Goes on in a task. Readings become events.
    pub(super) fn start(self, events: Sender<Event>) -> Beats {
        // More rows than these are removed later.
        let (orders, ordered) = channel(16);
        let is_leaving = self.is_leaving.clone();
        tokio::task::spawn_local(self.run(events, ordered));
        Beats { is_leaving, orders }
    }

    async fn run(mut self, events: Sender<Event>, mut orders: Receiver<Order>) {
        loop {
            tokio::select! {
                () = clock::sleep(EVERY) => {
                    let event = match self.beat().await {
                        Ok(rows) => Event::Beats { rows, at: clock::monotonic() },
                        // The lanes say whether the database answers.
                        Err(problem) => {
                            tracing::debug!(%problem, "the beat of this node failed");
                            continue;
                        }
                    };
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Remove(node, beat)) => self.remove(node, Some(beat)).await,
                    Some(Order::Leave(done)) => {
                        let _ = clock::timeout(LEAVE_TIME, self.remove(self.me, None)).await;
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    async fn beat(&mut self) -> Result<Vec<Row>, String> {
        let is_leaving = self.is_leaving.load(Ordering::Relaxed);
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let me = self.me.0.cast_signed();
        let asked = clock::timeout(TIME, connection.client().query(BEAT, &[&me, &self.address, &is_leaving])).await;
        let rows = asked.map_err(|_| "no answer".to_owned())?.map_err(|error| describe(&error))?;
        self.connection = Some(connection);
        let row = |row: &tokio_postgres::Row| Row {
            node: NodeId(row.get::<_, i64>(0).cast_unsigned()),
            address: row.get(1),
            beat: row.get::<_, i64>(2).cast_unsigned(),
            is_leaving: row.get(3),
        };
        Ok(rows.iter().map(row).collect())
    }

    async fn connect(&self) -> Result<Connection, String> {
        let connection = connect(&self.target, Purpose::Beats).await.map_err(|error| error.to_string())?;
        // A beat need not survive anything, and must not wait for a standby.
        let set = connection.client().batch_execute("SET synchronous_commit = off").await;
        set.map_err(|error| describe(&error))?;
        Ok(connection)
    }

    async fn remove(&mut self, node: NodeId, beat: Option<u64>) {
        let Some(connection) = &self.connection else { return };
        let remove = "DELETE FROM dormouse.nodes WHERE id = $1 AND ($2::bigint IS NULL OR beat = $2)";
        let (node, beat) = (node.0.cast_signed(), beat.map(u64::cast_signed));
        // It is tried again after a later reading.
        let _ = clock::timeout(TIME, connection.client().execute(remove, &[&node, &beat])).await;
    }
}

impl Beats {
    /// The row says from the next beat on that this node will end.
    pub(super) fn set_leaving(&self) {
        self.is_leaving.store(true, Ordering::Relaxed);
    }

    /// Removes the row of a dead node.
    pub(super) fn remove(&self, node: NodeId, beat: u64) {
        // A row that does not fit is removed after a later reading.
        let _ = self.orders.try_send(Order::Remove(node, beat));
    }

    /// Removes the row of this node, so that others claim its rooms at once.
    pub(super) async fn leave(self) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Leave(done)).await.is_ok() {
            let _ = clock::timeout(LEAVE_TIME, is_done).await;
        }
    }
}

/// The address of a node that lives with another key of the cluster.
async fn other_key(connection: &Connection, key: &[u8; 32]) -> Result<Option<String>, String> {
    let read = "SELECT id, beat, address FROM dormouse.nodes WHERE cluster_key <> $1";
    let strangers = async || {
        let rows = connection.client().query(read, &[&&key[..]]).await.map_err(|error| describe(&error))?;
        let row = |row: &tokio_postgres::Row| (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, String>(2));
        Ok::<_, String>(rows.iter().map(row).collect::<Vec<_>>())
    };
    let before = strangers().await?;
    if before.is_empty() {
        return Ok(None);
    }
    // Rows of dead nodes stay for a while.
    clock::sleep(EVERY * STRANGER_BEATS).await;
    let lives = |(id, beat, _): &(i64, i64, String)| !before.iter().any(|(old, was, _)| (old, was) == (id, beat));
    Ok(strangers().await?.into_iter().find(lives).map(|(.., address)| address))
}

/// Compares the key of a cluster with those of the nodes that live, without joining them. Returns the address of one that
/// has another key; absent too if the database has no nodes yet.
pub async fn compare_key(connection: &Connection, key: &[u8; 32]) -> Result<Option<String>, String> {
    let query = "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('dormouse.nodes') \
                 AND attname = 'cluster_key')";
    let has_keys = connection.client().query_one(query, &[]).await.map_err(|error| describe(&error))?;
    if has_keys.get(0) { other_key(connection, key).await } else { Ok(None) }
}
