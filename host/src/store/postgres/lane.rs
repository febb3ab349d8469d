//! A connection that runs the statements of ownership, one at a time. It knows the SQL of each, and turns what the
//! database answers into an `Answer`. It does not know what an answer means for a room: its driver asks the rules.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use tokio_postgres::{Client, Row, Statement as Prepared};

use super::columns::{Content, Parameter, saturated};
use super::connect::{ConnectError, Connection, HostFailure, Purpose, connect};
use super::failure::{Failure, describe, failure};
use super::round::{Contents, Part, RowId, Unfit, parts, row};
use super::sql;
use super::target::Target;
use crate::cluster::ownership::{Answer, Claimed, Commit, Fence, NodeId, Proof, Resolved, RoomId, Rows, Statement};
use crate::store::records::{self, Parsed};
use crate::store::{DiskError, Record};
use crate::{clock, random};

/// The time for a statement, with the wait for the standby. Without an answer by then its outcome is unknown, and the
/// resolve, on a new connection, takes less time than a longer wait.
const STATEMENT_TIME: Duration = Duration::from_secs(5);

/// The time to prepare the statements.
const PREPARE_TIME: Duration = Duration::from_secs(3);

/// A connection with its prepared statements. After [`Answer::Lost`] it answers nothing else; connect another one.
pub struct Lane {
    me: NodeId,
    /// Absent after an answer was lost. Dropping it has closed the socket.
    connection: Option<Connection>,
    statements: Statements,
    /// The warnings before the last statement ended.
    warnings: u64,
}

struct Statements {
    insert: Prepared,
    claim: Prepared,
    read: Prepared,
    round_entries: Prepared,
    round_all: Prepared,
    resolve: Prepared,
    let_go: Prepared,
    write: Prepared,
}

/// The answer to a statement, with what the rules of ownership do not ask for.
#[derive(Debug)]
pub struct Executed {
    /// The answer for the rules. [`Claimed::cached`] is absent; the driver adds it.
    pub answer: Answer,
    /// Of a claim: each room of [`Rows::Claimed`].
    pub claimed: Vec<ClaimedRow>,
    /// Of a read: the entries, timers, posts and accepted posts of each room, as records with the row's id in the key.
    pub read: HashMap<RoomId, Vec<(Bytes, Bytes)>>,
    /// The reason for [`Answer::Error`] or [`Answer::Lost`], for the log.
    pub problem: Option<String>,
}

/// The row of a room that was claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedRow {
    /// The room.
    pub room: RoomId,
    /// The id of its row. A room that is deleted or let go without a commit gets another one.
    pub row: RowId,
    /// Something was committed in it. If not, its row disappears when it is let go.
    pub is_stored: bool,
    /// Counted bytes of its storage.
    pub bytes: u64,
    /// How many rooms had been deleted before it was made.
    pub generation: u64,
    /// The version of the layout of its data; 0 if it was never set.
    pub data_version: u32,
}

/// Records were not written, or perhaps not.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Nothing was written.
    #[error("the database has refused records: {problem}")]
    Refused {
        /// The same records may be accepted later.
        retry: bool,
        /// The reason.
        problem: String,
    },
    /// They may have been written; writing them again is right in both cases. The lane is not used again.
    #[error("the database did not say whether records were written: {0}")]
    Lost(String),
}

/// The reason why a statement has no result.
struct Problem {
    failure: Failure,
    text: String,
}

type Ran = Result<Executed, Problem>;

impl Lane {
    /// Connects to the host that takes writes, and prepares the statements. Claims and resolves are made for `me`.
    pub async fn connect(target: &Target, purpose: Purpose, me: NodeId) -> Result<Self, ConnectError> {
        let connection = connect(target, purpose).await?;
        let prepared = clock::timeout(PREPARE_TIME, Statements::prepare(connection.client())).await;
        let failure = match prepared {
            Ok(Ok(statements)) => {
                let warnings = connection.warnings();
                return Ok(Lane { me, connection: Some(connection), statements, warnings });
            }
            Ok(Err(error)) => HostFailure::Failed(describe(&error)),
            Err(_) => HostFailure::TimedOut,
        };
        Err(ConnectError::of(target, connection.host(), failure))
    }

