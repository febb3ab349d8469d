//! Reads the database in the key space of the store, so that lists, exports and copies of rooms work as with a storage
//! engine. It knows no owner and no fence: it shows what is committed on the server that answers, and a server that was
//! replaced may answer for a while. The content of an owned room is read by `Lane::read`.
//!
//! Calls block, as those of an engine do. The connection has a thread and a runtime of its own, so that a call may come
//! from any thread; one page is read at a time, and `visit` is called between pages.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{self, Runtime};
use tokio_postgres::Statement as Prepared;

use super::bounds::{Column, Portion, Range, Table, is_last, portions};
use super::columns::Parameter;
use super::connect::{ConnectError, Connection, Purpose, connect};
use super::failure::{Failure, describe, failure};
use super::target::Target;
use crate::clock;
use crate::lock::Lock;
use crate::store::{DiskError, StorageReader};

/// The time for a page.
const PAGE_TIME: Duration = Duration::from_secs(30);

/// Rows of the first page of a table, and of the largest: a list needs a few, a copy all.
const PAGE_ROWS: (i64, i64) = (64, 4096);

/// All rooms of the database, to read. It connects again by itself, unless it is a snapshot.
pub struct PostgresReader {
    target: Target,
    requests: Lock<SyncSender<Request>>,
}

struct Request {
    query: Query,
    reply: SyncSender<Result<Page, DiskError>>,
}

#[derive(Clone)]
struct Query {
    table: Table,
    near: Vec<Column>,
    is_near_excluded: bool,
    far: Option<Vec<Column>>,
    reverse: bool,
    limit: i64,
}

struct Page {
    rows: Vec<(Bytes, Bytes)>,
    /// The key columns of the last row, if more may follow.
    next: Option<Vec<Column>>,
}

impl PostgresReader {
    /// Connects, and waits for it.
    pub fn connect(target: &Target) -> Result<Self, ConnectError> {
        Self::start(target, false)
    }

    /// All records as they are now, on a connection of its own. A transaction lasts as long as the snapshot, and keeps
    /// the database from removing replaced rows.
    pub fn snapshot(&self) -> Result<Box<dyn StorageReader>, DiskError> {
        let reader = Self::start(&self.target, true).map_err(|error| DiskError(error.to_string()))?;
        Ok(Box::new(reader))
    }

    fn start(target: &Target, is_snapshot: bool) -> Result<Self, ConnectError> {
        let (requests, received) = sync_channel(1);
        let (ready, is_ready) = sync_channel(1);
        let its_target = target.clone();
        thread::Builder::new()
            .name("dormouse-reader".into())
            .spawn(move || read(its_target, is_snapshot, &ready, &received))
            .expect("a process that cannot start threads cannot run at all");
        is_ready.recv().expect("the thread answers first")?;
        Ok(PostgresReader { target: target.clone(), requests: Lock::new(requests) })
    }

