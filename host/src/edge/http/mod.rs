//! Answers one HTTP request: [`steps`] reads in the order in which it decides.
//!
//! Invariant: this is the order of the checks, over HTTP/1.1 and HTTP/2, and the code has the same numbers. Each check
//! costs less than those after it, and no body is read before its sender is known. A mounted host does the checks that
//! it has data for.
//!
//! 1. the connection: a place among all and for its address, and the address's rate (`connection_limits`); 503 or 429.
//!    Over HTTP/2 also the rate of frames (`http2`), or the connection ends. `accept` does this, once a connection
//! 2. the head: complete in time, not too long (`accept`), and exactly one host (400)
//! 3. `/healthz` and `/readyz`: the request ends here, under any host name
//! 4. the host name: one that is served (421)
//! 5. the page and its files: the request ends here, and so does one that leads nowhere (404)
//! 6. headers that must be single: no duplicate (400)
//! 7. preflights: the request ends here, unless the router answers them (`router_cors`)
//! 8. the origin: a foreign one gets no socket (403)
//! 9. memory: refused while memory is short (503)
//! 10. the origin again: with dev auth a foreign one gets nothing (403)
//! 11. the address's rate: each request costs tokens (429). A service gets them back at 12: then its own rate holds
//! 12. the identity: the credential is valid, and the user is not revoked (401); only a service may name a user for
//!     whom it acts (403, or 401 without an identity)
//! 13. the rate of the user or the service: each request costs tokens (429)
//! 14. `/tickets`: the request ends here
//! 15. unsent answers: few bytes for the connection, for the user, and in all (`budget`; 429, 503)
//! 16. a place among `requests`: for the user, for the address, and in all (`budget`; 429, 503). A service has a share
//!     of its own and none of the address's. Requests without an identity have a few places of their own
//! 17. the body: without an identity, the router must accept the request before any of it is read; no content coding
//!     (415), not too long (413), complete in time (408), and its bytes for the user and in all (`budget`; 429, 503)
//! 18. the router
//! 19. a place among the requests to the room and to its namespace (`budget`; 503)
//! 20. the permission: the user may do this in the room (`access`; 403, 401 without an identity, or 503 if
//!     the operator's server decides and gives no answer). The body and that answer may take long, so the identity is
//!     checked again: it is not revoked and has not expired (401)
//! 21. for a socket: an identity (401), an upgrade or a stream of events (400, 426), the rates again, the user's
//!     sockets and rooms (429), the address's places (429)
//! 22. the room: a place in its mailbox, memory once more (503), its turn
//! 23. the answer: its bytes for the connection, the user and in all (`budget`; 429, 503)
//!
//! The places of 16 and 19 and the bytes of 23 are returned when the answer is sent.
//!
//! It does not know connections or frames: `accept` and `service` call it.

mod acting;
pub(in crate::edge) mod assets;
pub(in crate::edge) mod authorization;
mod cors;
pub(in crate::edge) mod credential;
pub(in crate::edge) mod health;
mod page;
mod peer;
mod request_body;
mod route;
mod router;
pub(in crate::edge) mod service;
mod ticket;
mod traced;

use std::sync::Arc;

use hyper::body::Body as HttpBody;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use self::credential::{has_two, identify};
use self::peer::Peer;
use self::request_body::BoxError;
use self::route::Route;
use super::{Edge, headers};
use crate::clock;
use crate::edge::access::control::Admitted;
use crate::edge::access::policy::Reason;
use crate::edge::access::socket_access::SocketAccess;
use crate::edge::admission::budget::{Permit, Requester};
use crate::edge::admission::connection_limits::ConnectionPermit;
use crate::edge::admission::origin::Origin;
use crate::edge::admission::socket_permits::SocketPermits;
use crate::edge::identity::verified::Verified;
use crate::edge::listener::activity::Activity;
use crate::edge::response::body::Body;
use crate::edge::response::component::from_component;
use crate::edge::response::finish::{dated, without_body};
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::{
    Refusal, forbidden, forbidden_without_claim, overloaded, refuse, unanswered, unauthorized,
};
use crate::edge::sockets::event_stream;
use crate::edge::sockets::upgrade::{self, Handshake};
use crate::guest::Decision;
use crate::limit_hits::Limit;
use crate::limits;
use crate::model::{self, Address, Permission, UserAccess};
use crate::telemetry::Span;

/// Answers one request.
pub(super) async fn answer<B>(edge: Arc<Edge>, request: Request<B>) -> Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let is_head = request.method() == Method::HEAD;
    let mut context = AnswerContext::default();
    let answered = steps(&edge, request, &mut context).await;
    let response = context.complete(&edge, answered.unwrap_or_else(Refusal::into_response));
    let response = dated(response);
    if is_head { without_body(response) } else { response }
}

