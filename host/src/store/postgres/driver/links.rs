//! The connections of the driver. Each belongs to a task that runs its statements one after the other, and connects
//! again after one without an answer.
//!
//! A statement without an answer is reported as lost, never run again: the rules decide. Statements that have not been
//! sent wait for the connection.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::cache::{Cache, Filling};
use super::presence::Standing;
use crate::clock;
use crate::cluster::members::Row;
use crate::cluster::ownership::{Answer, LaneId, NodeId, RoomId, Statement, StatementId};
use crate::model::Address;
use crate::random;
use crate::store::engine::Record;
use crate::store::error::DiskError;
use crate::store::postgres::{Contents, Executed, Lane, Purpose, RowId, Target, WriteError};

/// The first pause before a connection is tried again, and the longest. A failover takes some seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The time to write records that belong to no room, such as usage. The end of the server waits for them.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// Statements that wait for one connection. The rules have few in flight.
const JOBS: usize = 1_024;

/// A statement for a connection.
pub(super) enum Job {
    Execute {
        id: StatementId,
        statement: Statement,
        contents: Contents,
    },
    /// Reads rooms into the cache.
    Read {
        id: StatementId,
        rooms: Vec<(RoomId, RowId, Address)>,
    },
    /// Writes records that belong to no room.
    Write {
        records: Vec<Record>,
        done: Written,
    },
}

/// Takes the outcome of a write.
pub(super) type Written = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Something that happened to a connection.
pub(super) enum Event {
    /// A statement has ended.
    Answered { id: StatementId, executed: Executed, took: Duration },
    /// Rooms were read.
    Read { id: StatementId, executed: Executed, took: Duration, bytes: u64, failed: Option<DiskError> },
    /// A lane has a new connection.
    Connected(LaneId),
    /// The database answers.
    Present,
    /// It cannot be reached, for this reason.
    Away(String),
    /// Whether this server is the only one.
    Standing(Standing),
    /// This node has raised its beat, and has read those of all nodes at this time.
    Beats { rows: Vec<Row>, at: Instant },
    /// How many standbys commits wait for. The database has answered.
    Standbys(i64),
}

/// The connections.
pub(super) struct Links {
    lanes: Vec<Sender<Job>>,
    claims: Sender<Job>,
    reads: Sender<Job>,
}

/// How a task connects.
#[derive(Clone)]
pub(super) struct Dial {
    pub(super) target: Target,
    pub(super) me: NodeId,
    pub(super) cache: Cache,
    pub(super) events: Sender<Event>,
}

impl Links {
    /// Starts the tasks. The lanes that are given are connected.
    pub(super) fn start(dial: &Dial, lanes: Vec<Lane>, claims: Lane, reads: Lane) -> Self {
        let lanes = lanes.into_iter().enumerate().map(|(index, lane)| {
            let id = LaneId(index as u16);
            start(dial.clone(), Purpose::Lane, Some(id), lane)
        });
        Links {
            lanes: lanes.collect(),
            claims: start(dial.clone(), Purpose::Claims, None, claims),
            reads: start(dial.clone(), Purpose::Claims, None, reads),
        }
    }

    /// Hands a statement over. False if too many wait.
    pub(super) fn run(&self, lane: Option<LaneId>, job: Job) -> bool {
        let to = match (lane, &job) {
            (Some(lane), _) => &self.lanes[usize::from(lane.0)],
            (None, Job::Read { .. } | Job::Write { .. }) => &self.reads,
            (None, Job::Execute { .. }) => &self.claims,
        };
        to.try_send(job).is_ok()
    }
}

fn start(dial: Dial, purpose: Purpose, id: Option<LaneId>, lane: Lane) -> Sender<Job> {
    let (jobs, waiting) = channel(JOBS);
    tokio::task::spawn_local(Link { dial, purpose, id, lane: Some(lane) }.run(waiting));
    jobs
}

struct Link {
    dial: Dial,
    purpose: Purpose,
    /// Absent for a connection that is no lane.
    id: Option<LaneId>,
    lane: Option<Lane>,
}

impl Link {
    async fn run(mut self, mut jobs: Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            self.run_one(job).await;
            if self.lane.is_none()
                && let Some(id) = self.id
            {
                self.lane = Some(self.connect().await);
                self.tell(Event::Connected(id)).await;
            }
        }
    }

    async fn run_one(&mut self, job: Job) {
        if let Job::Write { records, done } = job {
            let written = clock::timeout(WRITE_TIME, self.write(&records)).await;
            return done(written.unwrap_or_else(|_| Err("the database does not answer".into())));
        }
        let mut lane = match self.lane.take() {
            Some(lane) => lane,
            None => self.connect().await,
        };
        let began = clock::monotonic();
        let event = match job {
            Job::Execute { id, statement, contents } => {
                let executed = lane.execute(&statement, &contents).await;
                Event::Answered { id, executed, took: clock::since(began) }
            }
            Job::Read { id, rooms } => self.read(&mut lane, id, rooms).await,
            Job::Write { .. } => return,
        };
        let (Event::Answered { executed, .. } | Event::Read { executed, .. }) = &event else { return };
        if executed.answer != Answer::Lost {
            self.lane = Some(lane);
        }
        self.tell(event).await;
    }

    async fn read(&self, lane: &mut Lane, id: StatementId, rooms: Vec<(RoomId, RowId, Address)>) -> Event {
        let began = clock::monotonic();
        let mut filling = Filling::new(self.dial.cache.clone());
        for (_, row, address) in &rooms {
            if let Err(error) = self.dial.cache.clear(address, row.0) {
                filling.failed.get_or_insert(error);
            }
        }
        let rows = rooms.iter().map(|(room, row, _)| (*room, *row)).collect::<Vec<_>>();
        let executed = lane.read(&rows, &mut |_, key, value| filling.add(key, value)).await;
        filling.write();
        let Filling { bytes, failed, .. } = filling;
        Event::Read { id, executed, took: clock::since(began), bytes, failed }
    }

    /// Writes until the database has answered: the same records may be written twice.
    async fn write(&mut self, records: &[Record]) -> Result<(), String> {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut lane = match self.lane.take() {
                Some(lane) => lane,
                None => self.connect().await,
            };
            let written = lane.write(records).await;
            if !matches!(written, Err(WriteError::Lost(_))) {
                self.lane = Some(lane);
            }
            match written {
                Ok(()) => return Ok(()),
                Err(WriteError::Refused { retry: false, problem }) => return Err(problem),
                Err(WriteError::Refused { .. } | WriteError::Lost(_)) => clock::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Connects, however long it takes.
    async fn connect(&self) -> Lane {
        let mut pause = FIRST_PAUSE;
        loop {
            match Lane::connect(&self.dial.target, self.purpose, self.dial.me).await {
                Ok(lane) => {
                    self.tell(Event::Present).await;
                    return lane;
                }
                Err(error) => self.tell(Event::Away(error.to_string())).await,
            }
            clock::sleep(pause.mul_f64(0.5 + random::jitter())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn tell(&self, event: Event) {
        // The driver has ended if nothing receives it.
        let _ = self.dial.events.send(event).await;
    }
}
