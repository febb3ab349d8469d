//! Reads the messages to one reader: it polls the end of the room's log.
//!
//! A reader does not own the room. So before it passes messages on, it syncs the log itself, and checks that no other
//! owner has taken the room from the writer: a message that a reader got cannot be lost later.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};

use crate::log::{self, Parsed};
use crate::room_dir::{self, Error, LogPosition, Result, RoomDir};
use crate::session::{READER_LEASE, SessionEnd, unix_millis};
use crate::state::Change;

/// An event for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message, and the id that the room gave it.
    Message {
        /// Absent if it has none.
        id: Option<String>,
        /// Its text.
        text: String,
    },
    /// The room closes the socket, with a code and a reason.
    Closed(u16, String),
}

/// Follows the log for one reader.
#[derive(Debug)]
pub struct LogReader {
    socket: u64,
    dir: RoomDir,
    log: File,
    position: LogPosition,
    /// The due times of the room's timers, by name.
    timers: BTreeMap<String, u64>,
    /// The ids of all readers of the room: each reader watches the next one.
    readers: BTreeSet<u64>,
}

impl LogReader {
    /// Reads the messages to a socket, from the start of a session on.
    pub fn new(socket: u64, end: SessionEnd) -> Result<Self> {
        let SessionEnd { dir, position, state } = end;
        let path = dir.log(position.term);
        let log = room_dir::with_path(&path, File::open(&path))?;
        let timers = state.timers.into_values().map(|timer| (timer.name, timer.at)).collect();
        Ok(LogReader { socket, dir, log, position, timers, readers: state.sockets.into_keys().collect() })
    }

