//! Who is listed, in one message: it has to stay below the host's limit, however many there are.

use dormouse_room::Result;

use crate::frames::UserPresence;
use crate::roster::{self, Entry};

/// Users in one list: above it the list alone would take the time of a turn.
const MAX_USERS: usize = 4_000;

/// The most bytes of users in one list, whatever may be sent.
pub(crate) const MAX_BYTES: usize = 896 * 1024;

/// What a list has beside its users.
const AROUND_BYTES: usize = 256;

/// The most bytes of users in one frame, where no frame may be above `max_frame`. As much as the longest frame may wait
/// for a socket: an eighth is for the frames that follow at once.
pub(crate) fn frame_bytes(max_frame: usize) -> usize {
    MAX_BYTES.min((max_frame - max_frame / 8).saturating_sub(AROUND_BYTES))
}

/// Users, in JSON and separated by commas: at most 4,000, and fewer where they are too long for one message. Whoever is
/// left out is tracked like everybody else, and told when anything changes about them.
pub(crate) struct Listing {
    json: Vec<u8>,
    users: usize,
    most_bytes: usize,
}

impl Listing {
    /// Nobody, with space for so many bytes.
    pub(crate) fn empty(most_bytes: usize) -> Self {
        Listing { json: Vec::new(), users: 0, most_bytes }
    }

    /// Those on the roster, in the order of their ids, as many as fit into so many bytes. `first` comes before them, and so
    /// is among them whoever is not.
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

    /// False where there is no place left, and nothing was added.
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
