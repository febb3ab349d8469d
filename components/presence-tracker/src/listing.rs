//! Builds the list of users as one message, below the host's limit however many users there are.

use dormouse_room::Result;

use crate::roster::{self, Entry};
use crate::user_presence::UserPresence;

/// The most users in one list: a longer one would take the time of a whole turn.
const MAX_USERS: usize = 4_000;

/// The most bytes of users in one list, even if the host allows more.
pub(crate) const MAX_BYTES: usize = 896 * 1024;

/// The bytes of a list beside its users, and beside the id at which it ends.
const ENVELOPE_BYTES: usize = 256;

/// The longest id of a user, with every character escaped. A list that is cut ends with an id.
const LONGEST_ID_BYTES: usize = 2 * 256;

/// The most bytes of users in one frame, if no frame may be longer than `max_frame`. The queue of a socket may hold no
/// more than one such frame, so an eighth is left for the frames that follow at once.
pub(crate) fn frame_bytes(max_frame: usize) -> usize {
    MAX_BYTES.min((max_frame - max_frame / 8).saturating_sub(ENVELOPE_BYTES + LONGEST_ID_BYTES))
}

/// Users as JSON, separated by commas: at most 4,000, and fewer if they are too long for one message. A list that is
/// cut says where it continues. Users who do not fit are tracked like all others, and their changes are sent.
pub(crate) struct Listing {
    json: Vec<u8>,
    users: usize,
    max_bytes: usize,
    /// The id behind which the list continues; absent if it is whole.
    next: Option<String>,
}

impl Listing {
    /// An empty list with space for this many bytes.
    pub(crate) fn empty(max_bytes: usize) -> Self {
        Listing { json: Vec::new(), users: 0, max_bytes, next: None }
    }

    /// The first list of a client. Its own user comes first, and so is always included.
    pub(crate) fn starting_with(user_id: &str, entry: &Entry, max_bytes: usize) -> Result<Self> {
        let mut listing = Listing::empty(max_bytes);
        listing.add(&UserPresence::new(user_id, entry, roster::connections(user_id)))?;
        listing.add_users_after(None, Some(user_id))?;
        Ok(listing)
    }

    /// The users with ids above `after`, sorted by id: as many as fit into `max_bytes`, and at least one.
    pub(crate) fn page(after: Option<&str>, max_bytes: usize) -> Result<Self> {
        let mut listing = Listing::empty(max_bytes);
        listing.add_users_after(after, None)?;
        Ok(listing)
    }

    fn add_users_after(&mut self, after: Option<&str>, already_listed: Option<&str>) -> Result<()> {
        let mut last = String::new();
        for user in roster::after(after) {
            let (user_id, entry) = user?;
            if already_listed != Some(user_id.as_str())
                && !self.add(&UserPresence::new(&user_id, &entry, roster::connections(&user_id)))?
            {
                self.next = Some(last);
                break;
            }
            last = user_id;
        }
        Ok(())
    }

    /// A JSON object: `start`, followed by the users.
    pub(crate) fn json(&self, start: &str) -> Result<Vec<u8>> {
        let mut json = [start.as_bytes(), &self.json, b"]"].concat();
        if let Some(next) = &self.next {
            json.extend_from_slice(br#","next":"#);
            serde_json::to_writer(&mut json, next)?;
        }
        json.push(b'}');
        Ok(json)
    }

    /// Adds a user. Returns false, and adds nothing, if the list is full. The first user always fits, so that a client
    /// that loads page after page makes progress.
    fn add(&mut self, user: &UserPresence) -> Result<bool> {
        let before = self.json.len();
        if self.users > 0 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, user)?;
        if self.users > 0 && (self.users == MAX_USERS || self.json.len() > self.max_bytes) {
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

    fn full_of(name: &str, max_bytes: usize) -> Listing {
        let (mut listing, entry) = (Listing::empty(max_bytes), entry(name));
        while listing.add(&UserPresence::new("u", &entry, 1)).unwrap() {}
        listing
    }

    #[test]
    fn a_list_is_an_array_of_any_number_of_users() {
        assert_eq!(
            frames::presence_list(&Listing::empty(MAX_BYTES)).unwrap(),
            r#"{"type":"presence_list","users":[]}"#
        );
        let (mut two, ana) = (Listing::empty(MAX_BYTES), entry("Ana"));
        for id in ["u1", "u2"] {
            assert!(two.add(&UserPresence::new(id, &ana, 1)).unwrap());
        }
        let json: serde_json::Value = serde_json::from_slice(&frames::list(&two).unwrap()).unwrap();
        assert_eq!((&json["users"][0]["userId"], &json["users"][1]["userId"]), (&"u1".into(), &"u2".into()));
    }

    #[test]
    fn a_partial_list_has_a_cursor() {
        let listing = Listing { next: Some("u\"1".into()), ..Listing::empty(MAX_BYTES) };
        assert_eq!(frames::list(&listing).unwrap(), br#"{"users":[],"next":"u\"1"}"#);
    }

    #[test]
    fn a_list_has_at_least_one_user() {
        let (mut listing, ana) = (Listing::empty(0), entry("Ana"));
        assert!(listing.add(&UserPresence::new("u1", &ana, 1)).unwrap());
        assert!(!listing.add(&UserPresence::new("u2", &ana, 1)).unwrap());
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
    fn a_list_fits_into_one_message() {
        for max_frame in [4_096, 10_000, 1 << 20, 16 << 20] {
            let mut listing = full_of("Ana", frame_bytes(max_frame));
            listing.next = Some("\"".repeat(256));
            let frame = frames::presence_list(&listing).unwrap();
            assert!(frame.len() < max_frame, "{} B of {max_frame}", frame.len());
        }
        assert_eq!(frame_bytes(0), 0);
    }
}
