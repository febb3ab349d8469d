//! The record of one erasure: which user, how far it is, and how it ended. Once it has finished, the id of the user is
//! gone from it, and only a mark is left with which the same id is recognised.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMillis;
use crate::limits::FAILED_ROOMS;
use crate::random;

/// One erasure of the data of a user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Erasure {
    /// Names it: 16 hexadecimal digits.
    pub id: String,
    /// The id of the user, as long as the erasure needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Recognises the id of the user, also when it is gone.
    pub mark: UserMark,
    /// When it was asked for.
    pub started: UnixMillis,
    /// When it ended; absent before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixMillis>,
    /// Its state.
    pub state: State,
    /// The namespaces that declare how. They are visited in this order.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Namespaces with rooms that were not asked.
    #[serde(default)]
    pub undeclared: Vec<Undeclared>,
    /// All rooms up to this one were visited; absent before the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// So many rooms were visited.
    #[serde(default)]
    pub rooms: u64,
    /// So many items were erased, as the rooms count them. Those of a page that a restart has cut off are missing.
    #[serde(default)]
    pub items: u64,
    /// Rooms that failed, and that will be tried again as long as it runs.
    #[serde(default)]
    pub failed: Vec<FailedRoom>,
    /// Further rooms that failed, of which nothing but the number is kept.
    #[serde(default)]
    pub more_failed: u64,
}

/// The state of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs, or waits for an earlier one.
    Running,
    /// Every room that declares how has erased the user.
    Finished,
    /// Some rooms have failed each time.
    Incomplete,
    /// The operator has ended it. What was erased stays so.
    Cancelled,
    /// It had finished, and the data was restored from a copy that is older. It runs again as soon as the id of the
    /// user is known.
    Repeat,
}

/// A namespace whose rooms were not asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Undeclared {
    /// Its name.
    pub namespace: String,
    /// The reason, for the operator.
    pub because: String,
}

/// A room, as the end of those that were visited.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name; absent if no room of the namespace was visited yet, and all before were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A room that could not erase a user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRoom {
    /// Its address.
    pub room: String,
    /// The last error.
    pub error: String,
}

/// Recognises the id of a user without containing it: a random salt, and the hash of both. Somebody who has the file
/// and guesses the id can still verify the guess.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UserMark {
    /// 32 hexadecimal digits.
    salt: String,
    /// SHA-256 of the salt and the id, in hexadecimal digits.
    hash: String,
}

impl UserMark {
    /// A new mark of a user.
    pub fn of(user: &str) -> Self {
        let salt = hex(&random::bytes::<16>());
        let hash = hash(&salt, user);
        UserMark { salt, hash }
    }

    /// Whether it is a mark of this user.
    pub fn is_of(&self, user: &str) -> bool {
        hash(&self.salt, user) == self.hash
    }
}

impl Erasure {
    pub(super) fn new(user: &str, now: UnixMillis) -> Self {
        Erasure {
            id: hex(&random::bytes::<8>()),
            user: Some(user.into()),
            mark: UserMark::of(user),
            started: now,
            ended: None,
            state: State::Running,
            namespaces: Vec::new(),
            undeclared: Vec::new(),
            place: None,
            rooms: 0,
            items: 0,
            failed: Vec::new(),
            more_failed: 0,
        }
    }

    /// Ends it. The id of the user is forgotten with [`forget`](Self::forget).
    pub(super) fn end(&mut self, state: State, now: UnixMillis) {
        self.state = state;
        self.ended = Some(now);
        self.place = None;
        if state != State::Incomplete {
            self.failed.clear();
        }
    }

    /// Forgets the id of the user, unless the erasure still needs it, or has finished less than `keep_ms` ago. Rooms may
    /// be left that have data of the user if it is incomplete.
    pub(super) fn forget(&mut self, now: UnixMillis, keep_ms: u64) {
        let is_kept = match self.state {
            State::Running | State::Incomplete | State::Repeat => true,
            State::Finished => self.ended.is_some_and(|ended| now < ended.saturating_add(keep_ms)),
            State::Cancelled => false,
        };
        if !is_kept {
            self.user = None;
        }
    }

    /// It has to run once more, from its beginning.
    pub(super) fn repeat(&mut self) {
        self.state = State::Repeat;
        (self.ended, self.place, self.rooms, self.items) = (None, None, 0, 0);
        (self.namespaces, self.undeclared) = Default::default();
        (self.failed, self.more_failed) = (Vec::new(), 0);
    }

    /// A room has failed; it is kept as long as there is space.
    pub(super) fn add_failed(&mut self, room: FailedRoom) {
        if self.failed.len() < FAILED_ROOMS { self.failed.push(room) } else { self.more_failed += 1 }
    }
}

fn hash(salt: &str, user: &str) -> String {
    hex(&Sha256::new().chain_update(salt).chain_update(user).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_recognises_its_user_and_does_not_contain_the_id() {
        let mark = UserMark::of("ana@example.org");
        assert!(mark.is_of("ana@example.org") && !mark.is_of("ana@example.or") && !mark.is_of(""));
        assert!(!serde_json::to_string(&mark).unwrap().contains("ana"));
        assert_ne!(mark, UserMark::of("ana@example.org"), "two marks of one user do not show that they are");
    }

    #[test]
    fn an_erasure_that_has_ended_knows_its_user_only_if_rooms_are_left() {
        for (state, known) in [(State::Finished, false), (State::Cancelled, false), (State::Incomplete, true)] {
            let mut erasure = Erasure::new("ana", 1);
            erasure.add_failed(FailedRoom { room: "ROOMS/dm-ana".into(), error: "no".into() });
            erasure.end(state, 2);
            erasure.forget(2, 0);
            let text = serde_json::to_string(&erasure).unwrap();
            assert_eq!(text.contains("ana"), known, "{text}");
            assert_eq!(serde_json::from_str::<Erasure>(&text).unwrap(), erasure);
        }
    }

    #[test]
    fn the_id_of_an_erased_user_is_kept_as_long_as_the_operator_says() {
        let mut erasure = Erasure::new("ana", 1);
        erasure.end(State::Finished, 10);
        for (now, known) in [(10, true), (19, true), (20, false)] {
            erasure.forget(now, 10);
            assert_eq!(erasure.user.is_some(), known, "{now}");
        }
    }
}
