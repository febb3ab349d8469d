//! Reads the messages to one reader: it polls the end of the room's log.
//!
//! A reader does not own the room. So before it passes messages on, it syncs the log itself, and checks that no other
//! owner has taken the room from the writer: a message that a reader got cannot be lost later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};

use crate::log::{self, Next};
use crate::room_dir::{self, Home, Place, Result, Trouble};
use crate::session::{Left, READER_LEASE, unix_millis};
use crate::state::Change;

/// An event for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Said(String),
    /// The room closes the socket, with a code and a reason.
    Closed(u16, String),
}

/// Follows the log for one reader.
#[derive(Debug)]
pub struct Ear {
    socket: u64,
    home: Home,
    log: File,
    place: Place,
    /// The due times of the room's timers, by name.
    timers: BTreeMap<String, u64>,
    /// The ids of all readers of the room: each reader watches the next one.
    readers: BTreeSet<u64>,
}

impl Ear {
    /// Reads the messages to a socket, from the start of a visit on.
    pub fn new(socket: u64, left: Left) -> Result<Self> {
        let Left { home, place, state } = left;
        let path = home.log(place.term);
        let log = room_dir::at(&path, File::open(&path))?;
        let timers = state.timers.into_values().map(|timer| (timer.name, timer.at)).collect();
        Ok(Ear { socket, home, log, place, timers, readers: state.sockets.into_keys().collect() })
    }

    /// The messages since the last call.
    pub fn hear(&mut self) -> Result<Vec<Heard>> {
        let mut heard = Vec::new();
        loop {
            let path = self.home.log(self.place.term);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.len() <= self.place.offset => return Ok(heard),
                Ok(_) => {
                    let (changes, place) = self.read(u64::MAX)?;
                    if place == self.place {
                        return Ok(heard);
                    }
                    room_dir::at(&path, self.log.sync_data())?;
                    // If not, the next poll finds the new log.
                    if !self.home.is_current(self.place.term)? {
                        return Ok(heard);
                    }
                    self.follow(changes, place, &mut heard);
                    return Ok(heard);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => self.move_on(&mut heard)?,
                Err(error) => return Err(Trouble::Disk(path, error)),
            }
        }
    }

    /// Switches to a new log: first reads the rest of the old one, as far as the new one includes it.
    fn move_on(&mut self, heard: &mut Vec<Heard>) -> Result<()> {
        let (term, _) = self.home.terms()?;
        let path = self.home.log(term);
        let mut log = match File::open(&path) {
            Ok(log) => log,
            // Another new log was started meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Trouble::Disk(path, error)),
        };
        let mut header = [0; log::PEEK_BYTES];
        room_dir::at(&path, log.read_exact(&mut header))?;
        let Some((number, length)) = log::number_and_length(&header) else { return Err(Trouble::Damaged(path)) };
        let (changes, place) = self.read(number)?;
        if place.number == number {
            self.follow(changes, place, heard);
        } else {
            // Since the last poll there was another log between these two, and its messages are missed.
            heard.push(Heard::Closed(1013, "this reader fell too far behind".into()));
        }
        self.log = log;
        self.place = Place { term, offset: length as u64, number };
        Ok(())
    }

    /// Reads the complete records from the current place up to the number `last`. Returns their changes and the place
    /// after them.
    fn read(&mut self, last: u64) -> Result<(Vec<Change>, Place)> {
        let mut bytes = Vec::new();
        let from = SeekFrom::Start(self.place.offset);
        let read = self.log.seek(from).and_then(|_| self.log.read_to_end(&mut bytes));
        room_dir::at(&self.home.log(self.place.term), read)?;
        let (mut changes, mut at, mut number) = (Vec::new(), 0, self.place.number);
        while number < last
            && let Next::Record(found, next) = log::next(&bytes, at, number + 1)
        {
            changes.extend(found);
            (at, number) = (next, number + 1);
        }
        Ok((changes, Place { offset: self.place.offset + at as u64, number, ..self.place }))
    }

    fn follow(&mut self, changes: Vec<Change>, place: Place, heard: &mut Vec<Heard>) {
        self.place = place;
        for change in changes {
            match change {
                Change::Say(text, to) if to.contains(&self.socket) => heard.push(Heard::Said(text)),
                Change::Close(id, code, reason) if id == self.socket => heard.push(Heard::Closed(code, reason)),
                Change::Join(socket) => drop(self.readers.insert(socket.id)),
                Change::Part(id) if id == self.socket => {
                    let reason = "this reader's lease has ended";
                    heard.push(Heard::Closed(1001, reason.into()));
                }
                Change::Part(id) => drop(self.readers.remove(&id)),
                Change::Set(timer) => drop(self.timers.insert(timer.name, timer.at)),
                Change::Cancel(name) => drop(self.timers.remove(&name)),
                _ => {}
            }
        }
    }

    /// Renews the reader's lease.
    pub fn renew(&self) -> Result<()> {
        let lease = self.home.lease(self.socket);
        // A missing file is not created again: the room was already told that this reader has left.
        match fs::OpenOptions::new().write(true).truncate(true).open(&lease) {
            Ok(mut file) => room_dir::at(&lease, std::io::Write::write_all(&mut file, b"here")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Trouble::Disk(lease, error)),
        }
    }

