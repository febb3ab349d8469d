//! A session: one instance owns a room and runs turns in it. It knows the state and the changes, not HTTP.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::room_dir::{self, LogPosition, Ownership, Result, RoomDir};
use crate::room_path;
use crate::state::{Change, Socket, State, Timer};

/// A reader whose file was not touched for this time is gone. Its instance touches the file every three seconds.
pub const READER_LEASE: Duration = Duration::from_secs(10);

/// Readers checked in one session, if none of them is gone. Each check reads the metadata of a file.
const MAX_CHECKED_READERS: usize = 16;

/// The most sockets of a room.
pub const MAX_SOCKETS: usize = 32_768;

/// The pause after each failure of a timer, in seconds. After the last one the timer is given up.
const TIMER_BACKOFF_S: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// An event that no request reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overdue {
    /// The instance that served the reader with this id is gone.
    LeaseExpired(u64),
    /// A timer is due.
    Timer(Timer),
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// The room's namespace.
    pub namespace: String,
    /// The room's name.
    pub name: String,
    /// A random number that identifies this history of the room: the same as long as its folder exists.
    pub incarnation: u64,
    dir: RoomDir,
    ownership: Ownership,
    state: State,
    kept_turns: Vec<Vec<Change>>,
    pub(crate) turn: Option<Turn>,
    expired_readers: Vec<u64>,
    random: u64,
}

/// The current turn.
#[derive(Debug)]
pub struct Turn {
    /// Its time.
    pub now: u64,
    changes: Vec<Change>,
    /// The socket that this turn closes. It can still be read.
    leaving: Option<Socket>,
    /// The bytes written to storage so far.
    pub written: usize,
    /// The bytes of messages so far.
    pub sent: usize,
}

impl Session {
    /// Opens a session: owns the room and reads its state. `random` identifies the owner.
    pub fn open(data: &Path, namespace: &str, name: &str, random: u64) -> Result<Self> {
        let dir = RoomDir::open(room_path::folder(data, namespace, name), random)?;
        let (ownership, state) = Ownership::acquire(&dir, random)?;
        let mut session = Session {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            incarnation: dir.incarnation()?,
            dir,
            ownership,
            state,
            kept_turns: Vec::new(),
            turn: None,
            expired_readers: Vec::new(),
            random,
        };
        session.check_readers()?;
        Ok(session)
    }

    /// Checks some readers, from a random one on. If one of them is gone, it checks all: then more may be gone.
    fn check_readers(&mut self) -> Result<()> {
        let ids = self.state.sockets.keys().copied().collect::<Vec<_>>();
        let start = (self.random % ids.len().max(1) as u64) as usize;
        for (checked, id) in ids.iter().cycle().skip(start).take(ids.len()).enumerate() {
            if checked >= MAX_CHECKED_READERS && self.expired_readers.is_empty() {
                break;
            }
            if room_dir::is_older_than(&self.dir.lease(*id), READER_LEASE)? {
                self.expired_readers.push(*id);
            }
        }
        Ok(())
    }

    /// The overdue event of the next turn.
    pub fn next_overdue(&mut self) -> Option<Overdue> {
        self.expired_readers.retain(|id| self.state.sockets.contains_key(id));
        let expired = self.expired_readers.first().map(|id| Overdue::LeaseExpired(*id));
        expired.or_else(|| self.state.due_timer(unix_millis()).cloned().map(Overdue::Timer))
    }

    /// Begins a turn.
    pub fn begin_turn(&mut self) {
        self.turn = Some(Turn { now: unix_millis(), changes: Vec::new(), leaving: None, written: 0, sent: 0 });
    }

    /// The current turn. Rooms are called only during turns.
    pub fn turn(&mut self) -> &mut Turn {
        self.turn.as_mut().expect("a room calls its imports only in a turn")
    }

    /// The state of the room, with the changes of the turn.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Adds a change to the turn, and applies it.
    pub fn change(&mut self, change: Change) {
        self.state.apply(change.clone());
        self.turn().changes.push(change);
    }

    /// Adds a reader. Returns the id of its socket; `None` if the room has too many.
    pub fn join(&mut self, user: (String, String)) -> Result<Option<u64>> {
        if self.state.sockets.len() >= MAX_SOCKETS {
            return Ok(None);
        }
        let id = self.state.next_socket.max(1);
        let lease = self.dir.lease(id);
        room_dir::with_path(&lease, std::fs::write(&lease, b"here"))?;
        self.change(Change::Join(Socket { id, user, tags: Vec::new(), attachment: Vec::new() }));
        Ok(Some(id))
    }

    /// Removes a reader. Returns whether it existed.
    pub fn leave(&mut self, id: u64) -> bool {
        let leaving = self.state.sockets.get(&id).cloned();
        let is_connected = leaving.is_some();
        self.turn().leaving = leaving;
        if is_connected {
            self.change(Change::Leave(id));
        }
        is_connected
    }

    /// A connected socket, or the one that this turn closes.
    pub fn socket(&self, id: u64) -> Option<&Socket> {
        let leaving = self.turn.as_ref().and_then(|turn| turn.leaving.as_ref()).filter(|socket| socket.id == id);
        self.state.sockets.get(&id).or(leaving)
    }

    /// Ends the turn, and keeps its changes.
    pub fn keep_turn(&mut self) {
        if let Some(turn) = self.turn.take().filter(|turn| !turn.changes.is_empty()) {
            self.kept_turns.push(turn.changes);
        }
    }

