//! A node of the tests: it claims rooms and commits entries through a lane, and knows what was confirmed.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use dormouse::cluster::ownership::{Answer, Claimed, Commit, Fence, NodeId, Proof, RoomId, Rows, Statement};
use dormouse::model::Address;
use dormouse::store::Record;
use dormouse::store::postgres::{ClaimedRow, Contents, Executed, Lane, Purpose, RowId, Target};

/// A room that a node owns, as it knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owned {
    pub(crate) row: RowId,
    pub(crate) fence: Fence,
    pub(crate) number: u64,
}

/// The name of a room for the rules is its number in its address.
pub(crate) fn address(room: RoomId) -> Address {
    Address::new("ROOMS", &format!("room-{}", room.0)).unwrap()
}

pub(crate) struct Node {
    pub(crate) me: NodeId,
    target: Target,
    pub(crate) lane: Lane,
    pub(crate) owned: BTreeMap<RoomId, Owned>,
}

impl Node {
    pub(crate) async fn new(target: &Target, me: NodeId) -> Self {
        let lane = Lane::connect(target, Purpose::Lane, me).await.unwrap();
        Node { me, target: target.clone(), lane, owned: BTreeMap::new() }
    }

    /// Connects again, until it works.
    pub(crate) async fn reconnect(&mut self) {
        loop {
            match Lane::connect(&self.target, Purpose::Lane, self.me).await {
                Ok(lane) => return self.lane = lane,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        }
    }

    pub(crate) fn contents(&self, records: HashMap<RoomId, Vec<Record>>) -> Contents {
        let rows = self.owned.iter().map(|(room, owned)| (*room, owned.row)).collect();
        Contents { rows, records, ..Contents::default() }
    }

    /// Claims rooms, and replaces these owners.
    pub(crate) async fn claim(&mut self, rooms: &[RoomId], dead: &[NodeId]) -> Executed {
        let contents =
            Contents { addresses: rooms.iter().map(|room| (*room, address(*room))).collect(), ..Contents::default() };
        let statement = Statement::Claim { rooms: rooms.to_vec(), dead: dead.to_vec() };
        let executed = self.lane.execute(&statement, &contents).await;
        if let Answer::Done { rows: Rows::Claimed { claimed, .. }, .. } = &executed.answer {
            for Claimed { room, fence, number, .. } in claimed {
                let row = executed.claimed.iter().find(|row| row.room == *room).unwrap().row;
                self.owned.insert(*room, Owned { row, fence: *fence, number: *number });
            }
        }
        executed
    }

    /// Claims one room that is free.
    pub(crate) async fn own(&mut self, room: RoomId) -> ClaimedRow {
        let executed = self.claim(&[room], &[]).await;
        *executed.claimed.first().unwrap_or_else(|| panic!("{executed:?}"))
    }

    /// The next commit of a room, as a row of a round.
    pub(crate) fn next(&self, room: RoomId) -> Commit {
        let Owned { fence, number, .. } = self.owned[&room];
        Commit { room, fence, base: number, number: number + 1 }
    }

    pub(crate) fn proof(&self, room: RoomId) -> Proof {
        let Owned { fence, number, .. } = self.owned[&room];
        Proof { room, fence, number }
    }

    /// Commits records in one room, whose next number it takes. True if it was confirmed.
    pub(crate) async fn commit(&mut self, room: RoomId, records: Vec<Record>) -> bool {
        let executed = self.round(&[(room, records)], &[]).await;
        let is_confirmed = confirmed(&executed) == [room];
        if is_confirmed {
            self.owned.get_mut(&room).unwrap().number += 1;
        }
        is_confirmed
    }

    /// Runs a round. It changes no number here.
    pub(crate) async fn round(&mut self, commits: &[(RoomId, Vec<Record>)], proofs: &[RoomId]) -> Executed {
        let statement = Statement::Round {
            commits: commits.iter().map(|(room, _)| self.next(*room)).collect(),
            proofs: proofs.iter().map(|room| self.proof(*room)).collect(),
        };
        let contents = self.contents(commits.iter().cloned().collect());
        self.lane.execute(&statement, &contents).await
    }

    pub(crate) async fn resolve(&mut self, rooms: &[RoomId]) -> Executed {
        let named = rooms.iter().map(|room| (*room, self.owned[room].fence.token)).collect();
        let contents = self.contents(HashMap::new());
        self.lane.execute(&Statement::Resolve { rooms: named }, &contents).await
    }

    pub(crate) async fn let_go(&mut self, rooms: &[RoomId], next: Option<NodeId>) -> Executed {
        let named = rooms.iter().map(|room| (*room, self.owned[room].fence)).collect();
        let contents = self.contents(HashMap::new());
        self.lane.execute(&Statement::LetGo { rooms: named, next }, &contents).await
    }

    pub(crate) async fn read(&mut self, rooms: &[RoomId]) -> Executed {
        let contents = self.contents(HashMap::new());
        self.lane.execute(&Statement::Read { rooms: rooms.to_vec() }, &contents).await
    }
}

/// The rooms that a round, a claim, a resolve or a release names; none if it has not succeeded.
pub(crate) fn confirmed(executed: &Executed) -> Vec<RoomId> {
    match &executed.answer {
        Answer::Done { rows, warned: false } => match rows {
            Rows::Claimed { claimed, .. } => claimed.iter().map(|claimed| claimed.room).collect(),
            Rows::Read(read) => read.iter().map(|(room, _)| *room).collect(),
            Rows::Confirmed(rooms) | Rows::LetGo(rooms) => rooms.clone(),
            Rows::Resolved(resolved) => resolved.iter().map(|resolved| resolved.room).collect(),
        },
        _ => Vec::new(),
    }
}

/// A key of the store: its kind, an id, and the rest.
pub(crate) fn key(kind: u8, id: u64, rest: &[u8]) -> Bytes {
    [&[kind], &id.to_be_bytes()[..], rest].concat().into()
}

/// An entry to write or to remove. The id in the key does not count.
pub(crate) fn entry(key_bytes: &[u8], value: Option<&[u8]>) -> Record {
    (key(2, 77, key_bytes), value.map(Bytes::copy_from_slice))
}
