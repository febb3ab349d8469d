//! The frames that the room sends, and its answers over HTTP.

use dormouse_room::Result;
use serde::Serialize;

use crate::listing::Listing;
use crate::user_presence::UserPresence;

/// Frames about one user on the list.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub(crate) enum Frame<'a> {
    PresenceUpdate { user: UserPresence<'a> },
    PresenceRemove { user_id: &'a str },
}

/// The first frame of a socket.
pub(crate) fn presence_list(users: &Listing) -> Result<String> {
    Ok(String::from_utf8(users.json(r#"{"type":"presence_list","users":["#)?)?)
}

/// The answer to GET /list.
pub(crate) fn list(users: &Listing) -> Result<Vec<u8>> {
    users.json(r#"{"users":["#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::Entry;
    use crate::status::Status;

    #[test]
    fn the_frames_have_the_fields_of_the_protocol() {
        let ana = Entry { name: "Ana".into(), status: Status::Away, last_seen: 5, missing_since: None };
        let user = UserPresence::new("u1", &ana, 2);
        let json = r#"{"userId":"u1","userName":"Ana","status":"away","lastSeen":5,"connections":2}"#;
        assert_eq!(
            serde_json::to_string(&Frame::PresenceUpdate { user }).unwrap(),
            format!(r#"{{"type":"presence_update","user":{json}}}"#)
        );
        assert_eq!(
            serde_json::to_string(&Frame::PresenceRemove { user_id: "u1" }).unwrap(),
            r#"{"type":"presence_remove","userId":"u1"}"#
        );
    }
}
