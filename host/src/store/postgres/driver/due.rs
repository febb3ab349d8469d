//! The rooms that have to wake: those with a timer or a post, which a start asks for once.

use std::thread;

use crate::clock::UnixMillis;
use crate::model::{Address, StorageFailed};
use crate::store::postgres::failure::describe;
use crate::store::postgres::{Purpose, Target, connect};

const QUERY: &str = "SELECT r.namespace, r.name, min(w.at) \
                     FROM (SELECT room, at FROM dormouse.timers UNION ALL SELECT room, at FROM dormouse.posts) w \
                     JOIN dormouse.rooms r ON r.id = w.room GROUP BY r.id";

/// Every room with a timer or a post, and when the first is due. It blocks.
pub(super) fn rooms(target: &Target) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
    // The caller may be on a thread of a runtime, which may not wait for another one.
    let asked = thread::scope(|scope| scope.spawn(|| wait(target)).join());
    asked.unwrap_or_else(|_| Err(failed("the thread that asks for them panicked")))
}

fn failed(problem: &str) -> StorageFailed {
    StorageFailed(format!("the timers and posts of all rooms cannot be read: {problem}"))
}

fn wait(target: &Target) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| failed(&error.to_string()))?.block_on(ask(target))
}

async fn ask(target: &Target) -> Result<Vec<(Address, UnixMillis)>, StorageFailed> {
    let connection = connect(target, Purpose::Reader).await.map_err(|error| failed(&error.to_string()))?;
    let rows = connection.client().query(QUERY, &[]).await.map_err(|error| failed(&describe(&error)))?;
    let room = |row: tokio_postgres::Row| {
        let (namespace, name) = (row.get::<_, &str>(0), row.get::<_, &str>(1));
        let address = Address::new(namespace, name).map_err(|_| failed(&format!("a room has the name {name:?}")))?;
        Ok((address, row.get::<_, i64>(2).unsigned_abs()))
    };
    rows.into_iter().map(room).collect()
}
