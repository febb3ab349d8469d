//! `/users`: who is connected, and an end to it that is no revocation.

use hyper::Response;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::request::AdminRequest;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::refusals::Refusal;
use crate::edge::sockets::registry::{OnlineUser, UserSocket};

/// The users of a page that does not say how many, and the most.
const USERS: (usize, usize) = (100, 1_000);

impl Admin {
    /// `GET /users`
    pub(super) fn list_users(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let prefix = request.parameter("prefix")?.unwrap_or_default();
        let after = request.parameter("after")?;
        let limit = request.limit(USERS.0, USERS.1)?;
        request.no_more_parameters()?;
        let page = self.edge.users(&prefix, after.as_deref(), limit);
        let user = |user: &OnlineUser| json!({ "user": user.id, "userName": user.name, "sockets": user.sockets, "rooms": user.rooms });
        Ok(json_response(&json!({ "users": page.users.iter().map(user).collect::<Vec<_>>(), "next": page.next })))
    }

    /// `GET /users/{user}`: no error for a user without sockets, because users are not stored.
    pub(super) fn show_user(&self, user: &str, request: AdminRequest) -> Result<Response<Body>, Refusal> {
        request.no_more_parameters()?;
        let (sockets, count) = self.edge.sockets_of(user);
        let socket = |socket: &UserSocket| {
            json!({
                "room": socket.room.to_string(),
                "user": socket.user,
                "userName": socket.user_name,
                "service": socket.service,
                "kind": socket.kind.name(),
                "since": socket.since,
                "queuedBytes": socket.queued_bytes,
            })
        };
        let clients = sockets.iter().map(socket).collect::<Vec<_>>();
        Ok(json_response(&json!({ "user": user, "sockets": count, "clients": clients })))
    }

    /// `POST /users/{user}/disconnect`
    pub(super) async fn disconnect_user(
        &self,
        user: &str,
        mut request: AdminRequest,
    ) -> Result<Response<Body>, Refusal> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct From {
            room: Option<String>,
        }
        request.no_more_parameters()?;
        let from: Option<From> = request.optional_json(r#"{"room":"NAMESPACE/NAME"}, or empty"#).await?;
        let room = from.and_then(|from| from.room).map(|room| self.room_of(&room)).transpose()?;
        let detail = room.as_ref().map(|room| json!({ "room": room.to_string() }));
        self.audit.record(&request, "disconnect a user", &format!("user {user}"), detail).await?;
        let closed = self.edge.disconnect(user, room.as_ref());
        Ok(json_response(&json!({ "closed": closed })))
    }
}