/// Runs the checks from 2 on, and answers. A refusal ends it; `context` keeps what each answer needs, a refusal too.
async fn steps<B>(edge: &Arc<Edge>, request: Request<B>, context: &mut AnswerContext) -> Result<Response<Body>, Refusal>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let over_limit = |limit: Limit| refuse(&edge.metrics, limit);
    let (parts, body) = request.into_parts();
    let mut request = Request::from_parts(parts, ());

    // 2. The head.
    check_one_host(&mut request)?;

    // 3. Health and readiness.
    let route = Route::of(request.uri().path(), &edge.base_path, edge.page);
    match route {
        Route::Health => return Ok(health::health(edge)),
        Route::Readiness => return Ok(health::readiness(edge)),
        Route::Page(_) | Route::Nowhere | Route::Ticket | Route::Room(_) => {}
    }

    // 4. The host name. An embedder that has verified the user knows its own host names as well.
    let is_verified = request.extensions().get::<Verified>().is_some();
    if !is_verified && !edge.origins.serve(request.uri(), request.headers()) {
        return Err(problem(StatusCode::MISDIRECTED_REQUEST, edge.origins.wrong_name()).into());
    }

    // 5. The page.
    let is_free = route == Route::Nowhere || edge.base_path == "/";
    if let Some(assets) = edge.assets.get().filter(|_| is_free)
        && let Some(file) = assets.answer(&request)
    {
        return Ok(file);
    }
    match &route {
        Route::Page(asset) => return page::answer(edge, asset, &request),
        Route::Nowhere => return Err(problem(StatusCode::NOT_FOUND, "nothing here").into()),
        Route::Health | Route::Readiness | Route::Ticket | Route::Room(_) => {}
    }

    // 6. Headers that must be single.
    check_single_headers(request.headers())?;

    // 7. Preflights.
    let origin = &*context.origin.insert(edge.origins.of(request.uri(), request.headers()));
    if request.method() == Method::OPTIONS && !(edge.router_cors && matches!(route, Route::Room(_))) {
        return cors::preflight(origin);
    }

    // 8. The origin.
    if *origin == Origin::Foreign && upgrade::is_asked(request.headers()) {
        return Err(problem(StatusCode::FORBIDDEN, "this origin may not open sockets here").into());
    }

    // 9. Memory.
    if edge.pressure.is_high() {
        edge.metrics.refused(Limit::Memory);
        return Err(overloaded("the server has too little memory now").into());
    }

    // 10. The origin in dev auth, where any page could POST as any user without reading the response (CSRF).
    if *origin == Origin::Foreign && edge.verifier.is_dev() {
        return Err(problem(StatusCode::FORBIDDEN, "this origin is not allowed").into());
    }

    // 11. The address's rate.
    let peer = Peer::of(&edge.connection_limits, &mut request);
    let spend = |connection| edge.connection_limits.spend_request(connection, peer.client);
    let paid = peer.connection.as_deref().map_or(Ok(None), spend);
    let paid = paid.map_err(|turned_away| over_limit(turned_away.into()))?;
    traced::begin(edge, &request, peer.is_proxy(), &mut context.span);

    // 12. The identity. A server that may have missed a revocation lets nobody in.
    if !edge.revocations.are_current() {
        return Err(overloaded("the server does not know now what was revoked").into());
    }
    let bearer = identify(edge, &request, origin).await.map_err(|invalid| unauthorized(&invalid.0))?;
    let bearer = acting::apply(request.headers(), bearer)?;
    if let (Some(bearer), Some(address)) = (&bearer, paid)
        && bearer.verified.is_service()
    {
        edge.connection_limits.refund_request(address);
    }

    traced::user(&mut context.span, bearer.as_ref().map(|bearer| &bearer.verified));

    // 13. The user's rate. A request over HTTP costs the user as much as a message: it costs the server the same.
    if let Some(bearer) = &bearer {
        let user = edge.users.usage_of(&bearer.verified.subject());
        if !user.spend_message(clock::monotonic()) {
            return Err(over_limit(user.rate_limit()).into());
        }
    }

    // 14. Tickets.
    let Route::Room(path) = route else { return ticket::answer(edge, request.method(), bearer) };

    // 15. and 16. Unsent answers, and a place among the requests.
    let verified = bearer.map(|bearer| bearer.verified);
    let requester = peer.requester(verified.as_ref());
    let permit = edge.budget.request(&requester).map_err(over_limit)?;
    let (requester, permit) = context.place.insert((requester, permit));

    // 17. The body.
    let is_head = request.method() == Method::HEAD;
    let has_body = !body.is_end_stream();
    let handshake = Handshake::take(&mut request, has_body);
    let activity = request.extensions().get::<Arc<Activity>>().cloned();
    let coding = if has_body { request_body::check_coding(request.headers()) } else { Ok(()) };
    let mut request = router::component_request(request, path, verified.as_ref());
    let mut max_bytes = edge.limits.body_bytes;
    if verified.is_none() && has_body {
        router::check_unread(edge, request.clone()).await?;
        max_bytes = max_bytes.min(limits::ANONYMOUS_BODY_BYTES);
    }
    coding?;
    // The bytes stay counted until the component is done with them.
    let mut body_bytes = edge.budget.body(requester).map_err(over_limit)?;
    if has_body {
        request.body = request_body::read(edge, body, max_bytes, &mut body_bytes).await?;
    }

    // 18. The router.
    let (entry, namespace, name, mut request) = match router::ask(edge, request, verified.as_ref()).await? {
        Decision::Respond(answer) => return Ok(from_component(&edge.response_headers, None, answer)),
        Decision::Request { namespace, name, request } => (RoomEntry::Request, namespace, name, request),
        Decision::Connect { namespace, name, request } => (RoomEntry::Connect, namespace, name, request),
    };
    let address =
        Address::new(&namespace, &name).map_err(|error| problem(StatusCode::BAD_REQUEST, &error.to_string()))?;

    traced::enter_room(&mut context.span, &address, &mut request);

    // 19. A place among the requests to the room. A slow authorizer then holds no more places than a slow room.
    edge.budget.enter_room(permit, &address).map_err(over_limit)?;

    // 20. The permission.
    let admission = check_permission(edge, verified.as_ref(), &address, entry, &mut request).await?;

    if entry == RoomEntry::Request {
        // 22. The room.
        return request_room(edge, &address, request).await;
    }

    // 21. A socket. A request that cannot become one is refused before it pays for a join.
    let verified = verified.ok_or_else(|| unauthorized("a socket needs an identity"))?;
    let upgrade = match handshake {
        Handshake::Good(upgrade) => Some(upgrade),
        Handshake::Bad(detail) => return Err(upgrade::wrong(detail).into()),
        Handshake::None if event_stream::are_asked(&request) => None,
        Handshake::None => return Err(upgrade::required().into()),
    };
    if upgrade.is_none() && is_head {
        return Ok(event_stream::head());
    }
    let subject = verified.subject();
    let connection = peer.connection.as_deref();
    let permits =
        SocketPermits::take(&edge.users, &edge.connection_limits, &subject, &address, connection, peer.client);
    let permits = permits.map_err(over_limit)?;
    if let Some(activity) = &activity {
        activity.listen();
    }

    // 22. The room.
    let access = SocketAccess::new(edge.access.clone(), address.clone(), &verified, &admission);
    Ok(match upgrade {
        Some(upgrade) => upgrade::connect(edge, upgrade, &address, request, verified, access, permits).await,
        None => event_stream::connect(edge, &address, request, verified, access, permits, activity).await,
    })
}

