//! A visit: one instance owns a room and runs turns in it. It knows the state and the changes, not HTTP.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::room_dir::{self, Home, Owned, Place, Result};
use crate::room_path;
use crate::state::{Change, Socket, State, Timer};

/// A reader whose file was not touched for this time is gone. Its instance touches the file every three seconds.
pub const READER_LEASE: Duration = Duration::from_secs(10);

/// Readers checked in one visit, if none of them is gone. Each check reads the metadata of a file.
const LOOKED_AFTER: usize = 16;

/// The most sockets of a room.
pub const MAX_SOCKETS: usize = 32_768;

/// The pause after each failure of a timer, in seconds. After the last one the timer is given up.
const TIMER_BACKOFF_S: [u64; 6] = [2, 4, 8, 16, 32, 64];

/// An event that no request reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overdue {
    /// The instance that served the reader with this id is gone.
    Silent(u64),
    /// A timer is due.
    Timer(Timer),
}

/// One visit.
#[derive(Debug)]
pub struct Visit {
    /// The room's namespace.
    pub namespace: String,
    /// The room's name.
    pub name: String,
    /// A random number that identifies this history of the room: the same as long as its folder exists.
    pub incarnation: u64,
    home: Home,
    owned: Owned,
    state: State,
    kept: Vec<Vec<Change>>,
    pub(crate) turn: Option<Turn>,
    silent: Vec<u64>,
    random: u64,
}

/// The current turn.
#[derive(Debug)]
pub struct Turn {
    /// Its time.
    pub now: u64,
    changes: Vec<Change>,
    /// The socket that this turn closes. It can still be read.
    parting: Option<Socket>,
    /// The bytes written to storage so far.
    pub written: usize,
    /// The bytes of messages so far.
    pub said: usize,
}

impl Visit {
    /// Begins a visit: owns the room and reads its state. `random` identifies the owner.
    pub fn enter(data: &Path, namespace: &str, name: &str, random: u64) -> Result<Self> {
        let home = Home::open(room_path::folder(data, namespace, name), random)?;
        let (owned, state) = Owned::get(&home, random)?;
        let mut visit = Visit {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            incarnation: home.incarnation()?,
            home,
            owned,
            state,
            kept: Vec::new(),
            turn: None,
            silent: Vec::new(),
            random,
        };
        visit.look_after_readers()?;
        Ok(visit)
    }

    /// Checks some readers, from a random one on. If one of them is gone, it checks all: then more may be gone.
    fn look_after_readers(&mut self) -> Result<()> {
        let ids = self.state.sockets.keys().copied().collect::<Vec<_>>();
        let start = (self.random % ids.len().max(1) as u64) as usize;
        for (looked_at, id) in ids.iter().cycle().skip(start).take(ids.len()).enumerate() {
            if looked_at >= LOOKED_AFTER && self.silent.is_empty() {
                break;
            }
            if room_dir::is_older_than(&self.home.lease(*id), READER_LEASE)? {
                self.silent.push(*id);
            }
        }
        Ok(())
    }

    /// The overdue event of the next turn.
    pub fn next_overdue(&mut self) -> Option<Overdue> {
        self.silent.retain(|id| self.state.sockets.contains_key(id));
        let silent = self.silent.first().map(|id| Overdue::Silent(*id));
        silent.or_else(|| self.state.due(unix_millis()).cloned().map(Overdue::Timer))
    }

    /// Begins a turn.
    pub fn begin(&mut self) {
        self.turn = Some(Turn { now: unix_millis(), changes: Vec::new(), parting: None, written: 0, said: 0 });
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
        let lease = self.home.lease(id);
        room_dir::at(&lease, std::fs::write(&lease, b"here"))?;
        self.change(Change::Join(Socket { id, user, tags: Vec::new(), attachment: Vec::new() }));
        Ok(Some(id))
    }

    /// Removes a reader. Returns whether it existed.
    pub fn part(&mut self, id: u64) -> bool {
        let parting = self.state.sockets.get(&id).cloned();
        let is_here = parting.is_some();
        self.turn().parting = parting;
        if is_here {
            self.change(Change::Part(id));
        }
        is_here
    }

    /// A connected socket, or the one that this turn closes.
    pub fn socket(&self, id: u64) -> Option<&Socket> {
        let parting = self.turn.as_ref().and_then(|turn| turn.parting.as_ref()).filter(|socket| socket.id == id);
        self.state.sockets.get(&id).or(parting)
    }

    /// Ends the turn, and keeps its changes.
    pub fn keep(&mut self) {
        if let Some(turn) = self.turn.take().filter(|turn| !turn.changes.is_empty()) {
            self.kept.push(turn.changes);
        }
    }

    /// Ends the turn, and undoes its changes. This is rare, so it reads the state from the log again instead of keeping
    /// a copy.
    pub fn undo(&mut self) -> Result<()> {
        self.turn = None;
        self.state = self.owned.read_again()?;
        self.kept.iter().flatten().cloned().for_each(|change| self.state.apply(change));
        Ok(())
    }

