//! Turns an HTTP request into a WebSocket: the handshake of RFC 6455, after the room has agreed.
//!
//! It knows the handshake alone: `http` has identified and admitted the client before, and `websocket` runs the
//! socket.

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use super::frames;
use super::outgoing::Outgoing;
use super::registry::TokenIdentity;
use super::websocket::{Connection, ConnectionContext};
use crate::clock;
use crate::edge::access::socket_access::SocketAccess;
use crate::edge::admission::connection_limits::ConnectionPermit;
use crate::edge::admission::socket_permits::SocketPermits;
use crate::edge::identity::verified::Verified;
use crate::edge::response::body::Body;
use crate::edge::response::problem::problem_with;
use crate::edge::response::refusals::{not_connected, overloaded};
use crate::edge::{Edge, headers};
use crate::model::{self, Address, Message};

/// The subprotocol that the server speaks, for clients that name some.
const PROTOCOL: &str = "dormouse";

/// The handshake that a request contains.
pub(in crate::edge) enum Handshake {
    /// A valid one.
    Good(Upgrade),
    /// The request asks for no upgrade.
    None,
    /// The request asks for an upgrade but violates RFC 6455.
    Bad(&'static str),
}

/// The parts of a request that becomes a WebSocket.
pub(in crate::edge) struct Upgrade {
    on_upgrade: OnUpgrade,
    accept: HeaderValue,
    /// The client offered our subprotocol.
    named: bool,
    /// Keeps the connection's place until the WebSocket ends.
    connection_permit: Option<Arc<ConnectionPermit>>,
}

/// Returns whether a request asks to become a WebSocket.
pub(in crate::edge) fn is_asked(headers: &HeaderMap) -> bool {
    headers::has_item(values(headers, header::UPGRADE), "websocket")
}

/// The subprotocols that a client offers.
pub(in crate::edge) fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers::items(headers, header::SEC_WEBSOCKET_PROTOCOL)
}

fn values(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

impl Handshake {
    /// Takes the handshake out of a request.
    pub(in crate::edge) fn take(request: &mut Request<()>, has_body: bool) -> Self {
        let headers = request.headers();
        if !is_asked(headers) {
            return Handshake::None;
        }
        if request.version() != Version::HTTP_11 {
            return Handshake::Bad("an upgrade needs HTTP/1.1");
        }
        // Two servers could read such bytes differently, as first frames or as a body (request smuggling).
        if has_body || headers.contains_key(header::TRANSFER_ENCODING) {
            return Handshake::Bad("an upgrade has no body");
        }
        if request.method() != Method::GET || !headers::has_item(values(headers, header::CONNECTION), "upgrade") {
            return Handshake::Bad("an upgrade is a GET with `Connection: Upgrade`");
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Handshake::Bad("only version 13 of the WebSocket protocol is spoken here");
        }
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24) else {
            return Handshake::Bad("the WebSocket key is missing or not 16 bytes in base64");
        };
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a header's text");
        let named = protocols(headers).any(|protocol| protocol == PROTOCOL.as_bytes());
        let connection_permit = request.extensions_mut().remove();
        Handshake::Good(Upgrade { on_upgrade: hyper::upgrade::on(request), accept, named, connection_permit })
    }
}

/// The answer to a request that should have asked for an upgrade.
pub(in crate::edge) fn required() -> Response<Body> {
    let detail = "this is a WebSocket; ask for an upgrade";
    problem_with(StatusCode::UPGRADE_REQUIRED, detail, header::UPGRADE, "websocket")
}

/// The answer to an upgrade that violates RFC 6455.
pub(in crate::edge) fn wrong(detail: &str) -> Response<Body> {
    problem_with(StatusCode::BAD_REQUEST, detail, header::SEC_WEBSOCKET_VERSION, "13")
}

/// Connects to the room, and turns the request into its socket.
pub(in crate::edge) async fn connect(
    edge: &Arc<Edge>,
    upgrade: Upgrade,
    address: &Address,
    request: model::Request,
    verified: Verified,
    access: SocketAccess,
    admitted: SocketPermits,
) -> Response<Body> {
    let Upgrade { on_upgrade, accept, named, connection_permit } = upgrade;
    let (max_waiting, max_in_flight) = (edge.limits.socket_queue_bytes, edge.limits.events_per_socket);
    let outgoing =
        Arc::new(Outgoing::new(max_waiting, max_in_flight, edge.pressure.clone(), edge.metrics.limit_hits()));
    let token = TokenIdentity::of(&verified);
    let user = Arc::new(verified.room_user().clone());
    let connect = edge.rooms.connect(address, request, user.clone(), outgoing.clone());
    let seat = match clock::timeout(edge.limits.answer_timeout, connect).await {
        Ok(Ok(seat)) => seat,
        Ok(Err(error)) => return not_connected(&edge.response_headers, address, error),
        // The room takes the seat back, since it was never taken.
        Err(_) => return overloaded("the room did not answer in time"),
    };
    let registration = edge.sockets.register(outgoing.clone(), user, token, access.room(), address);
    // Behind the first messages of the room, which a client may expect first. They may fill the queue.
    if let Some(frame) = access.first_frame() {
        outgoing.reply(frames::encode(&Message::Text(frame)));
    }
    let shared = ConnectionContext {
        limits: edge.limits.clone(),
        message_bytes: edge.rooms.namespace(address.namespace()).map_or(0, |namespace| namespace.message_in_bytes),
        expires_at: verified.expires_at,
        user: (!edge.verifier.is_dev()).then(|| admitted.user.clone()),
        metrics: edge.metrics.clone(),
        verifier: edge.verifier.clone(),
        access,
        registration,
    };
    // A task of its own: that of the HTTP connection ends with the upgrade and frees its buffers.
    tokio::spawn(async move {
        let Ok(upgraded) = on_upgrade.await else {
            seat.close(model::Close::lost());
            return;
        };
        let connection = Box::new(Connection::new(upgraded, outgoing, seat, shared));
        tokio::spawn(async move {
            connection.await;
            drop((connection_permit, admitted));
        });
    });
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if named {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    response
}
