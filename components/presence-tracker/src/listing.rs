//! Builds the list of users as one message, below the host's limit however many users there are.

use dormouse_room::Result;

use crate::frames::UserPresence;
use crate::roster::{self, Entry};

/// The most users in one list: a longer one would take the time of a whole turn.
const MAX_USERS: usize = 4_000;

/// The most bytes of users in one list, even if the host allows more.
pub(crate) const MAX_BYTES: usize = 896 * 1024;

/// The bytes of a list beside its users.
const AROUND_BYTES: usize = 256;

/// The most bytes of users in one frame, if no frame may be longer than `max_frame`. The queue of a socket may hold no
/// more than one such frame, so an eighth is left for the frames that follow at once.
pub(crate) fn frame_bytes(max_frame: usize) -> usize {
    MAX_BYTES.min((max_frame - max_frame / 8).saturating_sub(AROUND_BYTES))
}

/// Users as JSON, separated by commas: at most 4,000, and fewer if they are too long for one message. Users who do not
/// fit are tracked like all others, and their changes are sent.
pub(crate) struct Listing {
    json: Vec<u8>,
    users: usize,
    most_bytes: usize,
}

impl Listing {
    /// An empty list with space for this many bytes.
    pub(crate) fn empty(most_bytes: usize) -> Self {
        Listing { json: Vec::new(), users: 0, most_bytes }
    }

    /// The users on the roster, sorted by id, as many as fit into `most_bytes`. `first` comes before them, so it is
    /// always included.
    pub(crate) fn of_roster(first: Option<(&str, &Entry)>, most_bytes: usize) -> Result<Self> {
        let mut listing = Listing::empty(most_bytes);
        if let Some((user_id, entry)) = first {
            listing.add(&UserPresence::new(user_id, entry, roster::connections(user_id)))?;
        }
        for user in roster::all() {
            let (user_id, entry) = user?;
            if first.is_some_and(|(first, _)| first == user_id) {
                continue;
            }
            if !listing.add(&UserPresence::new(&user_id, &entry, roster::connections(&user_id)))? {
                break;
            }
        }
        Ok(listing)
    }

    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Adds a user. Returns false, and adds nothing, if the list is full.
    fn add(&mut self, user: &UserPresence) -> Result<bool> {
        let before = self.json.len();
        if self.users > 0 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, user)?;
        if self.users == MAX_USERS || self.json.len() > self.most_bytes {
            self.json.truncate(before);
            return Ok(false);
        }
        self.users += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::status::Status;

    fn entry(name: &str) -> Entry {
        Entry { name: name.into(), status: Status::Away, last_seen: 5, missing_since: None }
    }

    fn full(name: &str) -> Listing {
        full_of(name, MAX_BYTES)
    }

    fn full_of(name: &str, most_bytes: usize) -> Listing {
        let (mut listing, entry) = (Listing::empty(most_bytes), entry(name));
        while listing.add(&UserPresence::new("u", &entry, 1)).unwrap() {}
        listing
    }

    #[test]
    fn a_list_is_an_array_of_users_whatever_their_number() {
        assert_eq!(
            frames::presence_list(&Listing::empty(MAX_BYTES)).unwrap(),
            r#"{"type":"presence_list","users":[]}"#
        );
        let (mut two, ana) = (Listing::empty(MAX_BYTES), entry("Ana"));
        for id in ["u1", "u2"] {
            assert!(two.add(&UserPresence::new(id, &ana, 1)).unwrap());
        }
        let json: serde_json::Value = serde_json::from_slice(&frames::list(&two)).unwrap();
        assert_eq!((&json["users"][0]["userId"], &json["users"][1]["userId"]), (&"u1".into(), &"u2".into()));
    }

    #[test]
    fn a_list_ends_at_four_thousand_users_or_below_one_mebibyte() {
        assert_eq!(full("Ana").users, 4_000);
        let long = full(&"\u{1}".repeat(256));
        assert!(long.users < 4_000);
        let frame = frames::presence_list(&long).unwrap();
        assert!(frame.len() < 1024 * 1024);
        let json: serde_json::Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(json["users"].as_array().unwrap().len(), long.users);
    }

    #[test]
    fn a_list_is_smaller_than_what_may_be_sent() {
        for max_frame in [4_096, 10_000, 1 << 20, 16 << 20] {
            let frame = frames::presence_list(&full_of("Ana", frame_bytes(max_frame))).unwrap();
            assert!(frame.len() < max_frame, "{} B of {max_frame}", frame.len());
        }
        assert_eq!(frame_bytes(0), 0);
    }
}