/// How a request goes to its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoomEntry {
    Request,
    Connect,
}

/// The facts about a request that its answer needs, whatever the answer is.
#[derive(Default)]
struct AnswerContext {
    /// Present once the request is known to be for the API.
    origin: Option<Origin>,
    /// Present once the request has its place.
    place: Option<(Requester, Permit)>,
    /// Present once the address has paid for the request, if spans are on.
    span: Option<Span>,
}

impl AnswerContext {
    /// Counts the answer, and adds the headers that tell a page whether it may read it.
    fn complete(self, edge: &Edge, mut response: Response<Body>) -> Response<Body> {
        // 23. The answer. A stream of events counts as a socket, and is bounded by `socket_queue_bytes`.
        if let (Some((requester, permit)), Some(bytes)) = (self.place, response.body().len()) {
            response = match edge.budget.answer(&requester, bytes) {
                Ok(bytes) => response.map(|body| body.holding((permit, bytes))),
                // The room has already acted, but a lost answer must not look like success.
                Err(limit) => refuse(&edge.metrics, limit),
            };
        }
        traced::end(self.span, response.status());
        let Some(origin) = self.origin else { return response };
        edge.metrics.answered(response.status().as_u16());
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            headers::complete_allow(response.headers_mut());
        }
        cors::allow(&origin, &edge.response_headers, response.headers_mut());
        response
    }
}

/// Refuses a request that names no host, or several. HTTP/2 has the host in `:authority`, and in HTTP/1.1 an absolute
/// target overrides the header.
fn check_one_host(request: &mut Request<()>) -> Result<(), Refusal> {
    if let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
    // A server that mounts the host checks this itself.
    let is_mounted = request.extensions().get::<Arc<ConnectionPermit>>().is_none();
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if is_mounted || hosts == 1 || (hosts == 0 && request.version() == Version::HTTP_10) {
        return Ok(());
    }
    let mut response = problem(StatusCode::BAD_REQUEST, "a request must name exactly one host");
    // HTTP/2 has no such header, and its requests have clear bounds.
    if request.version() < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Err(response.into())
}

