//! The routes of the server, and the place of the rooms among them.

use std::path::Path;

use axum::Router;
use axum::extract::{Path as Segment, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use dormouse::config::{Config, Limits};
use dormouse::edge::Verified;
use dormouse::model::{Message, User};
use dormouse::room::Rooms;
use dormouse::{Host, StartError};

/// The rooms, without their own listener.
pub(crate) async fn host(data: &Path, limits: Limits) -> Result<Host, StartError> {
    // They are below `/realtime`, which axum removes from the path.
    let config = Config { base_path: "/".into(), page: false, data: data.into(), limits, ..Config::default() };
    Host::builder(config).mount().await
}

/// All routes of the server.
pub(crate) fn routes(host: &Host) -> Router {
    let rooms = Router::new().fallback_service(host.service()).layer(middleware::from_fn(who_is_it));
    Router::new()
        .route("/login", post(login))
        .route("/announce/{room}", post(announce))
        .route("/rooms", get(list))
        .with_state(host.rooms().clone())
        .nest("/realtime", rooms)
}

/// The sessions of this server. Every room knows a user who has one. A real server would look up the cookie.
async fn who_is_it(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let cookies = request.headers().get(header::COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
    let name =
        cookies.split("; ").find_map(|cookie| cookie.strip_prefix("session=")).ok_or(StatusCode::UNAUTHORIZED)?;
    let verified = Verified::new(User::new(format!("user-{name}"), name));
    request.extensions_mut().insert(verified);
    Ok(next.run(request).await)
}

async fn login(form: String) -> Result<(HeaderMap, &'static str), StatusCode> {
    let name = form.strip_prefix("name=").ok_or(StatusCode::BAD_REQUEST)?;
    let cookie = format!("session={name}; HttpOnly; SameSite=Strict; Path=/");
    let cookie = cookie.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok((HeaderMap::from_iter([(header::SET_COOKIE, cookie)]), "hello\n"))
}

/// Sends a message of the system to all clients in a room.
async fn announce(State(rooms): State<Rooms>, Segment(room): Segment<String>, text: String) -> StatusCode {
    let notice = serde_json::json!({ "type": "notice", "text": text });
    match rooms.get("ROOMS", &room) {
        Ok(room) => match room.broadcast(Message::Text(notice.to_string())).await {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        },
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

async fn list(State(rooms): State<Rooms>) -> Result<String, StatusCode> {
    let rooms = rooms.list("ROOMS", None, 100).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(rooms.into_iter().map(|room| room.name + "\n").collect())
}
