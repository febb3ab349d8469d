//! `/revocations`: lists, adds and removes revocations.

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::Admin;
use super::request::{AdminRequest, bad};
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::edge::revocation::Everywhere;
use crate::limits::REVOCATIONS;
use crate::revocations::{Entry, RevokeError, Revoked};

/// The shapes of a body.
const SHAPE: &str =
    r#"{"user":"ID"}, {"user":"ID","room":"rooms/NAME"}, or {"jti":"ID"} with "exp" in Unix seconds where it is known"#;

impl Admin {
    /// `GET /revocations`: all, unless a limit is given.
    pub(super) fn revocations(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let user = request.parameter("user")?;
        let after = request.parameter("after")?.map(|after| serde_json::from_str::<Revoked>(&after));
        let after = after.transpose().map_err(|_| bad("the parameter `after` is the `next` of an earlier page"))?;
        let limit = request.limit(REVOCATIONS, REVOCATIONS)?;
        request.no_more_parameters()?;
        let mut entries = self.edge.revocations();
        entries.retain(|entry| {
            let is_meant = user.as_deref().is_none_or(|user| matches!(place(entry), (0 | 2, id, _) if id == user));
            is_meant && after.as_ref().is_none_or(|after| place(entry) > place_of(after))
        });
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| has_more).map(|last| json!(revoked(last)).to_string());
        Ok(json_response(&json!({ "revocations": entries, "next": next })))
    }

    pub(super) async fn revoke(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let revoked: Revoked = request.json(SHAPE).await?;
        self.audit.record(&request, "revoke", &target(&revoked), None).await?;
        match self.edge.revoke_everywhere(revoked.clone()).await {
            Ok(Everywhere { closed, missing }) => {
                let (kind, id) = revoked.parts();
                tracing::info!(kind, id = &*id, closed, "revoked");
                Ok(perhaps_not_everywhere(json!({ "revoked": revoked, "closed": closed }), missing))
            }
            Err(error) => {
                let status = match error {
                    RevokeError::Name | RevokeError::Room(_) => StatusCode::BAD_REQUEST,
                    RevokeError::Full => StatusCode::INSUFFICIENT_STORAGE,
                    RevokeError::NotKept(_) | RevokeError::NotShared(_) => {
                        tracing::error!(%error, "a revocation is not on disk, or not in the database");
                        StatusCode::INTERNAL_SERVER_ERROR
                    }
                };
                Err(problem(status, &error.to_string()).into())
            }
        }
    }

    pub(super) async fn unrevoke(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let revoked: Revoked = request.json(SHAPE).await?;
        self.audit.record(&request, "remove a revocation", &target(&revoked), None).await?;
        match self.edge.unrevoke_everywhere(revoked.clone()).await {
            Ok((true, missing)) => {
                let (kind, id) = revoked.parts();
                tracing::info!(kind, id = &*id, "no longer revoked");
                Ok(perhaps_not_everywhere(json!({ "restored": revoked }), missing))
            }
            Ok((false, _)) => Err(problem(StatusCode::NOT_FOUND, "that is not revoked").into()),
            Err(error) => {
                tracing::error!(%error, "a revocation could not be removed");
                let detail = format!("it stays revoked: the list cannot be written: {error}");
                Err(problem(StatusCode::INTERNAL_SERVER_ERROR, &detail).into())
            }
        }
    }
}

/// An answer with 200, or with 202 and the addresses of nodes of the cluster that may not know of it.
fn perhaps_not_everywhere(mut answer: Value, missing: Vec<String>) -> Response<Body> {
    if missing.is_empty() {
        return json_response(&answer);
    }
    answer["missing"] = json!(missing);
    let mut response = json_response(&answer);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// The revocation that an entry of the list came from.
fn revoked(entry: &Entry) -> Revoked {
    match entry {
        Entry::User { user, .. } => Revoked::user(user),
        Entry::Token { jti, .. } => Revoked::token(jti),
        Entry::Member { user, room } => Revoked::member(user, room),
    }
}

/// The place of an entry in the list: by its kind, its id, and its room.
fn place(entry: &Entry) -> (u8, &str, &str) {
    match entry {
        Entry::User { user, .. } => (0, user, ""),
        Entry::Token { jti, .. } => (1, jti, ""),
        Entry::Member { user, room } => (2, user, room),
    }
}

/// The place of the entry that such a revocation makes.
fn place_of(revoked: &Revoked) -> (u8, &str, &str) {
    match revoked {
        Revoked::User(revoked) => (0, &revoked.user, ""),
        Revoked::Token(revoked) => (1, &revoked.jti, ""),
        Revoked::Member(revoked) => (2, &revoked.user, &revoked.room),
    }
}

fn target(revoked: &Revoked) -> String {
    let (kind, id) = revoked.parts();
    format!("{kind} {id}")
}