    /// Whether a timer is due or the next reader's lease has ended, so that a visit is needed.
    pub fn is_something_overdue(&self) -> Result<bool> {
        let now = unix_millis();
        if self.timers.values().any(|at| *at <= now) {
            return Ok(true);
        }
        let next = self.readers.range(self.socket + 1..).next().or_else(|| self.readers.first());
        match next.filter(|next| **next != self.socket) {
            Some(next) => room_dir::is_older_than(&self.home.lease(*next), READER_LEASE),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::room_dir::Owned;
    use crate::session::Visit;

    fn enter(data: &Path) -> Visit {
        Visit::enter(data, "ROOMS", "lobby", 7).unwrap()
    }

    fn say(data: &Path, text: &str) {
        let mut visit = enter(data);
        visit.begin();
        let everyone = visit.state().sockets.keys().copied().collect();
        visit.change(Change::Say(text.into(), everyone));
        visit.keep();
        visit.leave().unwrap();
    }

    fn join(data: &Path) -> Ear {
        let mut visit = enter(data);
        visit.begin();
        let id = visit.join(("1".into(), "ana".into())).unwrap().unwrap();
        visit.change(Change::Say("welcome".into(), vec![id]));
        visit.keep();
        Ear::new(id, visit.leave().unwrap()).unwrap()
    }

    fn said(texts: &[&str]) -> Vec<Heard> {
        texts.iter().map(|text| Heard::Said((*text).into())).collect()
    }

    #[test]
    fn a_reader_receives_its_welcome_and_later_messages_once() {
        let data = tempfile::tempdir().unwrap();
        say(data.path(), "before");
        let mut ear = join(data.path());
        say(data.path(), "a");
        assert_eq!(ear.hear().unwrap(), said(&["welcome", "a"]));
        assert_eq!(ear.hear().unwrap(), []);
        say(data.path(), "b");
        say(data.path(), "c");
        assert_eq!(ear.hear().unwrap(), said(&["b", "c"]));
    }

    #[test]
    fn a_reader_misses_nothing_when_the_log_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let (mut ear, mut behind) = (join(data.path()), join(data.path()));
        ear.hear().unwrap();
        let mut texts = Vec::new();
        let term = ear.place.term;
        while enter(data.path()).leave().unwrap().place.term < term + 2 {
            let text = format!("{} {}", texts.len(), "x".repeat(20_000));
            say(data.path(), &text);
            assert_eq!(ear.hear().unwrap(), said(&[&text]));
            texts.push(text);
        }
        assert!(
            matches!(behind.hear().unwrap()[..], [Heard::Closed(1013, _)]),
            "a reader that missed messages is closed"
        );
    }

    #[test]
    fn writes_of_a_former_owner_are_not_received() {
        let data = tempfile::tempdir().unwrap();
        let mut ear = join(data.path());
        ear.hear().unwrap();
        let (mut slow, _) = Owned::get(&ear.home, 1).unwrap();
        let lock = data.path().join("=_52_4f_4f_4d_53/=lobby/lock.1");
        let file = File::options().write(true).open(&lock).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * room_dir::LEASE).unwrap();
        let (other, _) = Owned::get(&ear.home, 2).unwrap();
        slow.commit(&[vec![Change::Say("never".into(), vec![1])]]).unwrap_err();
        assert_eq!(ear.hear().unwrap(), []);
        drop(other);
        say(data.path(), "instead");
        assert_eq!(ear.hear().unwrap(), said(&["instead"]));
    }

    #[test]
    fn nothing_of_the_former_owner_is_received_during_takeover() {
        let data = tempfile::tempdir().unwrap();
        let mut ear = join(data.path());
        ear.hear().unwrap();
        let (mut slow, _) = Owned::get(&ear.home, 1).unwrap();
        // The new owner has its lock and has read the log, but has not created its new log yet.
        fs::write(data.path().join("=_52_4f_4f_4d_53/=lobby/lock.2"), [0; 8]).unwrap();
        slow.commit(&[vec![Change::Say("never".into(), vec![1])]]).unwrap_err();
        assert_eq!(ear.hear().unwrap(), []);
    }

    #[test]
    fn each_reader_watches_the_next_one() {
        let data = tempfile::tempdir().unwrap();
        let mut ears = [join(data.path()), join(data.path()), join(data.path())];
        for ear in &mut ears {
            ear.hear().unwrap();
        }
        let overdue = |ears: &[Ear]| ears.iter().map(|ear| ear.is_something_overdue().unwrap()).collect::<Vec<_>>();
        assert_eq!(overdue(&ears), [false; 3]);
        let file = File::options().write(true).open(ears[1].home.lease(2)).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * READER_LEASE).unwrap();
        assert_eq!(overdue(&ears), [true, false, false]);
        ears[1].renew().unwrap();
        assert_eq!(overdue(&ears), [false; 3]);
    }
}
