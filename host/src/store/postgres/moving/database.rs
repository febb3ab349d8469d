//! The side of a move that is a database: one connection to write, with the lock of the only server.

use std::future::Future;

use tokio::runtime::Runtime;

use super::MoveError;
use super::places::{self, Mark};
use crate::clock;
use crate::cluster::ownership::NodeId;
use crate::store::engine::{Record, StorageReader};
use crate::store::error::OpenError;
use crate::store::postgres::driver::{Hold, NotOnly, Only};
use crate::store::postgres::failure::describe;
use crate::store::postgres::{
    Connection, Lane, PostgresReader, Purpose, Target, WriteError, connect, prepare, promises,
};

/// How often a write is tried again after the connection was lost.
const TRIES: u32 = 10;
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) struct Database {
    runtime: Runtime,
    target: Target,
    setup: Connection,
    lane: Lane,
    pub(super) reader: PostgresReader,
    /// The name of the store.
    pub(super) store: String,
    /// Keeps servers away.
    _only: Only,
}

fn failed(error: impl ToString) -> MoveError {
    MoveError::Open(OpenError::Database(error.to_string()))
}

impl Database {
    /// Connects, makes the schema if it is missing, and keeps servers away.
    pub(super) fn open(target: &Target) -> Result<Self, MoveError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let (setup, lane, store, only) = runtime.block_on(async {
            let mut setup = connect(target, Purpose::Setup).await.map_err(failed)?;
            promises(&setup).await.map_err(failed)?.check(false).map_err(failed)?;
            let schema = prepare(&mut setup).await.map_err(failed)?;
            let only = Only::take(target, Hold::Alone).await.map_err(|refused| match refused {
                NotOnly::Other(other) => MoveError::Open(OpenError::NotAlone(other)),
                NotOnly::Unreachable(problem) => failed(problem),
            })?;
            let lane = connect_lane(target).await?;
            Ok::<_, MoveError>((setup, lane, schema.store, only))
        })?;
        let reader = PostgresReader::connect(target).map_err(failed)?;
        Ok(Database { runtime, target: target.clone(), setup, lane, reader, store, _only: only })
    }

    pub(super) fn mark(&self) -> Result<Option<Mark>, MoveError> {
        Ok(places::mark(&self.reader)?)
    }

    pub(super) fn set_mark(&mut self, mark: Option<&Mark>) -> Result<(), MoveError> {
        self.write(vec![places::record(mark)])
    }

    /// Writes records. After a lost connection they are written again.
    pub(super) fn write(&mut self, records: Vec<Record>) -> Result<(), MoveError> {
        let Database { runtime, target, lane, .. } = self;
        runtime.block_on(async {
            let mut tries = 0;
            loop {
                match lane.write(&records).await {
                    Ok(()) => return Ok(()),
                    Err(error) if tries == TRIES => return Err(MoveError::Broken(error.to_string())),
                    Err(WriteError::Refused { retry: false, problem }) => return Err(MoveError::Broken(problem)),
                    Err(WriteError::Refused { .. }) => {}
                    Err(WriteError::Lost(_)) => {
                        if let Ok(connected) = connect_lane(target).await {
                            *lane = connected;
                        }
                    }
                }
                tries += 1;
                clock::sleep(PAUSE).await;
            }
        })
    }

    /// Removes everything but the schema.
    pub(super) fn empty(&self) -> Result<(), MoveError> {
        self.run(
            "TRUNCATE dormouse.rooms, dormouse.entries, dormouse.timers, dormouse.posts, dormouse.taken, \
             dormouse.deleted, dormouse.records",
        )
    }

    /// Removes the row of a room.
    pub(super) fn remove_room(&self, id: u64) -> Result<(), MoveError> {
        self.run(&format!("DELETE FROM dormouse.rooms WHERE id = {id}"))
    }

    /// No later start of a server, and no later room, gets a number up to these.
    pub(super) fn raise_numbers(&self, start: u64, room: u64) -> Result<(), MoveError> {
        self.run(&format!(
            "SELECT setval('dormouse.node_ids', greatest({start}, nextval('dormouse.node_ids'))), \
                 setval(pg_get_serial_sequence('dormouse.rooms', 'id'), \
                     greatest({room}, nextval(pg_get_serial_sequence('dormouse.rooms', 'id'))))"
        ))
    }

    /// A number that no start of a server had.
    pub(super) fn last_start(&self) -> Result<u64, MoveError> {
        let asked = self.wait(self.setup.client().query_one("SELECT nextval('dormouse.node_ids')", &[]));
        Ok(asked.map_err(|error| MoveError::Broken(describe(&error)))?.get::<_, i64>(0).unsigned_abs())
    }

    pub(super) fn has_rooms(&self) -> Result<bool, MoveError> {
        let mut has_rooms = false;
        let (_, range) = super::ranges().pop().expect("there are some");
        self.reader.scan(range, false, &mut |_, _| {
            has_rooms = true;
            false
        })?;
        Ok(has_rooms)
    }

    fn run(&self, statement: &str) -> Result<(), MoveError> {
        let ran = self.wait(self.setup.client().batch_execute(statement));
        ran.map_err(|error| MoveError::Broken(describe(&error)))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

async fn connect_lane(target: &Target) -> Result<Lane, MoveError> {
    Lane::connect(target, Purpose::Claims, NodeId(0)).await.map_err(failed)
}
