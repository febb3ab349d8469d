//! Starts the driver: it connects, checks what the database promises, makes the schema, takes the lock of the only
//! server, opens the cache, and starts the thread. Nothing is changed before the database was checked.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::LocalSet;

use super::PostgresTruth;
use super::beats::Beating;
use super::cache::Cache;
use super::cache_files;
use super::links::{Dial, Event, Links};
use super::nodes::{Nodes, Watched};
use super::only::{Hold, NotOnly, Only};
use super::presence::Presence;
use super::queue::Request;
use super::shared::Shared;
use super::worker::Worker;
use crate::cluster::ownership::{Config, LaneId, NodeId, Owner, RoomId};
use crate::lock::Lock;
use crate::store::error::OpenError;
use crate::store::local::LocalEngine;
use crate::store::membership::{Membership, STEPS, Step};
use crate::store::options::StoreOptions;
use crate::store::postgres::failure::describe;
use crate::store::postgres::neighbours;
use crate::store::postgres::places;
use crate::store::postgres::schema::VERSION;
use crate::store::postgres::{
    Connection, Lane, PostgresReader, Purpose, Tables, Target, connect, new_node, prepare, promises,
};

/// Events of connections that wait for the thread. Each connection has one or two.
const EVENTS: usize = 1_024;

/// Removes what an import has written that did not end: its records belong to an id that no room has. `records` has the
/// keys that mark such ids.
const REMOVE_UNFINISHED_IMPORTS: &str = r"
DELETE FROM dormouse.entries t USING dormouse.records r
    WHERE r.key >= '\x00696d706f727400' AND r.key < '\x00696d706f727401' AND t.room = dormouse.number_at(r.key, 8);
DELETE FROM dormouse.timers t USING dormouse.records r
    WHERE r.key >= '\x00696d706f727400' AND r.key < '\x00696d706f727401' AND t.room = dormouse.number_at(r.key, 8);
DELETE FROM dormouse.posts t USING dormouse.records r
    WHERE r.key >= '\x00696d706f727400' AND r.key < '\x00696d706f727401' AND t.room = dormouse.number_at(r.key, 8);
DELETE FROM dormouse.taken t USING dormouse.records r
    WHERE r.key >= '\x00696d706f727400' AND r.key < '\x00696d706f727401' AND t.room = dormouse.number_at(r.key, 8);
DELETE FROM dormouse.records WHERE key >= '\x00696d706f727400' AND key < '\x00696d706f727401'";

/// How rooms are kept in a database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The database.
    pub target: Target,
    /// Connections that carry commits, from 1 to 8.
    pub lanes: u16,
    /// How long rooms wait for a database that cannot be reached.
    pub patience: Duration,
    /// Refuses a database that may lose acknowledged commits in a failover.
    pub require_synchronous: bool,
    /// The address of the links of this node, if it shares the rooms with other nodes.
    pub node_address: Option<String>,
    /// The [fingerprint](crate::cluster::link::ClusterKey::fingerprint) of the key of its cluster. A node is refused while
    /// another one lives that has another key.
    pub cluster_key: Option<[u8; 32]>,
    /// The oldest and the newest version of the links that this program speaks. A node is refused while another one
    /// lives that speaks none of them.
    pub links: (u32, u32),
    /// Asked before this node joins its cluster.
    pub before_join: Option<BeforeJoin>,
}

/// Decides whether a node may join its cluster, by its number and the name of the store. The error is for the operator.
#[derive(Clone)]
pub struct BeforeJoin(pub Arc<dyn Fn(NodeId, String) -> MayJoin + Send + Sync>);

/// The decision, which may take a while.
pub type MayJoin = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl fmt::Debug for BeforeJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeforeJoin")
    }
}

/// A driver that has started.
pub(in crate::store) struct Started {
    pub(in crate::store) truth: PostgresTruth,
    pub(in crate::store) local: Arc<LocalEngine>,
    /// The number of this start.
    pub(in crate::store) node: NodeId,
}

/// The parts that the thread has made, for the one that waits for its start.
struct Ready {
    cache: Cache,
    node: NodeId,
    /// The name of the store, and the nodes that live; absent if this is the only server.
    cluster: Option<(String, Watched, Receiver<Step>)>,
}

/// Starts the driver, with its cache in `data`. It blocks.
pub(in crate::store) fn start(data: &Path, options: &StoreOptions, settings: &Settings) -> Result<Started, OpenError> {
    cache_files::check(data)?;
    let presence = Presence::new(settings.patience);
    let shared = Arc::new(Shared::new(presence.clone(), options.queue_bytes, options.min_free_bytes));
    let (say, said) = sync_channel(1);
    let runs = {
        let (shared, settings, data) = (shared.clone(), settings.clone(), data.to_owned());
        let cache_bytes = options.cache_bytes;
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a process that cannot make its first timers cannot run at all");
            LocalSet::new().block_on(&runtime, async {
                match open(&data, cache_bytes, &settings, shared, presence).await {
                    Ok((ready, worker)) => {
                        if say.send(Ok(ready)).is_ok() {
                            worker.run().await;
                        }
                    }
                    Err(error) => drop(say.send(Err(error))),
                }
            });
        }
    };
    let thread = thread::Builder::new()
        .name("dormouse-store".into())
        .spawn(runs)
        .expect("a process that cannot start its first threads cannot run at all");
    let ended = |_| OpenError::Database("the thread of the store ended; please report this".into());
    let Ready { cache, node, cluster } = said.recv().map_err(ended)??;
    // The first turn may come before the first tick.
    shared.watch_space(&*cache.0);
    let reader = PostgresReader::connect(&settings.target).map_err(database)?;
    let local = LocalEngine::new(cache.0.clone());
    let (target, thread) = (settings.target.clone(), Lock::new(Some(thread)));
    let membership = cluster.map(|(store, Watched { living, reading }, steps)| {
        let shared = shared.clone();
        // After the end nothing has to be told.
        let tell = Arc::new(move |hint| drop(shared.queue.push(Request::Hint(hint))));
        Membership::new(node, &store, living, reading, tell, steps)
    });
    let tables = Tables::new(&target);
    let truth = PostgresTruth { shared, local: local.clone(), cache, reader, target, tables, membership, thread };
    Ok(Started { truth, local, node })
}

