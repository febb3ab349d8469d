//! A database of two servers, as far as the rules of ownership can see it: transactions, row locks, a log that goes to
//! a standby, commits that wait for it, and all the ways in which an answer can be missing or wrong.
//!
//! Like PostgreSQL with a synchronous standby: a commit is visible, and its locks are free, only when the standby has
//! it; a cancelled wait shows it at once, with a warning; a restart shows what was waiting. A transaction that writes
//! nothing waits for nothing.

use std::collections::VecDeque;

use dormouse_ownership::ownership::{
    Answer, Claimed, Commit, Fence, NodeId, Proof, Resolved, RoomId, Rows, Statement, StatementId,
};

use super::broken::Broken;

/// A message of a client: its client, and its number there from 1.
pub(super) type Id = (u8, u32);

/// A stored message and its place in the room.
pub(super) type Entry = (u64, Id);

#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) owner: Option<NodeId>,
    pub(super) epoch: u64,
    pub(super) token: u64,
    pub(super) number: u64,
    pub(super) log: Vec<Entry>,
}

impl Row {
    fn fence(&self) -> Fence {
        Fence { epoch: self.epoch, token: self.token }
    }
}

/// A statement on its way.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The index of the node, and its id.
    pub(super) node: usize,
    pub(super) me: NodeId,
    pub(super) id: StatementId,
    pub(super) statement: Statement,
    /// The messages of each commit.
    pub(super) messages: Vec<Vec<Id>>,
    /// The token of a claim.
    pub(super) token: u64,
}

/// The end of a statement, and the content that a read has brought.
pub(super) struct Reply {
    pub(super) request: Request,
    pub(super) answer: Answer,
    pub(super) content: Vec<(RoomId, Vec<Entry>)>,
}

/// What a transaction makes of a row.
#[derive(Debug, Clone)]
struct Change {
    room: usize,
    owner: Option<NodeId>,
    epoch: u64,
    token: u64,
    number: u64,
    added: Vec<Entry>,
}

struct Transaction {
    position: u64,
    changes: Vec<Change>,
    request: Request,
    rows: Rows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Up,
    Paused,
    Off,
}

pub(super) struct Server {
    pub(super) power: Power,
    /// It takes writes. A primary that was replaced while it was paused believes this too.
    pub(super) is_primary: bool,
    /// Its commits wait for the standby.
    pub(super) waits: bool,
    /// Connections end when it restarts.
    pub(super) boot: u64,
    pub(super) rows: Vec<Row>,
    /// Committed transactions that wait for the standby; they hold the locks of their rows.
    waiting: Vec<Transaction>,
    /// Requests that wait for a lock.
    queue: VecDeque<Request>,
    /// Requests that came while it was paused.
    inbox: Vec<Request>,
}

pub(super) struct Database {
    pub(super) servers: [Server; 2],
    /// The server that the last promotion chose.
    pub(super) primary: usize,
    /// The other server gets the log.
    pub(super) is_attached: bool,
    pub(super) is_synchronous: bool,
    /// The log that the standby does not have.
    stream: VecDeque<(u64, Vec<Change>)>,
    position: u64,
    /// Everything that any server has ever stored, by room.
    pub(super) ever_stored: Vec<Vec<Entry>>,
    /// A standby was promoted that may lack commits that were confirmed.
    pub(super) has_lost: bool,
    /// The database refuses writes of this room.
    pub(super) refuses: Option<RoomId>,
    broken: Broken,
}

impl Database {
    pub(super) fn new(rooms: usize, is_synchronous: bool, broken: Broken) -> Self {
        let server = |is_primary| Server {
            power: Power::Up,
            is_primary,
            waits: is_primary && is_synchronous,
            boot: 0,
            rows: vec![Row::default(); rooms],
            waiting: Vec::new(),
            queue: VecDeque::new(),
            inbox: Vec::new(),
        };
        Database {
            servers: [server(true), server(false)],
            primary: 0,
            is_attached: true,
            is_synchronous,
            stream: VecDeque::new(),
            position: 0,
            ever_stored: vec![Vec::new(); rooms],
            has_lost: false,
            refuses: None,
            broken,
        }
    }

    pub(super) fn truth(&self) -> &Server {
        &self.servers[self.primary]
    }

