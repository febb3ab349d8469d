//! The thread of the driver. It takes the requests of rooms and the answers of the database, asks the rules of ownership
//! what to do, and does that in their order. Start reading at [`Worker::run`].
//!
//! A turn is handed to the rules when its lane has space, and its records are kept until the rules release it. Then they
//! enter the cache, and after that its room is told.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;

use super::cache::Cache;
use super::links::{Event, Job, Links};
use super::nodes::Nodes;
use super::presence::{Presence, Standing};
use super::queue::{Open, Ready, Request};
use super::rooms::{Log, Notify, Room, Rooms, State, Waiting};
use super::shared::Shared;
use crate::clock;
use crate::cluster::members::Life;
use crate::cluster::ownership::{
    Answer, Cached, Effect, Ended, Input, LaneId, NodeId, Owner, RoomId, Rows, Statement, StatementId, Tenure,
};
use crate::model::Address;
use crate::store::commit::{Commit, Listeners, Proof, confirm, refuse};
use crate::store::engine::Record;
use crate::store::error::{CommitError, DiskError, NotOpened};
use crate::store::membership::{Hint, Step};
use crate::store::owner::name_of;
use crate::store::postgres::{ClaimedRow, Contents, Executed, RowId};
use crate::store::records::{self, Place, RoomRecord};

/// How often time passes for the rules. It is also how soon a statement that failed is tried again.
const TICK: Duration = Duration::from_millis(100);

/// A room that no log needs stays ours for so long: one that is opened again soon costs no statement.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// Bytes of one lane that the rules know. A statement carries no more, unless one commit alone is larger.
const LANE_BYTES: usize = 4 << 20;

/// How long the end waits for commits that are not confirmed. Their outputs were not sent.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The parts that the thread needs.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Owner,
    pub(super) lane_of: fn(RoomId) -> LaneId,
    pub(super) links: Links,
    pub(super) events: Receiver<Event>,
    pub(super) cache: Cache,
    pub(super) presence: Presence,
    /// The other nodes; absent if this is the only server.
    pub(super) nodes: Option<Nodes>,
    /// Nodes that have ended.
    pub(super) dead: BTreeSet<NodeId>,
    pub(super) state: Running,
}

/// The parts that change while it runs.
#[derive(Default)]
pub(super) struct Running {
    pub(super) rooms: Rooms,
    lanes: HashMap<LaneId, Lane>,
    /// The statements in flight, for what the rules do not keep.
    flights: HashMap<StatementId, Statement>,
    /// Claims that were answered, until their rooms are open.
    claimed: HashMap<RoomId, ClaimedRow>,
    /// Rooms without a log, by the time since when.
    unused: VecDeque<(Instant, RoomId)>,
    /// Rooms of other nodes that are opened once this is known to be the only server.
    undecided: Vec<RoomId>,
    /// Rooms that could not be forgotten yet, and are wanted.
    again: Vec<RoomId>,
    /// Inputs that wait for the effects of the one before.
    inputs: VecDeque<Input>,
    /// When the rules began to count their time.
    began: Option<Instant>,
    closed_at: Option<Instant>,
    broken: Option<CommitError>,
}

#[derive(Default)]
struct Lane {
    /// Rooms with turns that the rules do not know, one entry for each turn.
    backlog: VecDeque<RoomId>,
    /// Bytes of turns that the rules know.
    bytes: usize,
}

/// Turns that were released together.
#[derive(Default)]
struct Released {
    batch: Vec<Record>,
    listeners: Listeners,
    bytes: usize,
    /// Rooms that can now be given to a log, or forgotten.
    rooms: Vec<RoomId>,
    deleted: Vec<RoomId>,
    /// Held until their rooms were told.
    owners: Vec<Arc<crate::store::owner::Owner>>,
}

