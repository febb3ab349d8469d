//! The rooms that the driver knows: their addresses and rows, the logs that hold them, and the turns that are not
//! confirmed. The rules of ownership know none of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::queue::Open;
use crate::cluster::ownership::{RoomId, Tenure};
use crate::model::Address;
use crate::store::commit::{CommitListener, Receipt};
use crate::store::engine::Record;
use crate::store::error::CommitError;
use crate::store::owner::Owner;
use crate::store::records::RoomRecord;
use crate::store::truth::TenureListener;

/// The rooms, by the names that the rules have for them.
#[derive(Default)]
pub(super) struct Rooms {
    ids: HashMap<Address, RoomId>,
    rooms: HashMap<RoomId, Room>,
    last: u64,
}

/// The state of a room in the rules of ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Closed,
    /// It is claimed and read.
    Opening,
    Open(Tenure),
    /// It was forgotten, and its row may not have been changed yet.
    LettingGo,
}

/// A room.
pub(super) struct Room {
    pub(super) address: Address,
    pub(super) state: State,
    /// The last confirmed record. The id is that of its row, and the epoch is the token of its tenure.
    pub(super) record: RoomRecord,
    /// False if nothing is stored of it.
    pub(super) is_stored: bool,
    /// Its row was written without its fence.
    pub(super) is_imported: bool,
    /// Logs that want it.
    pub(super) opens: VecDeque<Open>,
    pub(super) log: Log,
    /// Turns that are not confirmed, in order.
    pub(super) turns: VecDeque<Waiting>,
    /// How many of them the rules know.
    pub(super) fed: usize,
    /// The position of the last turn that the rules know.
    pub(super) position: u64,
    /// The number of the commit of the last round with this room.
    pub(super) sent: u64,
    /// Since when no log has it.
    pub(super) unused_since: Option<Instant>,
    /// It runs no turns, because it shall go to another node.
    pub(super) is_leaving: bool,
    /// Another node has offered it, and it has not come yet.
    pub(super) is_offered: bool,
    /// The tenure that it continues, until a log knows it.
    pub(super) continues: Option<Tenure>,
}

/// The log of a room.
pub(super) enum Log {
    /// There is none.
    None,
    /// It may hand in turns.
    Open(Option<Arc<dyn TenureListener>>),
    /// Its tenure has ended, for this reason, and it has not been closed yet.
    Ended(CommitError),
}

/// A turn that is not confirmed.
pub(super) struct Waiting {
    /// Its position for the rules, once they know it.
    pub(super) position: u64,
    /// The number of the room's last commit from this turn on.
    pub(super) number: u64,
    /// Absent for a proof.
    pub(super) records: Option<Vec<Record>>,
    pub(super) deletes_room: bool,
    pub(super) bytes: usize,
    pub(super) at: Instant,
    /// Absent if its room was told that it failed.
    pub(super) notify: Option<Notify>,
}

/// Those that wait for a turn.
pub(super) struct Notify {
    pub(super) receipt: Receipt,
    pub(super) listener: Arc<dyn CommitListener>,
    /// Held until the turn is confirmed.
    pub(super) owner: Arc<Owner>,
}

impl Rooms {
    /// The room with this address, which is made if it is not known.
    pub(super) fn at(&mut self, address: &Address) -> RoomId {
        if let Some(id) = self.ids.get(address) {
            return *id;
        }
        self.last += 1;
        let id = RoomId(self.last);
        self.ids.insert(address.clone(), id);
        self.rooms.insert(id, Room::new(address.clone()));
        id
    }

    pub(super) fn get(&self, id: RoomId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: RoomId) -> Option<&mut Room> {
        self.rooms.get_mut(&id)
    }

    /// The room with this address, if it is known.
    pub(super) fn known(&self, address: &Address) -> Option<RoomId> {
        self.ids.get(address).copied()
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = (RoomId, &mut Room)> {
        self.rooms.iter_mut().map(|(id, room)| (*id, room))
    }

    /// Whether a turn of any room is not confirmed.
    pub(super) fn have_turns(&self) -> bool {
        self.rooms.values().any(|room| !room.turns.is_empty())
    }

    /// Removes a room that nothing needs.
    pub(super) fn tidy(&mut self, id: RoomId) {
        let is_unused = |room: &Room| {
            room.state == State::Closed
                && room.opens.is_empty()
                && matches!(room.log, Log::None)
                && room.turns.is_empty()
                && !room.is_offered
        };
        if let Some(room) = self.rooms.get(&id).filter(|room| is_unused(room)) {
            self.ids.remove(&room.address);
            self.rooms.remove(&id);
        }
    }
}

impl Room {
    fn new(address: Address) -> Self {
        Room {
            address,
            state: State::Closed,
            record: RoomRecord { id: 0, epoch: 0, number: 0, bytes: 0, generation: 0, data_version: 0 },
            is_stored: false,
            is_imported: false,
            opens: VecDeque::new(),
            log: Log::None,
            turns: VecDeque::new(),
            fed: 0,
            position: 0,
            sent: 0,
            unused_since: None,
            is_leaving: false,
            is_offered: false,
            continues: None,
        }
    }

    pub(super) fn tenure(&self) -> Option<Tenure> {
        match self.state {
            State::Open(tenure) => Some(tenure),
            State::Closed | State::Opening | State::LettingGo => None,
        }
    }

    /// The records of its turns with these numbers, in order.
    pub(super) fn records(&self, after: u64, until: u64) -> Vec<Record> {
        let turns = self.turns.iter().take(self.fed).filter(|turn| after < turn.number && turn.number <= until);
        turns.filter_map(|turn| turn.records.as_ref()).flatten().cloned().collect()
    }
}