/// Refuses a head that a proxy and the host could read differently.
fn check_single_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(name) = headers::duplicate(headers) {
        let detail = format!("the header `{name}` must not be repeated");
        return Err(problem(StatusCode::BAD_REQUEST, &detail).into());
    }
    if has_two(headers) {
        let detail = "a request must have one bearer token, and this one has several";
        return Err(problem(StatusCode::BAD_REQUEST, detail).into());
    }
    Ok(())
}

/// Checks whether the user may do in the room what the request does there, and tells the room the claims and all
/// permissions. The router's request counts, because the room sees that one: its method may be another than the
/// client's.
async fn check_permission(
    edge: &Edge,
    verified: Option<&Verified>,
    address: &Address,
    entry: RoomEntry,
    request: &mut model::Request,
) -> Result<Admitted, Refusal> {
    let policy = edge.access.policy();
    let needed = match entry {
        RoomEntry::Connect => Permission::Read,
        RoomEntry::Request => policy.for_method(address.namespace(), &request.method),
    };
    let admitted = edge.access.check(address, verified, needed).await.map_err(|denied| match denied.reason {
        Reason::NoIdentity => unauthorized("this room needs an identity"),
        Reason::SentOut => problem(StatusCode::FORBIDDEN, "you may not be in this room any more"),
        Reason::AuthorizerFailed => overloaded("it cannot be decided now who may enter this room; try again"),
        Reason::NoClaim => forbidden_without_claim(denied.missing, &policy.spelled(address), policy.grants_claim()),
        _ => forbidden(denied.missing, &policy.spelled(address)),
    })?;
    let is_current = verified.map_or(Ok(()), |verified| verified.check_current(&edge.revocations));
    is_current.map_err(|invalid| unauthorized(&invalid.0))?;
    let claims = verified.map(|verified| verified.claims.clone()).unwrap_or_default();
    request.access = UserAccess::new(claims, admitted.permissions);
    Ok(admitted)
}

/// Hands a request to its room, and waits for the answer.
async fn request_room(edge: &Edge, address: &Address, request: model::Request) -> Result<Response<Body>, Refusal> {
    let answered = clock::timeout(edge.limits.answer_timeout, edge.rooms.request(address, request)).await;
    let answered =
        answered.map_err(|_| overloaded("the room did not answer in time; it may still process the request"))?;
    let response = answered.map_err(|error| unanswered(&error))?;
    Ok(from_component(&edge.response_headers, Some(address), response))
}

#[cfg(test)]
mod tests {
    use super::credential::without_credentials;

    #[test]
    fn no_component_sees_a_token_or_a_ticket() {
        assert_eq!(without_credentials("since=4&token=a:b&x=1"), Some("since=4&x=1".into()));
        assert_eq!(without_credentials("ticket=abc"), None);
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::proptest::collection::vec;
    use dormouse_fuzz::proptest::prelude::any;
    use dormouse_fuzz::{fuzz, mutated};

    use super::credential::{parameter, without_credentials};
    use super::*;
    use crate::config::Config;
    use crate::edge::headers::ResponseHeaders;

    #[test]
    fn credentials_are_removed_from_queries_and_the_rest_is_kept() {
        const EXAMPLES: [&[u8]; 4] =
            [b"since=4&token=a:b&x=1", b"ticket=abc", b"token=&token&ticket==&&%74oken=x", b"tokens=1&=token"];
        fuzz(mutated(&EXAMPLES), |bytes| {
            let query = String::from_utf8_lossy(&bytes).into_owned();
            let kept = without_credentials(&query).unwrap_or_default();
            for name in ["token", "ticket"] {
                assert_eq!(parameter(&kept, name), None, "{kept:?}");
            }
            let others = |query: &str| {
                let others =
                    query.split('&').filter(|pair| !pair.starts_with("token=") && !pair.starts_with("ticket="));
                others.filter(|pair| !pair.is_empty()).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(others(&kept), others(&query));
        });
    }

    #[test]
    fn any_component_response_becomes_a_valid_response() {
        let header = (mutated(&[b"x-a", b"set-cookie", b"content-length"]), mutated(&[b"b", b"a\r\nb: c"]));
        fuzz((any::<u16>(), vec(header, 0..4)), |(status, headers)| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let headers = headers.into_iter().map(|(name, value)| (text(name), text(value))).collect();
            let allowed = ResponseHeaders::new(&Config::default());
            let answer = from_component(&allowed, None, model::Response { status, headers, body: Vec::new() });
            let sent = answer.status().as_u16();
            assert!(sent == status && (200..600).contains(&status) || sent == 500, "{status} became {sent}");
            assert!(!answer.headers().contains_key(header::SET_COOKIE));
            assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
        });
    }
}