    fn page(&self, query: Query) -> Result<Page, DiskError> {
        let gone = || DiskError("the thread that reads the database has ended".into());
        let (reply, answer) = sync_channel(1);
        let requests = self.requests.lock().clone();
        requests.send(Request { query, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl StorageReader for PostgresReader {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        use std::ops::Bound::Included;
        let key = Bytes::copy_from_slice(key);
        let mut found = None;
        self.scan((Included(key.clone()), Included(key)), false, &mut |_, value| {
            found = Some(value);
            false
        })?;
        Ok(found)
    }

    fn scan(&self, range: Range, reverse: bool, visit: &mut dyn FnMut(Bytes, Bytes) -> bool) -> Result<(), DiskError> {
        use std::ops::RangeBounds;
        let mut portions = portions(&range);
        if reverse {
            portions.reverse();
        }
        for portion in portions {
            let mut query = Query::of(portion, reverse);
            loop {
                let page = self.page(query.clone())?;
                for (key, value) in page.rows {
                    if range.contains(&key) && !visit(key, value) {
                        return Ok(());
                    }
                }
                let Some(last) = page.next else { break };
                query.near = last;
                query.is_near_excluded = true;
                query.limit = (query.limit * 4).min(PAGE_ROWS.1);
            }
        }
        Ok(())
    }
}

impl Query {
    fn of(Portion { table, low, high }: Portion, reverse: bool) -> Self {
        let (near, far) = match (reverse, high) {
            (true, Some(high)) => (high, Some(low)),
            // Behind all keys: the first byte of a key is at most this, and no key has so many of them.
            (true, None) => (vec![Column::Bytes(vec![u8::MAX; 64])], Some(low)),
            (false, high) => (low, high),
        };
        Query { table, near, is_near_excluded: false, far, reverse, limit: PAGE_ROWS.0 }
    }
}

/// Runs on its own thread until the reader is dropped.
fn read(target: Target, is_snapshot: bool, ready: &SyncSender<Result<(), ConnectError>>, requests: &Receiver<Request>) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a process that cannot make a runtime cannot run at all");
    let mut session = match runtime.block_on(Session::connect(&target, is_snapshot)) {
        Ok(session) => session,
        Err(error) => return drop(ready.send(Err(error))),
    };
    if ready.send(Ok(())).is_err() {
        return;
    }
    while let Ok(Request { query, reply }) = requests.recv() {
        let page = runtime.block_on(session.page(&query));
        let page = match page {
            Err(Problem::Lost(_)) if !is_snapshot => again(&runtime, &target, &mut session, &query),
            page => page.map_err(Problem::into_error),
        };
        // The caller may be gone after a panic.
        let _ = reply.send(page);
    }
}

/// Reads a page on a new connection. A read can be repeated.
fn again(runtime: &Runtime, target: &Target, session: &mut Session, query: &Query) -> Result<Page, DiskError> {
    runtime.block_on(async {
        *session = Session::connect(target, false).await.map_err(|error| DiskError(error.to_string()))?;
        session.page(query).await.map_err(Problem::into_error)
    })
}

struct Session {
    connection: Connection,
    prepared: HashMap<(Table, bool, bool, bool), Prepared>,
}

enum Problem {
    Lost(String),
    Refused(String),
}

impl Session {
    async fn connect(target: &Target, is_snapshot: bool) -> Result<Self, ConnectError> {
        let connection = connect(target, Purpose::Reader).await?;
        if is_snapshot {
            // The snapshot is taken by the first query, not by BEGIN.
            let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT FROM dormouse.meta";
            let begun = connection.client().batch_execute(begin).await;
            begun.map_err(|error| ConnectError::failed(target, connection.host(), describe(&error)))?;
        }
        Ok(Session { connection, prepared: HashMap::new() })
    }

    async fn page(&mut self, query: &Query) -> Result<Page, Problem> {
        let page = clock::timeout(PAGE_TIME, self.try_page(query)).await;
        page.map_err(|_| Problem::Lost(format!("no answer in {} s", PAGE_TIME.as_secs())))?.map_err(|error| {
            let text = describe(&error);
            match failure(&error) {
                Failure::Unknown => Problem::Lost(text),
                Failure::RolledBack { .. } => Problem::Refused(text),
            }
        })
    }

    async fn try_page(&mut self, query: &Query) -> Result<Page, tokio_postgres::Error> {
        let client = self.connection.client();
        let form = (query.table, query.reverse, query.is_near_excluded, query.far.is_some());
        let statement = match self.prepared.get(&form) {
            Some(statement) => statement.clone(),
            None => {
                let text = query.table.page(query.reverse, query.is_near_excluded, query.far.is_some());
                let statement = client.prepare(&text).await?;
                self.prepared.insert(form, statement.clone());
                statement
            }
        };
        let columns = query.near.iter().chain(query.far.iter().flatten()).map(Column::parameter);
        let parameters = columns.chain([&query.limit as Parameter<'_>]).collect::<Vec<_>>();
        let found = client.query(&statement, &parameters).await?;
        let mut rows = Vec::with_capacity(found.len());
        let (mut last, mut bytes) = (None, 0);
        for row in &found {
            let (columns, key) = query.table.key_of(row);
            let value = query.table.value_of(row);
            bytes += value.len();
            rows.push((key, value));
            last = Some(columns);
        }
        let next = last.filter(|_| !is_last(rows.len(), bytes, query.limit));
        Ok(Page { rows, next })
    }
}

impl Problem {
    fn into_error(self) -> DiskError {
        let (Problem::Lost(text) | Problem::Refused(text)) = self;
        DiskError(format!("the database cannot be read: {text}"))
    }
}