impl Worker {
    /// Works until the store is closed, or the cache fails.
    pub(super) async fn run(mut self) {
        let mut tick = std::pin::pin!(clock::timer(TICK));
        if let Some(nodes) = &self.nodes {
            self.shared.metrics.set_nodes(nodes.living());
        }
        loop {
            let shared = self.shared.clone();
            tokio::select! {
                requests = shared.queue.take(), if self.state.closed_at.is_none() => {
                    requests.into_iter().for_each(|request| self.take(request));
                    if shared.queue.is_closed() {
                        self.state.closed_at = Some(clock::monotonic());
                    }
                }
                Some(event) = self.events.recv() => self.happened(event),
                () = tick.as_mut() => {
                    tick.as_mut().reset((clock::monotonic() + TICK).into());
                    self.tick();
                }
            }
            self.feed();
            if self.is_over() {
                break;
            }
        }
        self.end().await;
    }

    fn is_over(&self) -> bool {
        let is_late = |at: Instant| clock::since(at) >= CLOSE_WITHIN;
        self.state.broken.is_some()
            || self.state.closed_at.is_some_and(|at| !self.state.rooms.have_turns() || is_late(at))
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Open(address, open) => self.open(&address, open),
            Request::Commit(commit) => match &commit.owner {
                Some(_) if commit.receipt.number() == commit.base + 1 => self.commit(commit),
                // An import: the room has no data, so nothing has to be fenced.
                Some(owner) => {
                    let id = self.state.rooms.known(owner.address());
                    if let Some(room) = id.and_then(|id| self.state.rooms.get_mut(id)) {
                        room.is_imported = true;
                    }
                    self.write(commit);
                }
                None => self.write(commit),
            },
            Request::Prove(proof) => self.prove(proof),
            Request::LetGo(address) => self.let_go(&address),
            Request::Paused(address, tenure) => self.paused(&address, tenure),
            Request::Hint(Hint::HandOver(address, to)) => self.hand_over_to(&address, to),
            Request::Hint(Hint::Said { from, room, message }) => self.said(from, &room, message),
            Request::Hint(hint) => {
                if self.nodes.as_mut().is_some_and(|nodes| nodes.take(hint)) {
                    self.others_changed();
                }
            }
        }
    }

    /// Other nodes are dead now, or live again.
    fn others_changed(&mut self) {
        let Some(nodes) = &mut self.nodes else { return };
        self.dead = nodes.dead();
        self.shared.metrics.set_nodes(nodes.living());
        self.input(Input::Dead(self.dead.clone()));
    }

    fn open(&mut self, address: &Address, open: Open) {
        if let Some(problem) = self.presence.given_up() {
            // The caller may have gone.
            let _ = open.answer.send(Err(NotOpened::Unreachable(problem)));
            return;
        }
        let id = self.state.rooms.at(address);
        let room = self.state.rooms.get_mut(id).expect("it was made");
        room.opens.push_back(open);
        self.serve(id);
    }

    /// Gives a room to the log that waits for it, or has the rules open it.
    fn serve(&mut self, id: RoomId) {
        let Some(room) = self.state.rooms.get_mut(id).filter(|room| !room.opens.is_empty()) else { return };
        match room.state {
            State::Closed | State::LettingGo => {
                room.state = State::Opening;
                self.input(Input::Open(id));
            }
            State::Opening => {}
            State::Open(_) if room.is_imported => {
                // Its row has changed without its fence, so it is claimed and read anew.
                self.state.again.push(id);
                self.input(Input::Forget(id));
            }
            // The log before must be closed, and its turns confirmed.
            State::Open(tenure) if matches!(room.log, Log::None) && room.turns.is_empty() => {
                let continues = room.continues;
                let ready = Ready { record: room.record, is_stored: room.is_stored, tenure, continues };
                while let Some(open) = room.opens.pop_front() {
                    if open.answer.send(Ok(ready)).is_ok() {
                        room.continues = None;
                        room.log = Log::Open(open.listener);
                        room.unused_since = None;
                        return;
                    }
                }
                self.unused(id);
            }
            State::Open(_) => {}
        }
    }

    /// No log needs the room.
    fn unused(&mut self, id: RoomId) {
        let now = clock::monotonic();
        if let Some(room) = self.state.rooms.get_mut(id) {
            room.unused_since = Some(now);
            self.state.unused.push_back((now, id));
        }
        self.state.rooms.tidy(id);
    }

    fn let_go(&mut self, address: &Address) {
        let Some(id) = self.state.rooms.known(address) else { return };
        if let Some(room) = self.state.rooms.get_mut(id) {
            room.log = Log::None;
            if room.opens.is_empty() { self.unused(id) } else { self.serve(id) }
        }
    }

    fn commit(&mut self, commit: Commit) {
        let bytes = commit.bytes();
        let Commit { mut records, receipt, listener, owner, deletes_room, at, .. } = commit;
        let Some(owner) = owner else { return };
        if deletes_room {
            // A room without data has no record that its deletion removes, and it has a row.
            records.push(records::no_room(owner.address()));
        }
        let number = receipt.number();
        let notify = Some(Notify { receipt, listener, owner });
        self.turn(Waiting { position: 0, number, records: Some(records), deletes_room, bytes, at, notify });
    }

    fn prove(&mut self, proof: Proof) {
        let Proof { receipt, listener, owner, at } = proof;
        let number = receipt.number();
        let notify = Some(Notify { receipt, listener, owner });
        self.turn(Waiting { position: 0, number, records: None, deletes_room: false, bytes: 0, at, notify });
    }

    fn turn(&mut self, mut turn: Waiting) {
        let notify = turn.notify.as_ref().expect("it comes from a room");
        let (address, tenure) = (notify.owner.address().clone(), notify.owner.tenure);
        let id = self.state.rooms.known(&address);
        let room = id.and_then(|id| self.state.rooms.get_mut(id));
        let refused = match (&room, id) {
            (Some(Room { log: Log::Open(_), state: State::Open(now), .. }), Some(id)) if Some(*now) == tenure => Ok(id),
            (Some(Room { log: Log::Ended(error), .. }), _) => Err(error.clone()),
            _ => Err(CommitError::Fenced { address }),
        };
        match (refused, room) {
            (Ok(id), Some(room)) => {
                if turn.records.is_none() {
                    // A call names an older commit than the one before it in the queue.
                    turn.number = room.turns.back().map_or(room.record.number, |last| last.number);
                }
                room.turns.push_back(turn);
                self.state.lanes.entry((self.lane_of)(id)).or_default().backlog.push_back(id);
            }
            (Err(error), _) => {
                self.shared.queue.done(1, turn.bytes);
                if let Some(notify) = turn.notify {
                    refuse(&*notify.listener, &error);
                }
            }
            (Ok(_), None) => {}
        }
    }

    /// Writes records that belong to no room.
    fn write(&mut self, commit: Commit) {
        let bytes = commit.bytes();
        let Commit { records, receipt, listener, .. } = commit;
        let shared = self.shared.clone();
        let done = {
            let (shared, listener) = (shared.clone(), listener.clone());
            Box::new(move |outcome: Result<(), String>| {
                shared.queue.done(1, bytes);
                match outcome {
                    Ok(()) => confirm(vec![(receipt, listener)]),
                    Err(problem) => refuse(&*listener, &CommitError::Refused(problem)),
                }
            })
        };
        if !self.links.run(None, Job::Write { records, done }) {
            shared.queue.done(1, bytes);
            refuse(&*listener, &CommitError::Refused("too many writes wait for the database".into()));
        }
    }

    /// Hands turns to the rules, as long as their lanes have space.
    fn feed(&mut self) {
        for lane in self.state.lanes.keys().copied().collect::<Vec<_>>() {
            loop {
                let this = self.state.lanes.get_mut(&lane).expect("it is one of them");
                let Some(id) = this.backlog.front().copied().filter(|_| this.bytes < LANE_BYTES) else { break };
                this.backlog.pop_front();
                let Some(room) = self.state.rooms.get_mut(id) else { continue };
                let Some(tenure) = room.tenure().filter(|_| room.fed < room.turns.len()) else { continue };
                room.position += 1;
                let turn = &mut room.turns[room.fed];
                turn.position = room.position;
                room.fed += 1;
                let writes = turn.records.is_some();
                this.bytes += turn.bytes;
                self.input(Input::Turn { room: id, tenure, writes });
            }
        }
    }

    /// Gives an input to the rules, and carries out all effects before the next input.
    pub(super) fn input(&mut self, input: Input) {
        let is_first = self.state.inputs.is_empty();
        self.state.inputs.push_back(input);
        if !is_first {
            return;
        }
        let began = *self.state.began.get_or_insert_with(clock::monotonic);
        while let Some(input) = self.state.inputs.front().cloned() {
            let now = u64::try_from(clock::since(began).as_millis()).unwrap_or(u64::MAX);
            let mut effects = Vec::new();
            self.owner.handle(now, input, &mut effects);
            let mut released = Released::default();
            for effect in effects {
                if let Effect::Release { room, position, number, .. } = effect {
                    self.release(room, position, number, &mut released);
                } else {
                    self.finish(std::mem::take(&mut released));
                    self.carry_out(effect);
                }
            }
            self.finish(released);
            self.state.inputs.pop_front();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Execute { id, lane, statement } => self.execute(id, lane, statement),
            Effect::Opened { room, tenure, number, cached, continues } => {
                self.opened(room, tenure, number, cached, continues);
            }
            Effect::Elsewhere { room, owner } => {
                self.offer_ends(room);
                self.elsewhere(room, owner);
            }
            Effect::End { room, tenure, why } => self.ended(room, tenure, why),
            Effect::WentBack { room, had, has } => {
                self.shared.metrics.went_back();
                if let Some(room) = self.state.rooms.get(room) {
                    tracing::error!("store went back: {} had {had}, has {has}", room.address);
                }
            }
            Effect::Release { .. } => unreachable!("releases are collected"),
            Effect::Pause(room) => self.pause(room),
            Effect::Resume(room) => self.resume(room),
            Effect::Send { to, room, message } => self.send(to, room, message),
            Effect::AdoptionEnds(room) => self.step(room, Step::AdoptionEnds),
            Effect::OfferEnds(room) => self.offer_ends(room),
        }
    }

    fn execute(&mut self, id: StatementId, lane: Option<LaneId>, statement: Statement) {
        let mut contents = Contents::default();
        let rooms = &mut self.state.rooms;
        let mut row = |rooms: &Rooms, id: RoomId| {
            contents.rows.extend(rooms.get(id).map(|room| (id, RowId(room.record.id))));
        };
        match &statement {
            Statement::Claim { rooms: claimed, .. } => {
                let address = |id: &RoomId| Some((*id, rooms.get(*id)?.address.clone()));
                contents.addresses = claimed.iter().filter_map(address).collect();
            }
            Statement::Read { rooms: read } => {
                let read = read.iter().filter_map(|id| {
                    let room = rooms.get(*id)?;
                    Some((*id, RowId(room.record.id), room.address.clone()))
                });
                let job = Job::Read { id, rooms: read.collect() };
                self.state.flights.insert(id, statement);
                return self.pass_on(id, lane, job);
            }
            Statement::Round { commits, proofs } => {
                commits.iter().map(|commit| commit.room).chain(proofs.iter().map(|proof| proof.room)).for_each(|id| {
                    row(rooms, id);
                });
                for commit in commits {
                    if let Some(room) = rooms.get_mut(commit.room) {
                        room.sent = commit.number;
                        contents.records.insert(commit.room, room.records(commit.base, commit.number));
                    }
                }
            }
            Statement::Resolve { rooms: resolved } => resolved.iter().for_each(|(id, _)| row(rooms, *id)),
            Statement::LetGo { rooms: let_go, .. } => let_go.iter().for_each(|(id, _)| row(rooms, *id)),
        }
        self.state.flights.insert(id, statement.clone());
        self.pass_on(id, lane, Job::Execute { id, statement, contents });
    }

    fn pass_on(&mut self, id: StatementId, lane: Option<LaneId>, job: Job) {
        if !self.links.run(lane, job) {
            self.state.inputs.push_back(Input::Answered { statement: id, answer: Answer::Error { retry: true } });
        }
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Answered { id, executed, took } => {
                match (&executed.answer, &executed.problem) {
                    (Answer::Lost, problem) => self.presence.away(problem.clone().unwrap_or_default()),
                    _ => self.present(),
                }
                self.answered(id, executed, took);
            }
            Event::Read { id, executed, took, bytes, failed } => {
                self.shared.metrics.hydrated(bytes, took);
                match failed {
                    Some(error) => self.cache_failed(&error),
                    None => self.answered(id, executed, took),
                }
            }
            Event::Connected(lane) => self.input(Input::Connected(lane)),
            Event::Present => self.present(),
            Event::Away(problem) => self.presence.away(problem),
            Event::Standing(standing) => {
                if self.presence.set_standing(standing) {
                    std::mem::take(&mut self.state.undecided).into_iter().for_each(|id| self.serve(id));
                }
            }
            Event::Beats { rows, at } => {
                let Some(nodes) = &mut self.nodes else { return };
                let is_news = nodes.read(rows, at);
                let undecided = std::mem::take(&mut nodes.undecided);
                if is_news || !undecided.is_empty() {
                    self.others_changed();
                }
                undecided.into_iter().for_each(|id| self.serve(id));
            }
            Event::Standbys(standbys) => {
                self.present();
                self.shared.metrics.set_synchronous_standbys(standbys);
            }
        }
        self.shared.set_presence(&self.presence);
    }

    fn present(&mut self) {
        if self.presence.present() {
            tracing::info!("the database answers again");
        }
    }

    fn answered(&mut self, id: StatementId, executed: Executed, took: Duration) {
        let Some(statement) = self.state.flights.remove(&id) else { return };
        let Executed { mut answer, claimed, problem, .. } = executed;
        if let Some(problem) = problem {
            tracing::warn!(%problem, "the database did not run a statement; it is tried again");
        }
        let metrics = &self.shared.metrics;
        match (&statement, &mut answer) {
            (Statement::Round { commits, proofs }, _) => {
                metrics.round(commits.len() + proofs.len(), proofs.len(), took)
            }
            (Statement::Claim { .. }, Answer::Done { rows: Rows::Claimed { claimed: rows, .. }, .. }) => {
                metrics.claimed(rows.len(), took);
                let mut failed = None;
                for row in rows {
                    let Some(it) = claimed.iter().find(|it| it.room == row.room) else { continue };
                    let Some(room) = self.state.rooms.get_mut(row.room) else { continue };
                    room.record.id = it.row.0;
                    row.cached = match cached(&self.cache, &room.address, it, row.number, row.old_token) {
                        Ok(cached) => cached,
                        Err(error) => {
                            failed = Some(error);
                            None
                        }
                    };
                    self.state.claimed.insert(row.room, *it);
                }
                if let Some(error) = failed {
                    return self.cache_failed(&error);
                }
            }
            (Statement::Resolve { .. }, Answer::Done { rows: Rows::Resolved(rows), warned: false }) => {
                for row in rows {
                    if let Some(room) = self.state.rooms.get(row.room).filter(|room| room.sent > room.record.number) {
                        metrics.in_doubt(row.number == room.sent);
                    }
                }
            }
            _ => {}
        }
        self.input(Input::Answered { statement: id, answer });
        if let Statement::LetGo { rooms, .. } = statement {
            for (id, _) in rooms {
                if let Some(room) = self.state.rooms.get_mut(id).filter(|room| room.state == State::LettingGo) {
                    room.state = State::Closed;
                    self.state.rooms.tidy(id);
                }
            }
        }
    }

    fn opened(&mut self, id: RoomId, tenure: Tenure, number: u64, is_cached: bool, continues: Option<Tenure>) {
        self.shared.metrics.opened(is_cached);
        let claimed = self.state.claimed.remove(&id);
        let (Some(room), Some(claimed)) = (self.state.rooms.get_mut(id), claimed) else { return };
        let ClaimedRow { row, is_stored, bytes, generation, data_version, .. } = claimed;
        room.record = RoomRecord { id: row.0, epoch: tenure.0.token, number, bytes, generation, data_version };
        room.is_stored = is_stored;
        (room.is_imported, room.is_leaving, room.is_offered) = (false, false, false);
        room.continues = continues;
        room.state = State::Open(tenure);
        (room.fed, room.position, room.sent) = (0, 0, number);
        // Everything of the room is in the cache, and no other owner can change it before the next claim.
        if is_stored && let Err(error) = self.cache.confirm(&room.address, room.record) {
            return self.cache_failed(&error);
        }
        if room.opens.is_empty() { self.unused(id) } else { self.serve(id) }
    }

    /// Another node owns the room. If this is the only server, that node has ended.
    fn elsewhere(&mut self, id: RoomId, owner: NodeId) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        if let Some(nodes) = &mut self.nodes {
            match nodes.life(owner) {
                Life::Lives => self.refuse_elsewhere(id, owner),
                Life::Dead => {
                    self.dead = nodes.dead();
                    self.state.inputs.push_back(Input::Dead(self.dead.clone()));
                    self.state.inputs.push_back(Input::Open(id));
                }
                Life::Unknown => {
                    room.state = State::Closed;
                    nodes.undecided.push(id);
                }
            }
            return;
        }
        match self.presence.standing() {
            Standing::Alone => {
                self.dead.insert(owner);
                self.state.inputs.push_back(Input::Dead(self.dead.clone()));
                self.state.inputs.push_back(Input::Open(id));
            }
            Standing::Unknown => {
                room.state = State::Closed;
                self.state.undecided.push(id);
            }
            Standing::NotAlone(_) => self.refuse_elsewhere(id, owner),
        }
    }

    /// Tells the logs that wait for a room which node owns it.
    fn refuse_elsewhere(&mut self, id: RoomId, owner: NodeId) {
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        room.state = State::Closed;
        let address = room.address.clone();
        for open in std::mem::take(&mut room.opens) {
            let _ = open.answer.send(Err(NotOpened::Elsewhere { address: address.clone(), node: owner }));
        }
        self.state.rooms.tidy(id);
    }

    /// Takes the turns up to this position out of a room.
    fn release(&mut self, id: RoomId, position: u64, number: u64, released: &mut Released) {
        let lane = (self.lane_of)(id);
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        let mut is_deleted = false;
        while room.fed > 0 && room.turns.front().is_some_and(|turn| turn.position <= position) {
            let Some(turn) = room.turns.pop_front() else { break };
            room.fed -= 1;
            if let Some(lane) = self.state.lanes.get_mut(&lane) {
                lane.bytes -= turn.bytes;
            }
            if let Some(records) = turn.records {
                self.shared.metrics.committed(turn.bytes, turn.at);
                is_deleted = turn.deletes_room;
                for record in records {
                    match records::place_of(&record) {
                        Ok(Place::Own(Some(own))) => {
                            (room.record.bytes, room.record.data_version) = (own.bytes, own.data_version);
                        }
                        Ok(Place::Own(None) | Place::Beside) | Err(_) => {}
                        Ok(Place::Content) => released.batch.push(record),
                    }
                }
                room.is_stored = !is_deleted;
            }
            // A turn whose room was told that it failed does not count any more.
            if let Some(Notify { receipt, listener, owner }) = turn.notify {
                released.bytes += turn.bytes;
                released.listeners.push((receipt, listener));
                released.owners.push(owner);
            }
        }
        room.record.number = number;
        if is_deleted {
            released.deleted.push(id);
        } else if room.is_stored {
            released.batch.push(room.record.to_record(&room.address));
        }
        released.rooms.push(id);
    }

    /// Writes released commits into the cache, and then tells their rooms.
    fn finish(&mut self, released: Released) {
        let Released { batch, listeners, bytes, rooms, deleted, owners } = released;
        if !batch.is_empty()
            && let Err(error) = self.cache.0.write(batch)
        {
            self.cache_failed(&error);
            // They are durable, and cannot be read here.
            let error = CommitError::Failed(error.to_string());
            listeners.iter().for_each(|(_, listener)| refuse(&**listener, &error));
            return;
        }
        for id in &deleted {
            if let Some(room) = self.state.rooms.get(*id)
                && let Err(error) = self.cache.clear(&room.address, room.record.id)
            {
                self.cache_failed(&error);
            }
        }
        if !listeners.is_empty() {
            self.shared.queue.done(listeners.len(), bytes);
        }
        drop(owners);
        confirm(listeners);
        for id in rooms {
            if deleted.contains(&id) {
                // Its row is gone. A later room with this address has another one.
                self.state.inputs.push_back(Input::Forget(id));
            } else if self.state.rooms.get(id).is_some_and(|room| matches!(room.log, Log::None)) {
                self.serve(id);
            }
        }
    }

    /// A tenure has ended.
    fn ended(&mut self, id: RoomId, tenure: Tenure, why: Ended) {
        self.moved(id, why);
        let lane = (self.lane_of)(id);
        let Some(room) = self.state.rooms.get_mut(id) else { return };
        let address = room.address.clone();
        let error = match why {
            Ended::Forgotten => {
                room.state = State::LettingGo;
                // A deleted room is forgotten while its log is still open.
                if matches!(room.log, Log::Open(_)) {
                    room.log = Log::Ended(CommitError::Fenced { address });
                }
                return self.serve(id);
            }
            Ended::Fenced => {
                self.shared.metrics.fenced();
                CommitError::Fenced { address: address.clone() }
            }
            Ended::HandedOver(to) => {
                CommitError::HandedOver { address: address.clone(), to: to.0, tenure: name_of(tenure) }
            }
            Ended::Refused => CommitError::Refused(format!("{address}: the database refuses to store its writes")),
        };
        room.state = State::Closed;
        let known = std::mem::take(&mut room.fed);
        let turns = std::mem::take(&mut room.turns);
        let log = std::mem::replace(&mut room.log, Log::None);
        if !matches!(log, Log::None) {
            room.log = Log::Ended(error.clone());
        }
        if let Some(lane) = self.state.lanes.get_mut(&lane) {
            lane.bytes -= turns.iter().take(known).map(|turn| turn.bytes).sum::<usize>();
        }
        // The owners are dropped before their rooms are told, so that those can be opened again.
        let told = turns.into_iter().filter_map(|turn| Some((turn.bytes, turn.notify?.listener))).collect::<Vec<_>>();
        // Its turns may be stored or not.
        if let Err(error) = self.cache.0.write(vec![records::no_room(&address)]) {
            self.cache_failed(&error);
        }
        self.shared.queue.done(told.len(), told.iter().map(|(bytes, _)| bytes).sum());
        for (_, listener) in told {
            refuse(&*listener, &error);
        }
        if let Log::Open(Some(listener)) = log {
            crate::panics::guard(|| listener.ended(&error));
        }
        self.serve(id);
        self.state.rooms.tidy(id);
    }

    fn tick(&mut self) {
        self.input(Input::Tick);
        std::mem::take(&mut self.state.again).into_iter().for_each(|id| self.serve(id));
        if self.presence.gives_up() {
            self.give_up();
        }
        let now = clock::monotonic();
        let is_leaving = self.nodes.as_ref().is_some_and(|nodes| nodes.is_leaving);
        let forget_after = if is_leaving { Duration::ZERO } else { FORGET_AFTER };
        for (since, id) in take_due(&mut self.state.unused, now, forget_after) {
            let is_unused = |room: &&Room| {
                room.unused_since == Some(since) && room.opens.is_empty() && matches!(room.log, Log::None)
            };
            let Some(room) = self.state.rooms.get(id).filter(is_unused) else { continue };
            if let State::Open(_) = room.state {
                self.input(Input::Forget(id));
                // A statement of the room is still in flight.
                if self.state.rooms.get(id).is_some_and(|room| matches!(room.state, State::Open(_))) {
                    self.unused(id);
                }
            }
        }
        self.shared.watch_space(&*self.cache.0);
        self.shared.set_presence(&self.presence);
    }

    /// The database was away for too long: rooms are told that what waits has failed. The rules keep it, because it may
    /// have happened.
    fn give_up(&mut self) {
        let Some(problem) = self.presence.given_up() else { return };
        tracing::error!(%problem, "the database is away for longer than `store.patience`; clients are asked to come back");
        let error = CommitError::Unreachable(problem.clone());
        let (mut told, mut listeners, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (_, room) in self.state.rooms.all() {
            for open in std::mem::take(&mut room.opens) {
                let _ = open.answer.send(Err(NotOpened::Unreachable(problem.clone())));
            }
            for turn in &mut room.turns {
                if let Some(notify) = turn.notify.take() {
                    bytes += turn.bytes;
                    // Its owner is dropped before it is told, so that the room can be opened again.
                    told.push(notify.listener);
                }
            }
            if let Log::Open(listener) = &mut room.log {
                listeners.extend(listener.take());
                room.log = Log::Ended(error.clone());
            }
        }
        self.shared.queue.done(told.len(), bytes);
        for listener in told {
            refuse(&*listener, &error);
        }
        for listener in listeners {
            crate::panics::guard(|| listener.ended(&error));
        }
    }

    /// The cache cannot be read or written, so no room can run.
    fn cache_failed(&mut self, error: &DiskError) {
        tracing::error!(%error, "the cache of the data directory failed: no room can run until a restart");
        self.state.broken.get_or_insert_with(|| CommitError::Failed(error.to_string()));
    }

    /// Tells all that wait.
    async fn end(mut self) {
        let closed = || CommitError::Failed("the store is closed".into());
        let error = self.state.broken.take().unwrap_or_else(closed);
        let left = self.shared.queue.fail(error.clone());
        for request in left {
            match request {
                Request::Open(_, open) => drop(open.answer.send(Err(NotOpened::Unreachable(error.to_string())))),
                Request::Commit(Commit { listener, .. }) | Request::Prove(Proof { listener, .. }) => {
                    refuse(&*listener, &error);
                }
                Request::LetGo(_) | Request::Paused(..) | Request::Hint(_) => {}
            }
        }
        for (_, room) in self.state.rooms.all() {
            for notify in room.turns.drain(..).filter_map(|turn| turn.notify) {
                refuse(&*notify.listener, &error);
            }
            for open in room.opens.drain(..) {
                let _ = open.answer.send(Err(NotOpened::Unreachable(error.to_string())));
            }
        }
        if let Some(nodes) = self.nodes.take() {
            nodes.leave().await;
        }
    }
}