    /// Runs a request that has arrived. Appends the replies of all requests that end by this.
    pub(super) fn run(&mut self, at: usize, request: Request, replies: &mut Vec<Reply>) {
        match self.servers[at].power {
            Power::Up if self.servers[at].is_primary => {}
            Power::Paused => return self.servers[at].inbox.push(request),
            // A standby refuses, and the driver takes that for the end of the connection.
            Power::Up | Power::Off => return replies.push(lost(request)),
        }
        let is_locked = |room: &RoomId| {
            self.servers[at].waiting.iter().any(|it| it.changes.iter().any(|change| change.room == room.0 as usize))
        };
        let has_to_wait = match &request.statement {
            Statement::Claim { rooms, .. } => rooms.iter().any(is_locked),
            Statement::Resolve { .. } if self.broken == Broken::ResolveReads => false,
            Statement::Resolve { rooms } => rooms.iter().any(|(room, _)| is_locked(room)),
            Statement::LetGo { rooms, .. } => rooms.iter().any(|(room, _)| is_locked(room)),
            Statement::Round { commits, .. } => commits.iter().any(|commit| is_locked(&commit.room)),
            Statement::Read { .. } => false,
        };
        if has_to_wait {
            return self.servers[at].queue.push_back(request);
        }
        if let Statement::Round { commits, .. } = &request.statement
            && commits.iter().any(|commit| Some(commit.room) == self.refuses)
        {
            return replies.push(Reply { request, answer: Answer::Error { retry: false }, content: Vec::new() });
        }
        let (rows, changes, emits) = self.execute(at, &request);
        if changes.is_empty() && !emits {
            let content = match &request.statement {
                Statement::Read { rooms } => {
                    rooms.iter().map(|room| (*room, self.servers[at].rows[room.0 as usize].log.clone())).collect()
                }
                _ => Vec::new(),
            };
            return replies.push(Reply { request, answer: Answer::Done { rows, warned: false }, content });
        }
        for change in &changes {
            self.ever_stored[change.room].extend(&change.added);
        }
        self.position += 1;
        if at == self.primary && self.is_attached {
            self.stream.push_back((self.position, changes.clone()));
        }
        let transaction = Transaction { position: self.position, changes, request, rows };
        if self.servers[at].waits {
            self.servers[at].waiting.push(transaction);
        } else {
            replies.push(self.servers[at].show(transaction, false));
        }
    }

    fn execute(&self, at: usize, request: &Request) -> (Rows, Vec<Change>, bool) {
        let server = &self.servers[at];
        let row = |room: RoomId| &server.rows[room.0 as usize];
        let change = |room: RoomId| {
            let row = row(room);
            let Row { owner, epoch, token, number, .. } = *row;
            Change { room: room.0 as usize, owner, epoch, token, number, added: Vec::new() }
        };
        let mut changes = Vec::new();
        let rows = match &request.statement {
            Statement::Claim { rooms, dead } => {
                let (mut claimed, mut elsewhere) = (Vec::new(), Vec::new());
                for &room in rooms {
                    let old = row(room);
                    match old.owner {
                        Some(owner) if owner != request.me && !dead.contains(&owner) => elsewhere.push((room, owner)),
                        _ => {
                            let mut change = Change { owner: Some(request.me), ..change(room) };
                            if self.broken != Broken::ClaimKeepsFence {
                                change.epoch += 1;
                                change.token = request.token;
                            }
                            let fence = Fence { epoch: change.epoch, token: change.token };
                            let number = old.number;
                            claimed.push(Claimed { room, fence, old_token: old.token, number, cached: None });
                            changes.push(change);
                        }
                    }
                }
                Rows::Claimed { claimed, elsewhere }
            }
            Statement::Read { rooms } => Rows::Read(rooms.iter().map(|room| (*room, row(*room).fence())).collect()),
            Statement::Round { commits, proofs } => {
                let mut confirmed = Vec::new();
                for (commit, messages) in commits.iter().zip(&request.messages) {
                    if self.accepts(row(commit.room), commit) {
                        let numbers = commit.base + 1..;
                        let added = numbers.zip(messages.iter().copied()).collect();
                        changes.push(Change { number: commit.number, added, ..change(commit.room) });
                        confirmed.push(commit.room);
                    }
                }
                let is_true = |proof: &&Proof| {
                    let row = row(proof.room);
                    // The number in a proof would make a second lane harmless.
                    let is_same = row.number == proof.number || self.broken == Broken::TwoLanes;
                    let is_now = row.fence() == proof.fence && is_same;
                    is_now || self.broken == Broken::NoProof
                };
                confirmed.extend(proofs.iter().filter(is_true).map(|proof| proof.room));
                let emits = match self.broken {
                    Broken::PlainSelect | Broken::NoProof => false,
                    _ => !proofs.is_empty(),
                };
                return (Rows::Confirmed(confirmed), changes, emits);
            }
            Statement::Resolve { rooms } => {
                let mut resolved = Vec::new();
                for &(room, token) in rooms {
                    let is_same = row(room).token == token || self.broken == Broken::ResolveByOwner;
                    if row(room).owner == Some(request.me) && is_same {
                        let Row { mut epoch, number, .. } = *row(room);
                        if !matches!(self.broken, Broken::ResolveReads | Broken::ClaimKeepsFence) {
                            epoch += 1;
                            changes.push(Change { epoch, ..change(room) });
                        }
                        resolved.push(Resolved { room, epoch, number });
                    }
                }
                Rows::Resolved(resolved)
            }
            Statement::LetGo { rooms, next } => {
                let rooms = rooms.iter().filter(|(room, fence)| row(*room).fence() == *fence);
                let rooms = rooms.map(|(room, _)| *room).collect::<Vec<_>>();
                changes.extend(rooms.iter().map(|room| Change { owner: *next, ..change(*room) }));
                Rows::LetGo(rooms)
            }
        };
        (rows, changes, false)
    }