    /// Ends the turn, and undoes its changes. This is rare, so it reads the state from the log again instead of keeping
    /// a copy.
    pub fn undo_turn(&mut self) -> Result<()> {
        self.turn = None;
        self.state = self.ownership.reload()?;
        self.kept_turns.iter().flatten().cloned().for_each(|change| self.state.apply(change));
        Ok(())
    }

    /// Ends the turn of a timer, undoes its changes, and sets the timer again for later. Returns the timer; `None` if
    /// it is given up.
    pub fn retry_timer(&mut self, name: &str) -> Result<Option<Timer>> {
        self.undo_turn()?;
        let Some(timer) = self.state.timers.get(name).cloned() else { return Ok(None) };
        self.begin_turn();
        let later = TIMER_BACKOFF_S.get(timer.attempt as usize).map(|seconds| {
            let at = self.turn().now + seconds * 1000;
            Timer { at, attempt: timer.attempt + 1, ..timer }
        });
        self.change(later.clone().map_or_else(|| Change::Cancel(name.to_owned()), Change::Set));
        self.keep_turn();
        Ok(later)
    }

    /// Ends the session: the kept changes are durable when this returns. Returns the data with which a reader goes on.
    pub fn finish(mut self) -> Result<SessionEnd> {
        let position = self.ownership.end();
        self.ownership.commit(&self.kept_turns)?;
        for change in self.kept_turns.iter().flatten() {
            if let Change::Leave(id) = change {
                room_dir::remove(&self.dir.lease(*id))?;
            }
        }
        Ok(SessionEnd { dir: self.dir, position, state: self.state })
    }
}

/// The data that remain after a session.
#[derive(Debug)]
pub struct SessionEnd {
    /// The room's folder.
    pub dir: RoomDir,
    /// The position of the session's first record.
    pub position: LogPosition,
    /// The state of the room.
    pub state: State,
}

/// Unix time in milliseconds.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(data: &tempfile::TempDir) -> Session {
        Session::open(data.path(), "ROOMS", "lobby", 7).unwrap()
    }

    fn ana() -> (String, String) {
        ("1".into(), "ana".into())
    }

    fn expire_lease(session: &Session, id: u64) {
        let file = std::fs::File::options().write(true).open(session.dir.lease(id)).unwrap();
        file.set_modified(SystemTime::now() - 2 * READER_LEASE).unwrap();
    }

    #[test]
    fn an_undone_turn_leaves_nothing_and_earlier_ones_stay() {
        let data = tempfile::tempdir().unwrap();
        let mut session = open(&data);
        session.begin_turn();
        session.change(Change::Put(vec![1], vec![1]));
        session.keep_turn();
        session.begin_turn();
        session.join(ana()).unwrap();
        session.change(Change::Delete(vec![1]));
        session.undo_turn().unwrap();
        assert_eq!((session.state.entries.len(), session.state.sockets.len()), (1, 0));
        let before = session.finish().unwrap().state;
        assert_eq!(*open(&data).state(), before);
    }

    #[test]
    fn a_dropped_session_stores_nothing() {
        let data = tempfile::tempdir().unwrap();
        let mut session = open(&data);
        session.begin_turn();
        session.change(Change::Put(vec![1], vec![1]));
        session.keep_turn();
        drop(session);
        assert_eq!(*open(&data).state(), State::default());
    }

    #[test]
    fn all_readers_without_a_server_are_overdue() {
        let data = tempfile::tempdir().unwrap();
        let mut session = open(&data);
        session.begin_turn();
        let ids = (0..40).map(|_| session.join(ana()).unwrap().unwrap()).collect::<Vec<_>>();
        session.keep_turn();
        session.finish().unwrap();
        let mut session = open(&data);
        assert_eq!(session.next_overdue(), None);
        ids.iter().filter(|id| **id != 5).for_each(|id| expire_lease(&session, *id));
        drop(session);
        let mut session = open(&data);
        let mut left = 0;
        while let Some(Overdue::LeaseExpired(id)) = session.next_overdue() {
            session.begin_turn();
            assert!(session.leave(id));
            assert!(session.socket(id).is_some() && !session.state().sockets.contains_key(&id));
            session.keep_turn();
            left += 1;
        }
        assert_eq!((left, session.state.sockets.len()), (39, 1));
        session.finish().unwrap();
    }

    #[test]
    fn socket_numbers_are_never_reused() {
        let data = tempfile::tempdir().unwrap();
        for expected in 1..4 {
            let mut session = open(&data);
            session.begin_turn();
            assert_eq!(session.join(ana()).unwrap(), Some(expected));
            session.keep_turn();
            session.begin_turn();
            assert!(session.leave(expected) && !session.leave(expected));
            session.keep_turn();
            session.finish().unwrap();
        }
    }

    #[test]
    fn a_failed_timer_backs_off_and_is_dropped_in_the_end() {
        let data = tempfile::tempdir().unwrap();
        let mut session = open(&data);
        let set = Timer { name: "t".into(), at: 1, payload: Vec::new(), attempt: 0 };
        session.begin_turn();
        session.change(Change::Set(set.clone()));
        session.keep_turn();
        assert_eq!(session.next_overdue(), Some(Overdue::Timer(set)));
        for seconds in TIMER_BACKOFF_S {
            let before = unix_millis();
            session.begin_turn();
            let later = session.retry_timer("t").unwrap().unwrap();
            assert!((before + seconds * 1000..before + seconds * 1000 + 5_000).contains(&later.at), "{later:?}");
        }
        assert_eq!(session.retry_timer("t").unwrap(), None);
        assert!(session.state.timers.is_empty());
    }
}