/// The copy of a claimed room, if there is one. A room without data needs none.
fn cached(
    cache: &Cache,
    address: &Address,
    claimed: &ClaimedRow,
    number: u64,
    old_token: u64,
) -> Result<Option<Cached>, DiskError> {
    if claimed.is_stored {
        return cache.of(address, claimed.row.0);
    }
    // In a database that went back, the row may have the id of one that had data.
    cache.clear(address, claimed.row.0)?;
    Ok(Some(Cached { number, token: old_token }))
}

/// Takes the rooms that have been unused for so long. One that goes to the end of the queue meanwhile waits for the next
/// tick, however short the time is.
fn take_due(unused: &mut VecDeque<(Instant, RoomId)>, now: Instant, after: Duration) -> Vec<(Instant, RoomId)> {
    let due = unused.iter().take_while(|(since, _)| now.saturating_duration_since(*since) >= after).count();
    unused.drain(..due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_cannot_be_forgotten_yet_waits_for_the_next_tick() {
        let now = clock::monotonic();
        let mut unused = VecDeque::from([(now, RoomId(1)), (now, RoomId(2))]);
        for (since, room) in take_due(&mut unused, now, Duration::ZERO) {
            // Statements of both are in flight.
            unused.push_back((since, room));
        }
        assert_eq!(unused.len(), 2);
        assert_eq!(take_due(&mut unused, now, Duration::from_millis(1)), []);
    }
}
