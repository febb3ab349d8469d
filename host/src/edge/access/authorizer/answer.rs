//! The answer of the operator's own server to one question, and for how long it counts.
//!
//! Pure: it reads bytes. An answer that is not exactly right is no answer, because a guess could let a user in.

use std::time::Duration;

use serde::Deserialize;

use crate::limits::{AUTHORIZER_ANSWER_BYTES, AUTHORIZER_ANSWER_SECONDS, AUTHORIZER_SOCKET_SECONDS};
use crate::model::{Permissions, UnknownPermission};

/// A decision of the operator's own server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// The permissions of the user in the room.
    pub(super) permissions: Permissions,
    /// How long others may use it. Zero: only those who wait for it, and their sockets.
    pub(super) shared_for: Duration,
}

/// Other members are ignored: the server may add some for itself.
#[derive(Deserialize)]
struct Answer {
    permissions: Vec<String>,
    #[serde(rename = "expiresIn")]
    expires_in: f64,
}

impl Decision {
    /// Reads the body of an answer, or returns the problem in words for the operator.
    pub(super) fn read(status: u16, body: &[u8]) -> Result<Self, String> {
        if status != 200 {
            return Err(format!("the answer has the status {status}, and only 200 counts"));
        }
        if body.len() > AUTHORIZER_ANSWER_BYTES {
            return Err(format!("the answer is longer than {AUTHORIZER_ANSWER_BYTES} B"));
        }
        // serde would accept an array in place of the object.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let answer = is_object.then(|| serde_json::from_slice::<Answer>(body).ok()).flatten();
        let answer = answer.ok_or(r#"the answer is not {"permissions":["read"],"expiresIn":60} in JSON"#)?;
        let permissions = answer.permissions.iter().map(|name| name.parse());
        let permissions = permissions
            .collect::<Result<Permissions, UnknownPermission>>()
            .map_err(|unknown| format!("`permissions` of the answer: {unknown}"))?;
        if answer.expires_in < 0.0 {
            return Err("`expiresIn` of the answer must be a number of seconds from 0 on".into());
        }
        let seconds = answer.expires_in.min(AUTHORIZER_ANSWER_SECONDS as f64);
        Ok(Decision { permissions, shared_for: Duration::from_secs_f64(seconds) })
    }

    /// How long it counts for an open socket.
    pub(super) fn counts_for(self) -> Duration {
        self.shared_for.max(Duration::from_secs(AUTHORIZER_SOCKET_SECONDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<(String, u64), String> {
        let decision = Decision::read(200, body.as_bytes())?;
        Ok((decision.permissions.to_string(), decision.shared_for.as_millis() as u64))
    }

    #[test]
    fn an_answer_gives_permissions_for_a_time() {
        for (body, permissions, millis) in [
            (r#"{"permissions":["read","write"],"expiresIn":60}"#, "read, write", 60_000),
            (r#" {"expiresIn":1.5,"permissions":[],"because":"left the team"} "#, "", 1_500),
            (r#"{"permissions":["read","read"],"expiresIn":0}"#, "read", 0),
            (r#"{"permissions":["admin"],"expiresIn":301}"#, "admin", 300_000),
            (r#"{"permissions":["admin"],"expiresIn":1e300}"#, "admin", 300_000),
        ] {
            assert_eq!(read(body), Ok((permissions.to_owned(), millis)), "{body}");
        }
    }

    #[test]
    fn a_short_answer_counts_longer_for_an_open_socket() {
        for (expires_in, seconds) in [("0", 14), ("1", 14), ("13.9", 14), ("15", 15), ("60", 60), ("1e9", 300)] {
            let body = format!(r#"{{"permissions":["read"],"expiresIn":{expires_in}}}"#);
            let decision = Decision::read(200, body.as_bytes()).unwrap();
            assert_eq!(decision.counts_for(), Duration::from_secs(seconds), "{expires_in}");
        }
    }

    #[test]
    fn an_answer_that_is_not_exactly_right_is_none() {
        for body in [
            "",
            "true",
            "null",
            "<html>",
            r#"["read"]"#,
            r#"[["read"],60]"#,
            r#"{"permissions":["read"]}"#,
            r#"{"expiresIn":60}"#,
            r#"{"permissions":"read","expiresIn":60}"#,
            r#"{"permissions":["Read"],"expiresIn":60}"#,
            r#"{"permissions":["read","all"],"expiresIn":60}"#,
            r#"{"permissions":[null],"expiresIn":60}"#,
            r#"{"permissions":["read"],"expiresIn":-1}"#,
            r#"{"permissions":["read"],"expiresIn":"60"}"#,
            r#"{"permissions":["read"],"expiresIn":null}"#,
            r#"{"permissions":["read"],"expiresIn":NaN}"#,
            r#"{"permissions":["read"],"expiresIn":1e999}"#,
            r#"{"permissions":["read"],"permissions":["write"],"expiresIn":60}"#,
            r#"{"permissions":["read"],"expiresIn":60}}"#,
            r#"{"permissions":["read"],"expiresIn":60"#,
        ] {
            assert!(read(body).is_err(), "{body}");
        }
        let good = br#"{"permissions":["read"],"expiresIn":60}"#;
        for status in [201, 204, 301, 302, 307, 401, 403, 404, 500, 503] {
            assert!(Decision::read(status, good).is_err(), "{status}");
        }
        let long = format!(r#"{{"permissions":[],"expiresIn":60,"x":"{}"}}"#, "x".repeat(AUTHORIZER_ANSWER_BYTES));
        assert!(read(&long).unwrap_err().contains("longer"));
    }
}
