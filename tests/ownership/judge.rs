//! What must be true of everything that clients have seen.

use std::collections::{BTreeMap, HashSet};

use super::database::{Database, Entry, Id};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) promise: Promise,
    pub(super) details: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// A client has seen a message that is not stored at its place.
    NothingIsLost,
    /// A message is stored twice.
    NothingIsDoubled,
    /// A client has missed a message, or got something out of order.
    NothingIsOutOfOrder,
    /// A client was told that a message is not stored, and it is.
    RefusedIsNotStored,
    /// An answer does not know of a message that was seen before the question.
    NoStaleAnswer,
    /// Turns of two owners were seen, and one ran while the other owned the room.
    OneOwner,
    /// The faults are over, and a client still waits.
    Progress,
    /// The rules say that the database has lost something, and it has not.
    NoFalseAlarm,
}

pub(super) struct Judge {
    /// The database keeps everything that it has confirmed, so all promises hold.
    pub(super) is_strict: bool,
    rooms: Vec<Room>,
    refused: HashSet<Id>,
}

#[derive(Default, Clone)]
struct Room {
    /// The message at each number, as clients have seen it.
    seen: BTreeMap<u64, Id>,
    /// The first and the last turn of each tenure, as clients have heard them.
    turns: BTreeMap<u64, (u64, u64)>,
}

impl Judge {
    pub(super) fn new(rooms: usize, is_strict: bool) -> Self {
        Judge { is_strict, rooms: vec![Room::default(); rooms], refused: HashSet::new() }
    }

    /// An older backup was restored: clients start anew.
    pub(super) fn forget_all(&mut self) {
        self.rooms.fill(Room::default());
        self.refused.clear();
    }

    /// The highest number that any client has seen.
    pub(super) fn floor(&self, room: usize) -> u64 {
        self.rooms[room].seen.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// A client hears something that a turn of a tenure has said.
    pub(super) fn heard(&mut self, room: usize, epoch: u64, turn: u64) {
        let (first, last) = self.rooms[room].turns.entry(epoch).or_insert((turn, turn));
        (*first, *last) = (turn.min(*first), turn.max(*last));
    }

    /// A client sees a message at its place.
    pub(super) fn saw(&mut self, room: usize, (number, id): Entry) -> Result<(), Violation> {
        let before = *self.rooms[room].seen.entry(number).or_insert(id);
        if self.is_strict && before != id {
            let details = format!("room {room}, number {number}: seen as {before:?} and as {id:?}");
            return Err(Violation { promise: Promise::NothingIsLost, details });
        }
        self.rooms[room].seen.insert(number, id);
        Ok(())
    }

    pub(super) fn refused(&mut self, id: Id) {
        self.refused.insert(id);
    }

    /// Whether a room may take this message of a client after this one: those between were refused.
    pub(super) fn follows(&self, last: Id, id: Id) -> bool {
        (last.1 + 1..id.1).all(|between| self.refused.contains(&(id.0, between)))
    }

    /// Compares everything with the truth, when nothing happens any more.
    pub(super) fn compare(&self, database: &Database) -> Result<(), Violation> {
        for (index, room) in self.rooms.iter().enumerate() {
            let row = &database.truth().rows[index];
            let fail =
                |promise, details: String| Err(Violation { promise, details: format!("room {index}, {details}") });
            let numbers = row.log.iter().map(|(number, _)| *number);
            if !numbers.eq(1..=row.number) {
                return fail(Promise::NothingIsLost, format!("stored with holes: {:?}", row.log));
            }
            let mut ids = HashSet::new();
            if let Some((number, id)) = row.log.iter().find(|(_, id)| !ids.insert(*id)) {
                return fail(Promise::NothingIsDoubled, format!("{id:?} is stored again at {number}"));
            }
            for (number, id) in &room.seen {
                let entry = (*number, *id);
                let is_stored = row.log.get(*number as usize - 1) == Some(&entry);
                let was_stored = !self.is_strict && database.ever_stored[index].contains(&entry);
                if !is_stored && !was_stored {
                    return fail(Promise::NothingIsLost, format!("{id:?} was seen at {number}: {:?}", row.log));
                }
            }
            if let Some(id) = ids.iter().find(|id| self.is_strict && self.refused.contains(*id)) {
                return fail(Promise::RefusedIsNotStored, format!("{id:?} was refused"));
            }
            let mut last = 0;
            for (epoch, (first, end)) in room.turns.iter().filter(|_| self.is_strict) {
                if *first < last {
                    return fail(Promise::OneOwner, format!("tenure {epoch} began before an older one ended"));
                }
                last = *end;
            }
        }
        Ok(())
    }
}