fn database(error: impl ToString) -> OpenError {
    OpenError::Database(error.to_string())
}

/// The part of a start that asks the database.
async fn open(
    data: &Path,
    cache_bytes: u64,
    settings: &Settings,
    shared: Arc<Shared>,
    presence: Presence,
) -> Result<(Ready, Worker), OpenError> {
    let target = &settings.target;
    let mut setup = connect(target, Purpose::Setup).await.map_err(database)?;
    let promised = promises(&setup).await.map_err(database)?;
    promised.check(settings.require_synchronous).map_err(database)?;
    for sentence in promised.sentences() {
        if sentence.is_warning {
            tracing::warn!("{}", sentence.text);
        } else {
            tracing::info!("{}", sentence.text);
        }
    }
    let schema = prepare(&mut setup).await.map_err(database)?;
    let hold = if settings.node_address.is_some() { Hold::Shared } else { Hold::Alone };
    let only = Only::take(target, hold).await.map_err(|refused| match refused {
        NotOnly::Other(other) => OpenError::NotAlone(other),
        NotOnly::Unreachable(problem) => OpenError::Database(problem),
    })?;
    check_place(&setup).await?;
    let me = new_node(&setup).await.map_err(database)?;
    if let Some(BeforeJoin(may_join)) = &settings.before_join {
        may_join(me, schema.store.clone()).await.map_err(OpenError::NoNode)?;
    }
    let joined = match &settings.node_address {
        Some(address) => Some(Beating::join(target, me, address, settings.cluster_key).await.map_err(database)?),
        None => None,
    };
    if joined.is_some() {
        neighbours::join(&setup, me, VERSION, settings.links).await.map_err(database)?;
    }
    // Another node may be importing now.
    if joined.as_ref().is_none_or(|(_, rows)| rows.len() <= 1) {
        let removed = setup.client().batch_execute(REMOVE_UNFINISHED_IMPORTS).await;
        removed.map_err(|error| database(describe(&error)))?;
    }
    if !schema.is_new && cache_files::is_new(data) {
        tracing::warn!(
            data = %data.display(),
            "the rooms were served with another data directory before. What that has of erasures of users, deployed \
             components and the audit log is not in this one: copy erasures.json, audit.log and deployed from there or \
             from a copy, also revocations.json if an earlier release has written one"
        );
    }
    let cache = cache_files::open(data, &schema.store, cache_bytes)?;
    let lane = |purpose| Lane::connect(target, purpose, me);
    let mut lanes = Vec::new();
    for _ in 0..settings.lanes {
        lanes.push(lane(Purpose::Lane).await.map_err(database)?);
    }
    let (claims, reads) =
        (lane(Purpose::Claims).await.map_err(database)?, lane(Purpose::Claims).await.map_err(database)?);
    let (tell, events) = channel::<Event>(EVENTS);
    let dial = Dial { target: target.clone(), me, cache: cache.clone(), events: tell.clone() };
    let links = Links::start(&dial, lanes, claims, reads);
    let (nodes, living) = match joined {
        Some((beating, rows)) => {
            let (step, steps) = channel(STEPS);
            let (nodes, living) = Nodes::new(me, beating.start(tell.clone()), rows, step);
            (Some(nodes), Some((living, steps)))
        }
        None => (None, None),
    };
    tokio::task::spawn_local(only.keep(target.clone(), hold, tell));
    let lane_of = lane_of(settings.lanes);
    let owner = Owner::new(Config { me, lane_of });
    let (dead, state) = Default::default();
    let worker = Worker { shared, owner, lane_of, links, events, cache: cache.clone(), presence, nodes, dead, state };
    let cluster = living.map(|(living, steps)| (schema.store, living, steps));
    Ok((Ready { cache, node: me, cluster }, worker))
}

/// Refuses rooms that are somewhere else, or on their way.
async fn check_place(setup: &Connection) -> Result<(), OpenError> {
    let query = "SELECT value FROM dormouse.records WHERE key = $1";
    let key = places::KEY;
    let row = setup.client().query_opt(query, &[&key]).await.map_err(|error| database(describe(&error)))?;
    match row.map(|row| places::Mark::of(row.get(0))) {
        None => Ok(()),
        Some(places::Mark::Into(_)) => {
            Err(database("rooms are being moved into it, which did not end; run `dormouse move` again"))
        }
        Some(places::Mark::Away) => {
            Err(database("its rooms were moved into a data directory; serve that one, or move them again"))
        }
    }
}

/// The lane of a room, among so many.
fn lane_of(lanes: u16) -> fn(RoomId) -> LaneId {
    fn among<const LANES: u64>(room: RoomId) -> LaneId {
        LaneId((room.0 % LANES) as u16)
    }
    match lanes {
        0 | 1 => among::<1>,
        2 => among::<2>,
        3 => among::<3>,
        4 => among::<4>,
        5 => among::<5>,
        6 => among::<6>,
        7 => among::<7>,
        _ => among::<8>,
    }
}
