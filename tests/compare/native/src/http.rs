//! From an HTTP request to its answer, or to a WebSocket in a room.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;

use crate::protocol::{self, User};
use crate::room::{Room, Rooms};
use crate::socket::{Connection, Socket};

/// The path before the name of a room.
const BASE_PATH: &str = "/api/realtime/rooms/";
/// The text before a token in `Authorization`.
const BEARER: &str = "bearer ";
/// The longest body of a POST, in bytes.
const BODY_BYTES: usize = 64 << 10;
/// The most bytes in the name of a room, and in a user's id and name.
const ROOM_NAME_BYTES: usize = 128;
const USER_NAME_BYTES: usize = 256;
/// Messages in an answer to GET /messages: by default, and at most.
const DEFAULT_PAGE_LIMIT: usize = 100;
const MAX_PAGE_LIMIT: usize = 500;

type Answer = Response<Full<Bytes>>;

/// Answer one request. The error is an answer as well: a problem that ends the work on it early.
pub(crate) async fn answer(rooms: Arc<Rooms>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    Ok(route(&rooms, request).await.unwrap_or_else(|problem| *problem))
}

async fn route(rooms: &Rooms, request: Request<Incoming>) -> Result<Answer, Box<Answer>> {
    let nothing = || problem(StatusCode::NOT_FOUND, "there is nothing at this path");
    let path = request.uri().path().strip_prefix(BASE_PATH).ok_or_else(nothing)?;
    let (name, endpoint) = path.split_once('/').ok_or_else(nothing)?;
    let (allowed, is_socket) = match endpoint {
        "ws" => ("GET", true),
        "messages" => ("GET, POST", false),
        _ => return Err(nothing()),
    };
    if !allowed.split(", ").any(|method| method == request.method().as_str()) {
        return Err(with(problem(StatusCode::METHOD_NOT_ALLOWED, "wrong method"), header::ALLOW, allowed));
    }
    let name = room_name(name).ok_or_else(|| {
        let detail = "the name of a room is 1 to 128 bytes of UTF-8 without control characters or /";
        problem(StatusCode::BAD_REQUEST, detail)
    })?;
    let user = identify(&request).ok_or_else(|| {
        let problem = problem(StatusCode::UNAUTHORIZED, "this needs a valid identity");
        with(problem, header::WWW_AUTHENTICATE, "Bearer")
    })?;
    match (is_socket, request.method()) {
        (true, _) => connect(rooms, &name, user, request),
        (false, &Method::POST) => post(rooms, &name, &user, request).await,
        (false, _) => list(rooms, &name, &request),
    }
}

fn room_name(encoded: &str) -> Option<String> {
    let name = percent_decode_str(encoded).decode_utf8().ok()?;
    let is_allowed = |character: char| character != '/' && !character.is_control();
    ((1..=ROOM_NAME_BYTES).contains(&name.len()) && name.chars().all(is_allowed)).then(|| name.into_owned())
}

/// The user of a request. Every token is accepted.
fn identify(request: &Request<Incoming>) -> Option<User> {
    let token = match request.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            let (scheme, token) = std::str::from_utf8(value.as_bytes()).ok()?.split_at_checked(BEARER.len())?;
            scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim().to_owned())?
        }
        None => parameter(request, "token")?,
    };
    let (id, name) = token.split_once(':').unwrap_or((&token, ""));
    let name = if name.is_empty() { id } else { name };
    let is_good = |text: &str| (1..=USER_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    (is_good(id) && is_good(name)).then(|| User { id: id.into(), name: name.into() })
}

fn parameter(request: &Request<Incoming>, name: &str) -> Option<String> {
    let mut pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    percent_decode_str(&value.replace('+', " ")).decode_utf8().ok().map(Into::into)
}

fn list(rooms: &Rooms, name: &str, request: &Request<Incoming>) -> Result<Answer, Box<Answer>> {
    let limit = match parameter(request, "limit").map(|text| text.parse()) {
        None => DEFAULT_PAGE_LIMIT,
        Some(Ok(limit @ 1..=MAX_PAGE_LIMIT)) => limit,
        Some(_) => return Err(problem(StatusCode::BAD_REQUEST, &format!("limit must be 1 to {MAX_PAGE_LIMIT}"))),
    };
    // A read does not create a room.
    Ok(json_answer(rooms.find(name).unwrap_or_default().list(limit)))
}

async fn post(rooms: &Rooms, name: &str, user: &User, request: Request<Incoming>) -> Result<Answer, Box<Answer>> {
    let body = match Limited::new(request.into_body(), BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"));
        }
        Err(_) => return Err(problem(StatusCode::BAD_REQUEST, "the body broke off")),
    };
    let content = protocol::posted(&body).map_err(|error| problem(StatusCode::BAD_REQUEST, error.message))?;
    let message = rooms.open(name).post(user, &content);
    Ok(json_answer(protocol::success(&message)))
}

/// Turn the request into a socket of the room.
fn connect(rooms: &Rooms, name: &str, user: User, mut request: Request<Incoming>) -> Result<Answer, Box<Answer>> {
    let accept = accept(request.headers())?;
    let room = rooms.open(name);
    let upgrade = hyper::upgrade::on(&mut request);
    // Its own task: the one of the HTTP connection, with its buffers, ends with the upgrade.
    tokio::spawn(async move {
        // It fails where the client went away in between, and then it has joined no room.
        if let Ok(upgraded) = upgrade.await {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>().expect("nothing but TCP is served");
            live(parts.io.into_inner(), &parts.read_buf, user, room);
        }
    });
    let mut response = Answer::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// A task of just the size of a connection: it is what a sleeping socket costs.
fn live(stream: TcpStream, read: &[u8], user: User, room: Arc<Room>) {
    let socket = Socket::new(user);
    room.join(&socket);
    tokio::spawn(Connection::new(stream, read, socket, room));
}

/// The server's part of the handshake of RFC 6455.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, Box<Answer>> {
    let lists = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if !lists(header::UPGRADE, "websocket") || !lists(header::CONNECTION, "upgrade") {
        let problem = problem(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket; ask for an upgrade");
        return Err(with(problem, header::UPGRADE, "websocket"));
    }
    let is_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if is_13 && key.len() == 24 => {
            Ok(HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a header's text"))
        }
        _ => {
            let problem = problem(StatusCode::BAD_REQUEST, "only version 13 with a key of 16 bytes is spoken here");
            Err(with(problem, header::SEC_WEBSOCKET_VERSION, "13"))
        }
    }
}

fn json_answer(body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error: `application/problem+json`, as RFC 9457 has it.
fn problem(status: StatusCode, detail: &str) -> Box<Answer> {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let response = Box::new(response);
    with(response, header::CONTENT_TYPE, "application/problem+json")
}

fn with(mut response: Box<Answer>, name: HeaderName, value: &'static str) -> Box<Answer> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
