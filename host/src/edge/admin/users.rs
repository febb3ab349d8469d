//! `/users`: who is connected, and an end to it that is no revocation.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::elsewhere::{missing, uri};
use super::request::AdminRequest;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::refusals::Refusal;
use crate::edge::sockets::registry::{OnlineUser, UserSocket};

/// The users of a page that does not say how many, and the most.
const USERS: (usize, usize) = (100, 1_000);
/// The most sockets of a user in an answer.
const MAX_CLIENTS: usize = 1_000;

impl Admin {
    /// `GET /users`
    pub(super) async fn list_users(&self, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
        let prefix = request.parameter("prefix")?.unwrap_or_default();
        let after = request.parameter("after")?;
        let limit = request.limit(USERS.0, USERS.1)?;
        request.no_more_parameters()?;
        let page = self.edge.users(&prefix, after.as_deref(), limit);
        let user = |user: &OnlineUser| json!({ "user": user.id, "userName": user.name, "sockets": user.sockets, "rooms": user.rooms });
        let mut users = json!({ "users": page.users.iter().map(user).collect::<Vec<_>>(), "next": page.next });
        if let Some(node) = self.cluster(&request) {
            let parameters = [("prefix", Some(prefix)), ("after", after), ("limit", Some(limit.to_string()))];
            let uri = uri("/users", &parameters);
            let answers = self.ask_all(node, &request, &Method::GET, &uri, &Bytes::new()).await;
            let missing = missing(&answers);
            let others = answers.into_iter().filter_map(|of| of.answer.ok());
            users = together([users].into_iter().chain(others), limit);
            users["missing"] = missing.into();
        }
        Ok(json_response(&users))
    }

    /// `GET /users/{user}`: no error for a user without sockets, because users are not stored.
    pub(super) async fn show_user(&self, user: &str, request: AdminRequest) -> Result<Response<Body>, Refusal> {
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
        let mut shown = json!({ "user": user, "sockets": count, "clients": clients });
        if let Some(node) = self.cluster(&request) {
            let answers = self.ask_all(node, &request, &Method::GET, &request.uri, &Bytes::new()).await;
            shown["missing"] = missing(&answers).into();
            for mut of_node in answers.into_iter().filter_map(|of| of.answer.ok()) {
                shown["sockets"] = sum(&shown["sockets"], &of_node["sockets"]).into();
                if let (Some(all), Some(more)) = (shown["clients"].as_array_mut(), of_node["clients"].as_array_mut()) {
                    let space = MAX_CLIENTS.saturating_sub(all.len());
                    all.extend(more.drain(..more.len().min(space)));
                }
            }
        }
        Ok(json_response(&shown))
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
        let again = from.as_ref().map(|from| json!({ "room": from.room }).to_string()).unwrap_or_default();
        let room = from.and_then(|from| from.room).map(|room| self.room_of(&room)).transpose()?;
        let detail = room.as_ref().map(|room| json!({ "room": room.to_string() }));
        self.audit.record(&request, "disconnect a user", &format!("user {user}"), detail).await?;
        let mut answer = json!({ "closed": self.edge.disconnect(user, room.as_ref()) });
        if let Some(node) = self.cluster(&request) {
            let answers = self.ask_all(node, &request, &Method::POST, &request.uri, &again.into()).await;
            for of_node in answers.iter().filter_map(|of| of.answer.as_ref().ok()) {
                answer["closed"] = sum(&answer["closed"], &of_node["closed"]).into();
            }
            answer["missing"] = missing(&answers).into();
        }
        Ok(json_response(&answer))
    }
}

/// The sum of two counts in answers.
fn sum(one: &Value, other: &Value) -> u64 {
    one.as_u64().unwrap_or(0) + other.as_u64().unwrap_or(0)
}

/// The first users of the pages of all nodes. A user who is at several counts with all sockets, and a room counts at each
/// node where the user has a socket in it.
fn together(pages: impl Iterator<Item = Value>, limit: usize) -> Value {
    let (mut users, mut end) = (BTreeMap::<String, Value>::new(), None::<String>);
    for mut page in pages {
        if let Some(next) = page["next"].as_str() {
            end = Some(end.map_or(next.to_owned(), |end| end.min(next.to_owned())));
        }
        for user in page["users"].as_array_mut().into_iter().flatten() {
            let id = user["user"].as_str().unwrap_or_default().to_owned();
            match users.get_mut(&id) {
                Some(known) => {
                    for count in ["sockets", "rooms"] {
                        known[count] = sum(&known[count], &user[count]).into();
                    }
                }
                None => drop(users.insert(id, user.take())),
            }
        }
    }
    // Behind the end of a page that has a next one, users of that node may be missing.
    users.retain(|id, _| end.as_ref().is_none_or(|end| id <= end));
    let last = (users.len() > limit).then(|| users.keys().nth(limit - 1).cloned()).flatten();
    let shown = users.into_values().take(limit).collect::<Vec<_>>();
    json!({ "users": shown, "next": last.or(end) })
}
