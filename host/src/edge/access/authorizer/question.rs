//! A question for the operator's own server, and its signature.
//!
//! Pure: it makes text. The signature covers the time and the body, so that a question cannot be changed, and an old
//! one can be recognised.

use hmac::{Hmac, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use crate::model::{self, Address, Claims, Permission, User};

/// The header with the time of the question, in Unix seconds.
const TIMESTAMP: &str = "dormouse-timestamp";
/// The header with the signature: `v1=`, and in hexadecimal HMAC-SHA256 of the time, a dot and the body.
const SIGNATURE: &str = "dormouse-signature";

/// The question about a user's permissions in a room. Equal questions have one answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::edge) struct Question {
    pub(in crate::edge::access) user_id: Box<str>,
    pub(super) user_name: Box<str>,
    pub(super) claims: Claims,
    pub(super) room: Address,
}

#[derive(Serialize)]
struct Body<'a> {
    user: UserBody<'a>,
    claims: Value,
    namespace: &'a str,
    room: &'a str,
    action: &'static str,
}

#[derive(Serialize)]
struct UserBody<'a> {
    id: &'a str,
    name: &'a str,
}

impl Question {
    pub(in crate::edge) fn new(user: &User, claims: Claims, room: Address) -> Self {
        Question { user_id: user.id.as_str().into(), user_name: user.name.as_str().into(), claims, room }
    }

    /// The length of its texts, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        let room = self.room.namespace().len() + self.room.name().len();
        self.user_id.len() + self.user_name.len() + self.claims.as_json().len() + room
    }

    /// The text of the question. `namespace` is spelled as in a path, and `action` is what the user wants to do now.
    pub(super) fn body(&self, namespace: &str, action: Permission) -> Vec<u8> {
        let claims = serde_json::from_str(self.claims.as_json()).expect("claims are JSON");
        let user = UserBody { id: &self.user_id, name: &self.user_name };
        let body = Body { user, claims, namespace, room: self.room.name(), action: action.name() };
        serde_json::to_vec(&body).expect("text can be written as JSON")
    }
}

/// The request with a question, signed with `secret` at `now`, in Unix seconds.
pub(super) fn signed(secret: &[u8], now: u64, path: &str, query: Option<&str>, body: Vec<u8>) -> model::Request {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of HMAC has any length");
    mac.update(now.to_string().as_bytes());
    mac.update(b".");
    mac.update(&body);
    let signature = mac.finalize().into_bytes();
    let signature = signature.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    model::Request {
        method: "POST".into(),
        path: path.into(),
        query: query.map(str::to_owned),
        headers: vec![
            ("content-type".into(), "application/json".into()),
            (TIMESTAMP.into(), now.to_string()),
            (SIGNATURE.into(), format!("v1={signature}")),
        ],
        body,
        ..model::Request::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_names_the_user_the_room_and_the_action() {
        let claims = Claims::new(json!({ "role": "host" }).as_object().unwrap()).unwrap();
        let room = Address::new("BIG_ROOMS", "team/7 \"ü\"").unwrap();
        let question = Question::new(&User::new("42", "Ana"), claims, room);
        let body = serde_json::from_slice::<serde_json::Value>(&question.body("big-rooms", Permission::Read)).unwrap();
        assert_eq!(
            body,
            json!({
                "user": { "id": "42", "name": "Ana" },
                "claims": { "role": "host" },
                "namespace": "big-rooms",
                "room": "team/7 \"ü\"",
                "action": "read",
            })
        );
    }

    #[test]
    fn the_signature_covers_the_time_and_the_body() {
        let sign = |secret: &[u8], now, body: &str| {
            let request = signed(secret, now, "/authorize", None, body.into());
            let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
            assert_eq!(header(TIMESTAMP), now.to_string());
            header(SIGNATURE)
        };
        // As `printf '1800000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef` prints it.
        let good = sign(b"0123456789abcdef0123456789abcdef", 1_800_000_000, "{}");
        assert_eq!(good, "v1=a8471f58daa469f8073cbebd823830f85e8942f4bbc0acd2ef47c28edc8c488e");
        for other in [
            sign(b"0123456789abcdef0123456789abcdeF", 1_800_000_000, "{}"),
            sign(b"0123456789abcdef0123456789abcdef", 1_800_000_001, "{}"),
            sign(b"0123456789abcdef0123456789abcdef", 1_800_000_000, "{ }"),
        ] {
            assert_ne!(other, good);
        }
    }
}