    /// The host and the port; absent after an answer was lost.
    pub fn host(&self) -> Option<&str> {
        self.connection.as_ref().map(Connection::host)
    }

    /// Runs a statement.
    pub async fn execute(&mut self, statement: &Statement, contents: &Contents) -> Executed {
        if let Statement::Read { rooms } = statement {
            let rows = rooms.iter().filter_map(|room| Some((*room, *contents.rows.get(room)?))).collect::<Vec<_>>();
            let mut read = HashMap::<_, Vec<_>>::new();
            let mut keep = |room, key, value| read.entry(room).or_default().push((key, value));
            let executed = self.read(&rows, &mut keep).await;
            return Executed { read, ..executed };
        }
        let me = self.me;
        self.run(async |client, statements| {
            let ran = async {
                match statement {
                    Statement::Claim { rooms, dead } => claim(client, statements, me, rooms, dead, contents).await,
                    Statement::Round { commits, proofs } => round(client, statements, commits, proofs, contents).await,
                    Statement::Resolve { rooms } => resolve(client, statements, me, rooms, contents).await,
                    Statement::LetGo { rooms, next } => let_go(client, statements, rooms, *next, contents).await,
                    Statement::Read { .. } => unreachable!("it has returned above"),
                }
            };
            clock::timeout(STATEMENT_TIME, ran).await.unwrap_or_else(|_| Err(Problem::timed_out()))
        })
        .await
    }

    /// Runs [`Statement::Read`], and passes each record to `visit` as it comes; so a large room needs no memory here.
    /// It is lost if no record comes for 5 s.
    pub async fn read(
        &mut self,
        rooms: &[(RoomId, RowId)],
        visit: &mut (dyn FnMut(RoomId, Bytes, Bytes) + Send),
    ) -> Executed {
        self.run(async |client, statements| {
            let ids = rooms.iter().map(|(_, row)| saturated(row.0)).collect::<Vec<_>>();
            let by_row = ids.iter().copied().zip(rooms.iter().map(|(room, _)| *room)).collect::<HashMap<_, _>>();
            let timed_out = |_| Problem::timed_out();
            let parameters: [Parameter<'_>; 1] = [&ids];
            let asked = clock::timeout(STATEMENT_TIME, client.query_raw(&statements.read, parameters)).await;
            let mut rows = pin!(asked.map_err(timed_out)??);
            let mut fences = Vec::new();
            while let Some(found) = clock::timeout(STATEMENT_TIME, rows.try_next()).await.map_err(timed_out)?? {
                let (kind, id) = (found.get::<_, i16>(0), found.get::<_, i64>(1));
                let room = by_row[&id];
                let (key, value) = (found.get::<_, &[u8]>(2), found.get::<_, &[u8]>(3));
                match u8::try_from(kind).expect("the statement names the kinds") {
                    records::ROOM => {
                        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("int8send has 8 bytes"));
                        fences.push((room, Fence { epoch: number(key), token: number(value) }));
                    }
                    kind => visit(room, records::id_key(kind, id.cast_unsigned(), key), Bytes::copy_from_slice(value)),
                }
            }
            Ok(Executed::done(Rows::Read(fences)))
        })
        .await
    }

    /// Writes records that belong to no owned room, as one transaction without a fence: records of the store itself,
    /// the records of a room that is imported, with the id in their keys, and removals of the records of deleted rooms.
    pub async fn write(&mut self, records: &[Record]) -> Result<(), WriteError> {
        let refused = |problem| WriteError::Refused { retry: false, problem };
        let unfenced = Unfenced::of(records).map_err(|unfit| refused(unfit.0))?;
        let executed = self
            .run(async |client, statements| {
                let ran = async {
                    client.execute(&statements.write, &unfenced.parameters()).await?;
                    Ok(Executed::done(Rows::Confirmed(Vec::new())))
                };
                clock::timeout(STATEMENT_TIME, ran).await.unwrap_or_else(|_| Err(Problem::timed_out()))
            })
            .await;
        match executed.answer {
            Answer::Done { warned: false, .. } => Ok(()),
            Answer::Done { warned: true, .. } => Err(WriteError::Lost("it may not be on the standby".into())),
            Answer::Error { retry } => {
                Err(WriteError::Refused { retry, problem: executed.problem.unwrap_or_default() })
            }
            Answer::Lost => Err(WriteError::Lost(executed.problem.unwrap_or_default())),
        }
    }