    fn accepts(&self, row: &Row, commit: &Commit) -> bool {
        let is_fenced = self.broken == Broken::FenceWithoutEpoch || row.fence() == commit.fence;
        let is_next = self.broken == Broken::FenceWithoutNumber || row.number == commit.base;
        is_fenced && is_next
    }

    /// The standby takes the log, and the primary shows what has waited for it.
    pub(super) fn replicate(&mut self, replies: &mut Vec<Reply>) {
        let standby = 1 - self.primary;
        if !self.is_attached || self.servers[self.primary].power != Power::Up {
            return;
        }
        while let Some((_, changes)) = self.stream.pop_front() {
            changes.into_iter().for_each(|change| self.servers[standby].rows[change.room].apply(change));
        }
        self.end_waits(self.primary, false, replies);
    }

    /// Shows everything that waits at a server. With `warned` the standby does not have it.
    pub(super) fn end_waits(&mut self, at: usize, warned: bool, replies: &mut Vec<Reply>) {
        let server = &mut self.servers[at];
        for transaction in std::mem::take(&mut server.waiting) {
            debug_assert!(transaction.position <= self.position);
            replies.push(server.show(transaction, warned));
        }
        for request in std::mem::take(&mut self.servers[at].queue) {
            self.run(at, request, replies);
        }
    }

    /// The server restarts: what was committed is visible, all connections end.
    pub(super) fn restart(&mut self, at: usize, replies: &mut Vec<Reply>) {
        let server = &mut self.servers[at];
        server.boot += 1;
        for transaction in std::mem::take(&mut server.waiting) {
            replies.push(lost(server.show(transaction, false).request));
        }
        replies.extend(std::mem::take(&mut server.queue).into_iter().map(lost));
        replies.extend(std::mem::take(&mut server.inbox).into_iter().map(lost));
    }

    /// A paused server goes on.
    pub(super) fn resume(&mut self, at: usize, replies: &mut Vec<Reply>) {
        self.servers[at].power = Power::Up;
        for request in std::mem::take(&mut self.servers[at].inbox) {
            self.run(at, request, replies);
        }
    }

    /// The standby becomes the primary. The log that it does not have is lost.
    pub(super) fn promote(&mut self) {
        self.has_lost |= !self.is_synchronous;
        self.stream.clear();
        self.primary = 1 - self.primary;
        self.is_attached = false;
        let server = &mut self.servers[self.primary];
        (server.is_primary, server.waits, server.power) = (true, false, Power::Up);
    }

    /// The other server becomes a standby with the state of the primary.
    pub(super) fn attach(&mut self, replies: &mut Vec<Reply>) {
        if self.is_attached {
            return;
        }
        self.restart(1 - self.primary, replies);
        let rows = self.truth().rows.clone();
        let standby = &mut self.servers[1 - self.primary];
        (standby.is_primary, standby.waits, standby.power, standby.rows) = (false, false, Power::Up, rows);
        self.is_attached = true;
        self.servers[self.primary].waits = self.is_synchronous;
    }

    /// An older backup replaces everything.
    pub(super) fn restore(&mut self, rows: &[Row], replies: &mut Vec<Reply>) {
        for at in 0..2 {
            self.restart(at, replies);
            self.servers[at].rows = rows.to_vec();
        }
        self.stream.clear();
    }
}

impl Server {
    /// Makes a transaction visible.
    fn show(&mut self, transaction: Transaction, warned: bool) -> Reply {
        let Transaction { changes, request, rows, .. } = transaction;
        changes.into_iter().for_each(|change| self.rows[change.room].apply(change));
        Reply { request, answer: Answer::Done { rows, warned }, content: Vec::new() }
    }
}

impl Row {
    fn apply(&mut self, change: Change) {
        (self.owner, self.epoch, self.token, self.number) = (change.owner, change.epoch, change.token, change.number);
        self.log.extend(change.added);
    }
}

/// The connection of a request has ended.
pub(super) fn lost(request: Request) -> Reply {
    Reply { request, answer: Answer::Lost, content: Vec::new() }
}
