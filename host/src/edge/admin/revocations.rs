//! `/revocations`: lists, adds and removes revocations.

use hyper::{Response, StatusCode};
use serde_json::json;

use super::Admin;
use super::request::AdminRequest;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::revocations::{RevokeError, Revoked};

/// The shapes of a body.
const SHAPE: &str =
    r#"{"user":"ID"}, {"user":"ID","room":"rooms/NAME"}, or {"jti":"ID"} with "exp" in Unix seconds where it is known"#;

impl Admin {
    pub(super) fn revocations(&self) -> Response<Body> {
        json_response(&json!({ "revocations": self.edge.revocations() }))
    }

    pub(super) async fn revoke(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let revoked: Revoked = request.json(SHAPE).await?;
        self.audit.record(&request, "revoke", &target(&revoked), None).await?;
        match self.edge.revoke(revoked.clone()).await {
            Ok(closed) => {
                let (kind, id) = revoked.parts();
                tracing::info!(kind, id = &*id, closed, "revoked");
                Ok(json_response(&json!({ "revoked": revoked, "closed": closed })))
            }
            Err(error) => {
                let status = match error {
                    RevokeError::Name | RevokeError::Room(_) => StatusCode::BAD_REQUEST,
                    RevokeError::Full => StatusCode::INSUFFICIENT_STORAGE,
                    RevokeError::NotKept(_) => {
                        tracing::error!(%error, "a revocation is not on disk");
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
        match self.edge.unrevoke(revoked.clone()).await {
            Ok(true) => {
                let (kind, id) = revoked.parts();
                tracing::info!(kind, id = &*id, "no longer revoked");
                Ok(json_response(&json!({ "restored": revoked })))
            }
            Ok(false) => Err(problem(StatusCode::NOT_FOUND, "that is not revoked").into()),
            Err(error) => {
                tracing::error!(%error, "a revocation could not be removed");
                let detail = format!("it stays revoked: the list cannot be written: {error}");
                Err(problem(StatusCode::INTERNAL_SERVER_ERROR, &detail).into())
            }
        }
    }
}

fn target(revoked: &Revoked) -> String {
    let (kind, id) = revoked.parts();
    format!("{kind} {id}")
}