    /// Runs something, and sorts its end. If the returned future is dropped, the lane is lost, because the statement may
    /// still be running.
    async fn run(&mut self, statement: impl AsyncFnOnce(&Client, &Statements) -> Ran) -> Executed {
        let Some(connection) = self.connection.take() else {
            return Executed { problem: Some("the lane is not connected".into()), ..Executed::of(Answer::Lost) };
        };
        let ran = statement(connection.client(), &self.statements).await;
        // Counted before the connection could pass on the end of the transaction. A warning that came between two
        // statements counts for the later one.
        let warnings = connection.warnings();
        let warned = warnings != self.warnings;
        self.warnings = warnings;
        let (answer, problem) = match ran {
            Ok(mut executed) => {
                if let Answer::Done { warned: was_warned, .. } = &mut executed.answer {
                    *was_warned = warned;
                }
                self.connection = Some(connection);
                return executed;
            }
            Err(Problem { failure: Failure::RolledBack { retry }, text }) => {
                self.connection = Some(connection);
                (Answer::Error { retry }, text)
            }
            Err(Problem { failure: Failure::Unknown, text }) => (Answer::Lost, text),
        };
        Executed { problem: Some(problem), ..Executed::of(answer) }
    }
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        Ok(Statements {
            insert: client.prepare(sql::INSERT).await?,
            claim: client.prepare(sql::CLAIM).await?,
            read: client.prepare(sql::READ).await?,
            round_entries: client.prepare(sql::ROUND_ENTRIES).await?,
            round_all: client.prepare(&sql::round_all()).await?,
            resolve: client.prepare(sql::RESOLVE).await?,
            let_go: client.prepare(sql::LET_GO).await?,
            write: client.prepare(&sql::write()).await?,
        })
    }
}

async fn claim(
    client: &Client,
    statements: &Statements,
    me: NodeId,
    rooms: &[RoomId],
    dead: &[NodeId],
    contents: &Contents,
) -> Ran {
    let mut wanted = Vec::with_capacity(rooms.len());
    for room in rooms {
        let address = contents.addresses.get(room).ok_or_else(|| Unfit(format!("{room:?} has no address")))?;
        wanted.push((address, *room));
    }
    wanted.sort_unstable();
    let namespaces = wanted.iter().map(|(address, _)| address.namespace()).collect::<Vec<_>>();
    let names = wanted.iter().map(|(address, _)| address.name()).collect::<Vec<_>>();
    let (me, dead) = (saturated(me.0), dead.iter().map(|node| saturated(node.0)).collect::<Vec<_>>());
    let token = random::number();
    let signed = token.cast_signed();
    let (insert, claim): ([Parameter<'_>; 2], [Parameter<'_>; 5]) =
        ([&namespaces, &names], [&namespaces, &names, &me, &dead, &signed]);
    // Sent together, in this order. They are two transactions: rows that were inserted and not claimed are claimed next
    // time.
    let (inserted, claimed) = tokio::join!(
        biased;
        client.execute(&statements.insert, &insert),
        client.query(&statements.claim, &claim)
    );
    let rows = claimed?;
    if let Err(error) = inserted
        && failure(&error) == Failure::Unknown
    {
        return Err(error.into());
    }
    let room_of = |row: &Row| {
        let index = row.get::<_, Option<i64>>("ord").and_then(|ord| usize::try_from(ord - 1).ok())?;
        Some(wanted[index].1)
    };
    let by_id = rows.iter().filter_map(|row| Some((row.get::<_, i64>("id"), room_of(row)?))).collect::<HashMap<_, _>>();
    let number = |row: &Row, column| row.get::<_, i64>(column).cast_unsigned();
    let (mut claimed, mut claimed_rows) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| room_of(row).is_none()) {
        let room = by_id[&row.get::<_, i64>("id")];
        let fence = Fence { epoch: number(row, "epoch"), token: number(row, "token") };
        let old_token = number(row, "old_token");
        claimed.push(Claimed { room, fence, old_token, number: number(row, "number"), cached: None });
        claimed_rows.push(ClaimedRow {
            room,
            row: RowId(number(row, "id")),
            is_stored: row.get("stored"),
            bytes: number(row, "bytes"),
            generation: number(row, "generation"),
            data_version: u32::try_from(number(row, "data_version")).unwrap_or(u32::MAX),
        });
    }
    // The owner in the snapshot may be older than the row that was locked. If it could be replaced, the room was claimed
    // by another node meanwhile, and the next claim finds that one.
    let owner_of = |row: &Row| row.get::<_, Option<i64>>("owner").filter(|owner| *owner != me && !dead.contains(owner));
    let elsewhere = rows.iter().filter_map(|row| Some((room_of(row)?, NodeId(owner_of(row)?.cast_unsigned()))));
    let mine = claimed.iter().map(|claimed| claimed.room).collect::<HashSet<_>>();
    let elsewhere = elsewhere.filter(|(room, _)| !mine.contains(room)).collect();
    Ok(Executed { claimed: claimed_rows, ..Executed::done(Rows::Claimed { claimed, elsewhere }) })
}