    /// Ends the turn of a timer, undoes its changes, and sets the timer again for later. Returns the timer; `None` if
    /// it is given up.
    pub fn put_off(&mut self, name: &str) -> Result<Option<Timer>> {
        self.undo()?;
        let Some(timer) = self.state.timers.get(name).cloned() else { return Ok(None) };
        self.begin();
        let later = TIMER_BACKOFF_S.get(timer.attempt as usize).map(|seconds| {
            let at = self.turn().now + seconds * 1000;
            Timer { at, attempt: timer.attempt + 1, ..timer }
        });
        self.change(later.clone().map_or_else(|| Change::Cancel(name.to_owned()), Change::Set));
        self.keep();
        Ok(later)
    }

    /// Ends the visit: the kept changes are durable when this returns. Returns the data with which a reader goes on.
    pub fn leave(mut self) -> Result<Left> {
        let place = self.owned.end();
        self.owned.commit(&self.kept)?;
        for change in self.kept.iter().flatten() {
            if let Change::Part(id) = change {
                room_dir::remove(&self.home.lease(*id))?;
            }
        }
        Ok(Left { home: self.home, place, state: self.state })
    }
}

/// The data that remain after a visit.
#[derive(Debug)]
pub struct Left {
    /// The room's folder.
    pub home: Home,
    /// The place of the visit's first record.
    pub place: Place,
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

    fn enter(data: &tempfile::TempDir) -> Visit {
        Visit::enter(data.path(), "ROOMS", "lobby", 7).unwrap()
    }

    fn ana() -> (String, String) {
        ("1".into(), "ana".into())
    }

    fn silence(visit: &Visit, id: u64) {
        let file = std::fs::File::options().write(true).open(visit.home.lease(id)).unwrap();
        file.set_modified(SystemTime::now() - 2 * READER_LEASE).unwrap();
    }

    #[test]
    fn an_undone_turn_leaves_nothing_and_earlier_ones_stay() {
        let data = tempfile::tempdir().unwrap();
        let mut visit = enter(&data);
        visit.begin();
        visit.change(Change::Put(vec![1], vec![1]));
        visit.keep();
        visit.begin();
        visit.join(ana()).unwrap();
        visit.change(Change::Delete(vec![1]));
        visit.undo().unwrap();
        assert_eq!((visit.state.entries.len(), visit.state.sockets.len()), (1, 0));
        let before = visit.leave().unwrap().state;
        assert_eq!(*enter(&data).state(), before);
    }

    #[test]
    fn a_dropped_session_stores_nothing() {
        let data = tempfile::tempdir().unwrap();
        let mut visit = enter(&data);
        visit.begin();
        visit.change(Change::Put(vec![1], vec![1]));
        visit.keep();
        drop(visit);
        assert_eq!(*enter(&data).state(), State::default());
    }

    #[test]
    fn all_readers_without_a_server_are_overdue() {
        let data = tempfile::tempdir().unwrap();
        let mut visit = enter(&data);
        visit.begin();
        let ids = (0..40).map(|_| visit.join(ana()).unwrap().unwrap()).collect::<Vec<_>>();
        visit.keep();
        visit.leave().unwrap();
        let mut visit = enter(&data);
        assert_eq!(visit.next_overdue(), None);
        ids.iter().filter(|id| **id != 5).for_each(|id| silence(&visit, *id));
        drop(visit);
        let mut visit = enter(&data);
        let mut told = 0;
        while let Some(Overdue::Silent(id)) = visit.next_overdue() {
            visit.begin();
            assert!(visit.part(id));
            assert!(visit.socket(id).is_some() && !visit.state().sockets.contains_key(&id));
            visit.keep();
            told += 1;
        }
        assert_eq!((told, visit.state.sockets.len()), (39, 1));
        visit.leave().unwrap();
    }

    #[test]
    fn socket_numbers_are_never_reused() {
        let data = tempfile::tempdir().unwrap();
        for expected in 1..4 {
            let mut visit = enter(&data);
            visit.begin();
            assert_eq!(visit.join(ana()).unwrap(), Some(expected));
            visit.keep();
            visit.begin();
            assert!(visit.part(expected) && !visit.part(expected));
            visit.keep();
            visit.leave().unwrap();
        }
    }

    #[test]
    fn a_failed_timer_backs_off_and_is_dropped_in_the_end() {
        let data = tempfile::tempdir().unwrap();
        let mut visit = enter(&data);
        let set = Timer { name: "t".into(), at: 1, payload: Vec::new(), attempt: 0 };
        visit.begin();
        visit.change(Change::Set(set.clone()));
        visit.keep();
        assert_eq!(visit.next_overdue(), Some(Overdue::Timer(set)));
        for seconds in TIMER_BACKOFF_S {
            let before = unix_millis();
            visit.begin();
            let later = visit.put_off("t").unwrap().unwrap();
            assert!((before + seconds * 1000..before + seconds * 1000 + 5_000).contains(&later.at), "{later:?}");
        }
        assert_eq!(visit.put_off("t").unwrap(), None);
        assert!(visit.state.timers.is_empty());
    }
}