    /// The messages since the last call.
    pub fn poll(&mut self) -> Result<Vec<Received>> {
        let mut received = Vec::new();
        loop {
            let path = self.dir.log(self.position.term);
            match fs::metadata(&path) {
                Ok(metadata) if metadata.len() <= self.position.offset => return Ok(received),
                Ok(_) => {
                    let (changes, position) = self.read(u64::MAX)?;
                    if position == self.position {
                        return Ok(received);
                    }
                    room_dir::with_path(&path, self.log.sync_data())?;
                    // If not, the next poll finds the new log.
                    if !self.dir.is_current(self.position.term)? {
                        return Ok(received);
                    }
                    self.apply(changes, position, &mut received);
                    return Ok(received);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => self.switch_log(&mut received)?,
                Err(error) => return Err(Error::Disk(path, error)),
            }
        }
    }

    /// Switches to a new log: first reads the rest of the old one, as far as the new one includes it.
    fn switch_log(&mut self, received: &mut Vec<Received>) -> Result<()> {
        let (term, _) = self.dir.terms()?;
        let path = self.dir.log(term);
        let mut log = match File::open(&path) {
            Ok(log) => log,
            // Another new log was started meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::Disk(path, error)),
        };
        let mut header = [0; log::HEADER_BYTES];
        room_dir::with_path(&path, log.read_exact(&mut header))?;
        let Some((number, length)) = log::first_record_header(&header) else { return Err(Error::Damaged(path)) };
        let (changes, position) = self.read(number)?;
        if position.number == number {
            self.apply(changes, position, received);
        } else {
            // Since the last poll there was another log between these two, and its messages are missed.
            received.push(Received::Closed(1013, "this reader fell too far behind".into()));
        }
        self.log = log;
        self.position = LogPosition { term, offset: length as u64, number };
        Ok(())
    }

    /// Reads the complete records from the current position up to the number `last`. Returns their changes and the
    /// position after them.
    fn read(&mut self, last: u64) -> Result<(Vec<Change>, LogPosition)> {
        let mut bytes = Vec::new();
        let from = SeekFrom::Start(self.position.offset);
        let read = self.log.seek(from).and_then(|_| self.log.read_to_end(&mut bytes));
        room_dir::with_path(&self.dir.log(self.position.term), read)?;
        let (mut changes, mut at, mut number) = (Vec::new(), 0, self.position.number);
        while number < last
            && let Parsed::Record(content, next) = log::parse_record(&bytes, at, number + 1)
        {
            changes.extend(content);
            (at, number) = (next, number + 1);
        }
        Ok((changes, LogPosition { offset: self.position.offset + at as u64, number, ..self.position }))
    }

    fn apply(&mut self, changes: Vec<Change>, position: LogPosition, received: &mut Vec<Received>) {
        self.position = position;
        for change in changes {
            match change {
                Change::Send(text, to) if to.contains(&self.socket) => {
                    received.push(Received::Message { id: None, text });
                }
                Change::SendWithId(id, text, to) if to.contains(&self.socket) => {
                    received.push(Received::Message { id: Some(id), text });
                }
                Change::Close(id, code, reason) if id == self.socket => received.push(Received::Closed(code, reason)),
                Change::Join(socket) => drop(self.readers.insert(socket.id)),
                Change::Leave(id) if id == self.socket => {
                    let reason = "this reader's lease has ended";
                    received.push(Received::Closed(1001, reason.into()));
                }
                Change::Leave(id) => drop(self.readers.remove(&id)),
                Change::Set(timer) => drop(self.timers.insert(timer.name, timer.at)),
                Change::Cancel(name) => drop(self.timers.remove(&name)),
                _ => {}
            }
        }
    }

    /// Renews the reader's lease.
    pub fn renew_lease(&self) -> Result<()> {
        let lease = self.dir.lease(self.socket);
        // A missing file is not created again: the room was already told that this reader has left.
        match fs::OpenOptions::new().write(true).truncate(true).open(&lease) {
            Ok(mut file) => room_dir::with_path(&lease, std::io::Write::write_all(&mut file, b"here")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::Disk(lease, error)),
        }
    }

    /// Whether a timer is due or the next reader's lease has ended, so that a session is needed.
    pub fn has_overdue_event(&self) -> Result<bool> {
        let now = unix_millis();
        if self.timers.values().any(|at| *at <= now) {
            return Ok(true);
        }
        let next = self.readers.range(self.socket + 1..).next().or_else(|| self.readers.first());
        match next.filter(|next| **next != self.socket) {
            Some(next) => room_dir::is_older_than(&self.dir.lease(*next), READER_LEASE),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::room_dir::Ownership;
    use crate::session::Session;

    fn open(data: &Path) -> Session {
        Session::open(data, "ROOMS", "lobby", 7).unwrap()
    }

    fn send(data: &Path, text: &str) {
        let mut session = open(data);
        session.begin_turn();
        let all = session.state().sockets.keys().copied().collect();
        session.change(Change::Send(text.into(), all));
        session.keep_turn();
        session.finish().unwrap();
    }

    fn join(data: &Path) -> LogReader {
        let mut session = open(data);
        session.begin_turn();
        let id = session.join(("1".into(), "ana".into())).unwrap().unwrap();
        session.change(Change::Send("welcome".into(), vec![id]));
        session.keep_turn();
        LogReader::new(id, session.finish().unwrap()).unwrap()
    }

    fn messages(texts: &[&str]) -> Vec<Received> {
        texts.iter().map(|text| Received::Message { id: None, text: (*text).into() }).collect()
    }

    #[test]
    fn a_reader_receives_its_welcome_and_later_messages_once() {
        let data = tempfile::tempdir().unwrap();
        send(data.path(), "before");
        let mut reader = join(data.path());
        send(data.path(), "a");
        assert_eq!(reader.poll().unwrap(), messages(&["welcome", "a"]));
        assert_eq!(reader.poll().unwrap(), []);
        send(data.path(), "b");
        send(data.path(), "c");
        assert_eq!(reader.poll().unwrap(), messages(&["b", "c"]));
    }

    #[test]
    fn a_reader_receives_the_id_of_a_message() {
        let data = tempfile::tempdir().unwrap();
        let mut reader = join(data.path());
        reader.poll().unwrap();
        let mut session = open(data.path());
        session.begin_turn();
        session.change(Change::SendWithId("7.0f".into(), "hello".into(), vec![reader.socket]));
        session.change(Change::SendWithId("8.0f".into(), "not for this one".into(), vec![reader.socket + 1]));
        session.keep_turn();
        session.finish().unwrap();
        assert_eq!(reader.poll().unwrap(), [Received::Message { id: Some("7.0f".into()), text: "hello".into() }]);
    }

    #[test]
    fn a_reader_misses_nothing_when_the_log_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let (mut reader, mut behind) = (join(data.path()), join(data.path()));
        reader.poll().unwrap();
        let mut texts = Vec::new();
        let term = reader.position.term;
        while open(data.path()).finish().unwrap().position.term < term + 2 {
            let text = format!("{} {}", texts.len(), "x".repeat(20_000));
            send(data.path(), &text);
            assert_eq!(reader.poll().unwrap(), messages(&[&text]));
            texts.push(text);
        }
        assert!(
            matches!(behind.poll().unwrap()[..], [Received::Closed(1013, _)]),
            "a reader that missed messages is closed"
        );
    }

    #[test]
    fn writes_of_a_former_owner_are_not_received() {
        let data = tempfile::tempdir().unwrap();
        let mut reader = join(data.path());
        reader.poll().unwrap();
        let (mut slow, _) = Ownership::acquire(&reader.dir, 1).unwrap();
        let lock = data.path().join("=_52_4f_4f_4d_53/=lobby/lock.1");
        let file = File::options().write(true).open(&lock).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * room_dir::LEASE).unwrap();
        let (other, _) = Ownership::acquire(&reader.dir, 2).unwrap();
        slow.commit(&[vec![Change::Send("never".into(), vec![1])]]).unwrap_err();
        assert_eq!(reader.poll().unwrap(), []);
        drop(other);
        send(data.path(), "instead");
        assert_eq!(reader.poll().unwrap(), messages(&["instead"]));
    }

    #[test]
    fn nothing_of_the_former_owner_is_received_during_takeover() {
        let data = tempfile::tempdir().unwrap();
        let mut reader = join(data.path());
        reader.poll().unwrap();
        let (mut slow, _) = Ownership::acquire(&reader.dir, 1).unwrap();
        // The new owner has its lock and has read the log, but has not created its new log yet.
        fs::write(data.path().join("=_52_4f_4f_4d_53/=lobby/lock.2"), [0; 8]).unwrap();
        slow.commit(&[vec![Change::Send("never".into(), vec![1])]]).unwrap_err();
        assert_eq!(reader.poll().unwrap(), []);
    }

    #[test]
    fn each_reader_watches_the_next_one() {
        let data = tempfile::tempdir().unwrap();
        let mut readers = [join(data.path()), join(data.path()), join(data.path())];
        for reader in &mut readers {
            reader.poll().unwrap();
        }
        let overdue = |readers: &[LogReader]| {
            readers.iter().map(|reader| reader.has_overdue_event().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(overdue(&readers), [false; 3]);
        let file = File::options().write(true).open(readers[1].dir.lease(2)).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * READER_LEASE).unwrap();
        assert_eq!(overdue(&readers), [true, false, false]);
        readers[1].renew_lease().unwrap();
        assert_eq!(overdue(&readers), [false; 3]);
    }
}
