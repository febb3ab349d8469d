//! Rounds of a lane with more busy rooms than a statement may have.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_ownership::limits::STATEMENT_ROOMS;
use dormouse_ownership::ownership::{
    Answer, Cached, Claimed, Config, Effect, Fence, Input, LaneId, NodeId, Owner, RoomId, Rows, Statement, Tenure,
};

/// Rooms with one lane, each of which always has a turn that waits.
struct Busy {
    owner: Owner,
    tenures: BTreeMap<RoomId, Tenure>,
    effects: Vec<Effect>,
}

impl Busy {
    fn new(rooms: u64) -> Self {
        let lane_of = |_| LaneId(0);
        let owner = Owner::new(Config { me: NodeId(1), lane_of });
        let mut busy = Busy { owner, tenures: BTreeMap::new(), effects: Vec::new() };
        (1..=rooms).for_each(|room| busy.input(Input::Open(RoomId(room))));
        while busy.tenures.len() < rooms as usize {
            let effects = std::mem::take(&mut busy.effects);
            for effect in effects {
                match effect {
                    Effect::Execute { id, statement: Statement::Claim { rooms, .. }, .. } => {
                        let fence = Fence { epoch: 1, token: 1 };
                        let cached = Some(Cached { number: 0, token: 0 });
                        let row = |room| Claimed { room, fence, old_token: 0, number: 0, cached };
                        let rows = Rows::Claimed { claimed: rooms.into_iter().map(row).collect(), elsewhere: vec![] };
                        busy.input(Input::Answered { statement: id, answer: Answer::Done { rows, warned: false } });
                    }
                    Effect::Opened { room, tenure, .. } => drop(busy.tenures.insert(room, tenure)),
                    other => panic!("{other:?}"),
                }
            }
        }
        (1..=rooms).for_each(|room| busy.turn(RoomId(room)));
        busy
    }

    fn input(&mut self, input: Input) {
        self.owner.handle(1, input, &mut self.effects);
    }

    fn turn(&mut self, room: RoomId) {
        let tenure = self.tenures[&room];
        self.input(Input::Turn { room, tenure, writes: true });
    }

    /// Answers the round in flight. Returns its rooms, and has a new turn in each of them.
    fn round(&mut self, answer: impl FnOnce(&[RoomId]) -> Answer) -> Vec<RoomId> {
        let effects = std::mem::take(&mut self.effects);
        let mut rounds = effects.into_iter().filter_map(|effect| match effect {
            Effect::Execute { id, statement: Statement::Round { commits, .. }, .. } => Some((id, commits)),
            _ => None,
        });
        let (id, commits) = rounds.next().expect("a round is in flight");
        assert!(rounds.next().is_none(), "a lane has one statement in flight");
        let rooms = commits.into_iter().map(|commit| commit.room).collect::<Vec<_>>();
        rooms.iter().for_each(|room| self.turn(*room));
        self.input(Input::Answered { statement: id, answer: answer(&rooms) });
        rooms
    }
}

fn confirmed(rooms: &[RoomId]) -> Answer {
    Answer::Done { rows: Rows::Confirmed(rooms.to_vec()), warned: false }
}

#[test]
fn rooms_that_are_always_busy_do_not_keep_others_from_being_sent() {
    let rooms = 3 * STATEMENT_ROOMS as u64 + 10;
    let mut busy = Busy::new(rooms);
    let mut sent = BTreeSet::new();
    // The first round began with the first turn.
    for _ in 0..5 {
        sent.extend(busy.round(confirmed));
    }
    assert_eq!(sent.len() as u64, rooms);
}

#[test]
fn a_room_that_is_sent_alone_is_sent_soon() {
    let mut busy = Busy::new(10);
    busy.round(confirmed);
    // Each room of a refused round is tried alone.
    let refused = busy.round(|_| Answer::Error { retry: false });
    assert_eq!(refused.len(), 10);
    let mut alone = BTreeSet::new();
    for _ in 0..2 * refused.len() {
        busy.input(Input::Tick);
        let rooms = busy.round(confirmed);
        if rooms.len() == 1 {
            alone.extend(rooms);
        }
    }
    assert_eq!(alone.into_iter().collect::<Vec<_>>(), refused);
}