async fn round(
    client: &Client,
    statements: &Statements,
    commits: &[Commit],
    proofs: &[Proof],
    contents: &Contents,
) -> Ran {
    let parts = parts(commits, proofs, contents)?;
    // How often each row was asked for and not confirmed yet.
    let mut missing = HashMap::<i64, usize>::new();
    for row in parts.iter().flat_map(Part::rooms) {
        *missing.entry(row).or_default() += 1;
    }
    let is_large = parts.len() > 1;
    if is_large {
        client.batch_execute("BEGIN").await?;
    }
    for part in &parts {
        let statement = if part.has_entries_only() { &statements.round_entries } else { &statements.round_all };
        let rows = match client.query(statement, &part.parameters()).await {
            Ok(rows) => rows,
            Err(error) => {
                if is_large {
                    client.batch_execute("ROLLBACK").await?;
                }
                return Err(error.into());
            }
        };
        for row in rows {
            *missing.entry(row.get(0)).or_default() -= 1;
        }
    }
    if is_large {
        client.batch_execute("COMMIT").await?;
    }
    let rooms = commits.iter().map(|commit| commit.room).chain(proofs.iter().map(|proof| proof.room));
    let confirmed = rooms.filter(|room| row(contents, *room).is_ok_and(|row| missing.get(&row) == Some(&0))).collect();
    Ok(Executed::done(Rows::Confirmed(confirmed)))
}

async fn resolve(
    client: &Client,
    statements: &Statements,
    me: NodeId,
    rooms: &[(RoomId, u64)],
    contents: &Contents,
) -> Ran {
    let mut sorted = Vec::with_capacity(rooms.len());
    for (room, token) in rooms {
        sorted.push((row(contents, *room)?, token.cast_signed(), *room));
    }
    sorted.sort_unstable();
    let (ids, tokens): (Vec<_>, Vec<_>) = sorted.iter().map(|(row, token, _)| (*row, *token)).unzip();
    let by_row = sorted.iter().map(|(row, _, room)| (*row, *room)).collect::<HashMap<_, _>>();
    let me = saturated(me.0);
    let rows = client.query(&statements.resolve, &[&ids, &tokens, &me]).await?;
    let resolved = rows.iter().map(|row| Resolved {
        room: by_row[&row.get::<_, i64>(0)],
        epoch: row.get::<_, i64>(1).cast_unsigned(),
        number: row.get::<_, i64>(2).cast_unsigned(),
    });
    Ok(Executed::done(Rows::Resolved(resolved.collect())))
}

async fn let_go(
    client: &Client,
    statements: &Statements,
    rooms: &[(RoomId, Fence)],
    next: Option<NodeId>,
    contents: &Contents,
) -> Ran {
    let mut sorted = Vec::with_capacity(rooms.len());
    for (room, fence) in rooms {
        sorted.push((row(contents, *room)?, *fence, *room));
    }
    sorted.sort_unstable();
    let ids = sorted.iter().map(|(row, ..)| *row).collect::<Vec<_>>();
    let epochs = sorted.iter().map(|(_, fence, _)| saturated(fence.epoch)).collect::<Vec<_>>();
    let tokens = sorted.iter().map(|(_, fence, _)| fence.token.cast_signed()).collect::<Vec<_>>();
    let by_row = sorted.iter().map(|(row, _, room)| (*row, *room)).collect::<HashMap<_, _>>();
    let next = next.map(|node| saturated(node.0));
    let rows = client.query(&statements.let_go, &[&ids, &epochs, &tokens, &next]).await?;
    Ok(Executed::done(Rows::LetGo(rows.iter().map(|row| by_row[&row.get::<_, i64>(0)]).collect())))
}

/// Records without a fence.
#[derive(Default)]
struct Unfenced {
    content: Content,
    rooms: ImportedRooms,
    /// Deleted rooms that have no content any more.
    removed: Vec<i64>,
}

#[derive(Default)]
struct ImportedRooms {
    id: Vec<i64>,
    namespace: Vec<String>,
    name: Vec<String>,
    number: Vec<i64>,
    bytes: Vec<i64>,
    generation: Vec<i64>,
    data_version: Vec<i64>,
}

impl Unfenced {
    fn of(records: &[Record]) -> Result<Self, Unfit> {
        let mut unfenced = Unfenced::default();
        let unfit = |error: DiskError| Unfit(error.0);
        let last = records.iter().map(|(key, value)| (key, value)).collect::<BTreeMap<_, _>>();
        for (key, value) in last {
            let parsed = records::parse_key(key).map_err(unfit)?;
            match (&parsed, value) {
                (Parsed::Room(address), Some(value)) => {
                    let record = records::room_columns(key, value.clone()).map_err(unfit)?;
                    unfenced.rooms.id.push(saturated(record.id));
                    unfenced.rooms.namespace.push(address.namespace().to_owned());
                    unfenced.rooms.name.push(address.name().to_owned());
                    unfenced.rooms.number.push(saturated(record.number));
                    unfenced.rooms.bytes.push(saturated(record.bytes));
                    unfenced.rooms.generation.push(record.generation.cast_signed());
                    unfenced.rooms.data_version.push(i64::from(record.data_version));
                }
                (Parsed::Room(_), None) | (Parsed::Deleted { .. }, Some(_)) => {
                    return Err(Unfit("only a commit of a room deletes it".into()));
                }
                (Parsed::Deleted { id }, None) => unfenced.removed.push(saturated(*id)),
                // It is a part of the row of the room, or of the deleted one.
                (Parsed::Name { .. }, _) => {}
                (
                    Parsed::Entry { id, .. }
                    | Parsed::Timer { id, .. }
                    | Parsed::Post { id, .. }
                    | Parsed::Taken { id, .. },
                    value,
                ) => {
                    let id = saturated(*id);
                    unfenced.content.add(id, parsed, key, value.clone()).map_err(unfit)?;
                }
                (Parsed::Store, value) => unfenced.content.add(0, parsed, key, value.clone()).map_err(unfit)?,
            }
        }
        Ok(unfenced)
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        let mut parameters = self.content.parameters().to_vec();
        let ImportedRooms { id, namespace, name, number, bytes, generation, data_version } = &self.rooms;
        let rooms: [Parameter<'_>; 7] = [id, namespace, name, number, bytes, generation, data_version];
        parameters.extend(rooms);
        parameters.push(&self.removed);
        parameters
    }
}

impl Executed {
    fn of(answer: Answer) -> Self {
        Executed { answer, claimed: Vec::new(), read: HashMap::new(), problem: None }
    }

    fn done(rows: Rows) -> Self {
        Executed::of(Answer::Done { rows, warned: false })
    }
}

impl Problem {
    fn timed_out() -> Self {
        let text = format!("no answer in {} s", STATEMENT_TIME.as_secs());
        Problem { failure: Failure::Unknown, text }
    }
}

impl From<tokio_postgres::Error> for Problem {
    fn from(error: tokio_postgres::Error) -> Self {
        Problem { failure: failure(&error), text: describe(&error) }
    }
}

impl From<Unfit> for Problem {
    fn from(Unfit(text): Unfit) -> Self {
        Problem { failure: Failure::RolledBack { retry: false }, text }
    }
}
