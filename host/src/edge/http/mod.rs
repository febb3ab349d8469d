//! Answers one HTTP request: the page, health, tickets, or a room through the router. It knows the order of the checks,
//! which `edge/mod.rs` lists. It does not know connections or frames: `edge` and `service` call it.

pub(in crate::edge) mod authorization;
pub(in crate::edge) mod credential;
pub(in crate::edge) mod page;
pub(in crate::edge) mod request_body;
pub(in crate::edge) mod service;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::body::Body as HttpBody;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::json;

use self::credential::{Bearer, has_two, identify, without_credentials};
use self::request_body::{BoxError, read, unreadable};
use super::Edge;
use super::headers::{self, ONLY_FROM_PROXIES};
use crate::clock;
use crate::edge::admission::budget::{Permit, Requester, RequesterId};
use crate::edge::admission::connection_limits::{ConnectionPermit, network};
use crate::edge::admission::origin::Origin;
use crate::edge::admission::socket_permits::SocketPermits;
use crate::edge::identity::tickets;
use crate::edge::identity::verified::Verified;
use crate::edge::listener::activity::Activity;
use crate::edge::response::body::Body;
use crate::edge::response::component::from_component;
use crate::edge::response::json::{json_response, without_body};
use crate::edge::response::problem::{problem, problem_with};
use crate::edge::response::refusals::{overloaded, refuse, too_many, unanswered};
use crate::edge::sockets::event_stream;
use crate::edge::sockets::upgrade;
use crate::guest::{Decision, Moment};
use crate::limit_hits::Limit;
use crate::limits;
use crate::model::{self, Address};
use crate::random;

/// Answers one request.
pub(super) async fn answer<B>(edge: Arc<Edge>, request: Request<B>) -> Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let is_head = request.method() == Method::HEAD;
    let response = dated(answer_whole(edge, request).await);
    if is_head { without_body(response) } else { response }
}

/// Sets the `date` header. hyper would set it from a cache, which stands still after the system clock was set back.
pub(super) fn dated(mut response: Response<Body>) -> Response<Body> {
    let now = UNIX_EPOCH + Duration::from_millis(clock::unix_millis());
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

async fn answer_whole<B>(edge: Arc<Edge>, request: Request<B>) -> Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    // HTTP/2 has the host in `:authority`, and in HTTP/1.1 an absolute target overrides the header.
    if let Some(host) = parts.uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        parts.headers.insert(header::HOST, host);
    }
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    // A server that mounts the host checks this itself.
    if parts.extensions.get::<Arc<ConnectionPermit>>().is_some()
        && (hosts > 1 || (hosts == 0 && parts.version != Version::HTTP_10))
    {
        let mut response = problem(StatusCode::BAD_REQUEST, "a request must name exactly one host");
        // HTTP/2 has no such header, and its requests have clear bounds.
        if parts.version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        return response;
    }
    let request = Request::from_parts(parts, ());
    let path = request.uri().path();
    if path == "/healthz" {
        return health(&edge);
    }
    // An embedder that has verified the user knows its own host names as well.
    if !edge.origins.serve(request.uri(), request.headers()) && request.extensions().get::<Verified>().is_none() {
        return problem(StatusCode::MISDIRECTED_REQUEST, edge.origins.wrong_name());
    }
    let Some(relative) = relative(path, &edge.base_path, edge.page) else {
        return page(&edge, &request);
    };
    let relative = relative.to_owned();
    if let Some(refusal) = ambiguous(request.headers()) {
        return refusal;
    }
    let origin = edge.origins.of(request.uri(), request.headers());
    let allowed = match &origin {
        Origin::Allowed(origin) => HeaderValue::from_str(origin).ok(),
        _ => None,
    };
    let mut response = match (request.method() == Method::OPTIONS, &origin) {
        (true, _) => preflight(&origin),
        (false, Origin::Foreign) if upgrade::is_asked(request.headers()) => {
            problem(StatusCode::FORBIDDEN, "this origin may not open sockets here")
        }
        (false, _) if edge.pressure.is_high() => {
            edge.metrics.refused(Limit::Memory);
            overloaded("the server has too little memory now")
        }
        // In dev auth any page could POST as any user without reading the response (CSRF), so foreign origins are
        // refused entirely.
        (false, Origin::Foreign) if edge.verifier.is_dev() => {
            problem(StatusCode::FORBIDDEN, "this origin is not allowed")
        }
        (false, _) => api(&edge, request, body, relative, &origin).await,
    };
    edge.metrics.answered(response.status().as_u16());
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        headers::complete_allow(response.headers_mut());
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, edge.response_headers.exposed());
    }
    response
}

/// Refuses a head that a proxy and the host could read differently.
fn ambiguous(headers: &HeaderMap) -> Option<Response<Body>> {
    if let Some(name) = headers::duplicate(headers) {
        let detail = format!("the header `{name}` must not be repeated");
        return Some(problem(StatusCode::BAD_REQUEST, &detail));
    }
    has_two(headers)
        .then(|| problem(StatusCode::BAD_REQUEST, "a request must have one bearer token, and this one has several"))
}

/// The path below the base path, with its leading slash.
fn relative<'a>(path: &'a str, base: &str, has_page: bool) -> Option<&'a str> {
    if base == "/" && !has_page {
        return Some(path);
    }
    if base == "/" {
        // The page's own paths are not the API's.
        return (path != "/" && !path.starts_with("/client/")).then_some(path).filter(|path| !is_page(path));
    }
    path.strip_prefix(base).filter(|rest| rest.starts_with('/'))
}

fn is_page(path: &str) -> bool {
    path == "/config.json" || page::file(path, &HeaderMap::new()).is_some()
}

fn page(edge: &Edge, request: &Request<()>) -> Response<Body> {
    let path = request.uri().path();
    let found = match path {
        _ if !edge.page => None,
        "/config.json" => Some(page::config(&edge.base_path, edge.verifier.is_dev())),
        _ => page::file(path, request.headers()),
    };
    match found {
        Some(response) if matches!(*request.method(), Method::GET | Method::HEAD) => response,
        Some(_) => problem_with(StatusCode::METHOD_NOT_ALLOWED, "only GET here", header::ALLOW, "GET, HEAD"),
        None => problem(StatusCode::NOT_FOUND, "nothing here"),
    }
}

pub(super) fn health(edge: &Edge) -> Response<Body> {
    match edge.rooms.health() {
        Ok(()) => json_response(&json!({ "status": "ok", "roomsRunning": edge.rooms.running() })),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn preflight(origin: &Origin) -> Response<Body> {
    if *origin == Origin::Foreign {
        return problem(StatusCode::FORBIDDEN, "this origin is not allowed");
    }
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, idempotency-key"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

async fn api<B>(edge: &Arc<Edge>, mut request: Request<()>, body: B, path: String, origin: &Origin) -> Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let place = request.extensions().get::<Arc<ConnectionPermit>>().cloned();
    let behind = match &place {
        Some(place) if place.is_proxy() => edge.connection_limits.behind(place, request.headers()),
        Some(_) => {
            ONLY_FROM_PROXIES.iter().for_each(|name| drop(request.headers_mut().remove(*name)));
            None
        }
        // A server that mounts the host has its own rules for proxies.
        None => None,
    };
    if let Some(place) = &place
        && edge.connection_limits.may_ask(place, behind).is_err()
    {
        return refuse(&edge.metrics, Limit::ConnectsPerAddress);
    }
    let bearer = match identify(edge, &request, origin) {
        Ok(bearer) => bearer,
        Err(invalid) => {
            return problem_with(StatusCode::UNAUTHORIZED, &invalid.0, header::WWW_AUTHENTICATE, "Bearer");
        }
    };
    // A request over HTTP costs the user as much as a message: it costs the server the same.
    if let Some(bearer) = &bearer
        && !edge.users.of(&bearer.verified.user.id).may_say(clock::monotonic())
    {
        return refuse(&edge.metrics, Limit::MessagesPerUser);
    }
    if path == "/tickets" {
        return ticket(edge, request.method(), bearer);
    }
    let verified = bearer.map(|bearer| bearer.verified);
    let asker = asker(place.as_deref(), behind, verified.as_ref());
    let mut permit = match edge.budget.request(&asker) {
        Ok(permit) => permit,
        Err(refused) => return refuse(&edge.metrics, refused),
    };
    let asked =
        ResolvedRequest { place, behind, activity: request.extensions().get::<Arc<Activity>>().cloned(), verified };
    let response = resolve(edge, request, body, path, &asker, asked, &mut permit).await;
    // An SSE stream counts as a socket, and is bounded by `socket_queue_bytes`.
    let Some(bytes) = response.body().len() else { return response };
    match edge.budget.answer(&asker, bytes) {
        Ok(bytes) => response.map(|body| body.holding((permit, bytes))),
        // The room has already acted, but a lost answer must not look like success.
        Err(refused) => refuse(&edge.metrics, refused),
    }
}

/// The holders of the shares that a request counts against.
fn asker(place: Option<&ConnectionPermit>, behind: Option<IpAddr>, verified: Option<&Verified>) -> Requester {
    let address = behind.map(network).or_else(|| place.and_then(ConnectionPermit::address));
    let who = match (verified, address) {
        (Some(verified), _) => RequesterId::User(verified.user.id.clone()),
        (None, Some(address)) => RequesterId::Address(address),
        (None, None) => RequesterId::Unknown,
    };
    Requester { who, address, connection: place.map(ConnectionPermit::number) }
}

/// The facts about a request that components do not see.
struct ResolvedRequest {
    place: Option<Arc<ConnectionPermit>>,
    /// The client's address, if a proxy names it.
    behind: Option<IpAddr>,
    activity: Option<Arc<Activity>>,
    verified: Option<Verified>,
}

/// Asks the router, and then the room that it names.
async fn resolve<B>(
    edge: &Arc<Edge>,
    mut request: Request<()>,
    body: B,
    path: String,
    asker: &Requester,
    asked: ResolvedRequest,
    permit: &mut Permit,
) -> Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let ResolvedRequest { place, behind, activity, verified } = asked;
    let is_head = request.method() == Method::HEAD;
    let handshake = upgrade::Handshake::take(&mut request, !body.is_end_stream());
    let has_body = !body.is_end_stream();
    let unreadable = if has_body { unreadable(request.headers()) } else { None };
    let mut seen = see(request, path, &verified);
    let mut most = edge.limits.body_bytes;
    if verified.is_none() && has_body {
        // Read nothing of the body if the router refuses the request anyway.
        match route(edge, seen.clone()).await {
            Ok(Decision::Respond(answer)) if is_refusal(answer.status) => {
                return from_component(&edge.response_headers, None, answer);
            }
            Ok(_) => most = most.min(limits::ANONYMOUS_BODY_BYTES),
            Err(response) => return *response,
        }
    }
    if let Some(refusal) = unreadable {
        return refusal;
    }
    // The bytes stay counted until the component is done with them.
    let mut bytes = match edge.budget.body(asker) {
        Ok(bytes) => bytes,
        Err(refused) => return refuse(&edge.metrics, refused),
    };
    if has_body {
        seen.body = match read(edge, body, most, &mut bytes).await {
            Ok(body) => body,
            Err(response) => return *response,
        };
    }
    let (how, namespace, name, request) = match route(edge, seen).await {
        Ok(Decision::Respond(answer)) => return from_component(&edge.response_headers, None, answer),
        Ok(Decision::Request { namespace, name, request }) => (RoomEntry::Request, namespace, name, request),
        Ok(Decision::Connect { namespace, name, request }) => (RoomEntry::Connect, namespace, name, request),
        Err(response) => return *response,
    };
    let address = match Address::new(&namespace, &name) {
        Ok(address) => address,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Err(refused) = edge.budget.enter(permit, &address) {
        return refuse(&edge.metrics, refused);
    }
    if how == RoomEntry::Request {
        let answered = clock::timeout(edge.limits.answer_timeout, edge.rooms.request(&address, request));
        return match answered.await {
            Ok(Ok(response)) => from_component(&edge.response_headers, Some(&namespace), response),
            Ok(Err(no_answer)) => unanswered(&no_answer),
            Err(_) => overloaded("the room did not answer in time; it may still process the request"),
        };
    }
    let Some(verified) = verified else {
        let detail = "a socket needs an identity";
        return problem_with(StatusCode::UNAUTHORIZED, detail, header::WWW_AUTHENTICATE, "Bearer");
    };
    let listens = matches!(handshake, upgrade::Handshake::None) && event_stream::are_asked(&request);
    if listens && is_head {
        return event_stream::head();
    }
    // Refuse a request that cannot become a socket before it pays for a join.
    let handshake = match handshake {
        upgrade::Handshake::None if !listens => return upgrade::required(),
        upgrade::Handshake::Bad(detail) => return upgrade::wrong(detail),
        handshake => handshake,
    };
    let user = &verified.user.id;
    let permits = SocketPermits::take(&edge.users, &edge.connection_limits, user, &address, place.as_deref(), behind);
    let admitted = match permits {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(&edge.metrics, refused),
    };
    if let Some(activity) = &activity {
        activity.listen();
    }
    match handshake {
        upgrade::Handshake::Good(upgrade) => {
            upgrade::connect(edge, upgrade, &address, request, verified, admitted).await
        }
        _ => event_stream::connect(edge, &address, request, verified, admitted, activity).await,
    }
}

/// How a request goes to its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoomEntry {
    Request,
    Connect,
}

/// Asks the router where a request goes.
async fn route(edge: &Edge, request: model::Request) -> Result<Decision, Box<Response<Body>>> {
    let moment = Moment { now: clock::unix_millis(), seed: random::bytes() };
    edge.router.route(request, moment, &edge.long_turns).await.map_err(|failure| {
        tracing::error!(%failure, "the router failed");
        Box::new(problem(StatusCode::INTERNAL_SERVER_ERROR, "the router failed"))
    })
}

/// Returns whether a router's answer depends only on the user and the path, so that it would be the same with a body.
fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 410 | 429)
}

fn ticket(edge: &Edge, method: &Method, bearer: Option<Bearer>) -> Response<Body> {
    if method != Method::POST {
        return problem_with(StatusCode::METHOD_NOT_ALLOWED, "only POST here", header::ALLOW, "POST");
    }
    let refuse = |detail| problem_with(StatusCode::UNAUTHORIZED, detail, header::WWW_AUTHENTICATE, "Bearer");
    let Some(bearer) = bearer else { return refuse("a ticket needs an identity") };
    if bearer.by_ticket {
        // Otherwise a ticket could be renewed without end.
        return refuse("a ticket is not given for a ticket");
    }
    match edge.tickets.issue(bearer.verified) {
        Ok(ticket) => json_response(&json!({ "ticket": ticket, "expiresIn": tickets::VALID_FOR.as_secs() })),
        Err(limit) => {
            edge.metrics.refused(limit);
            match limit {
                Limit::TicketsPerUser => too_many("too many unused tickets of this user"),
                _ => overloaded("too many unused tickets in all"),
            }
        }
    }
}

/// The request as components see it: without credentials, and still without its body. They see a HEAD as a GET.
fn see(request: Request<()>, path: String, verified: &Option<Verified>) -> model::Request {
    let (parts, ()) = request.into_parts();
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method };
    model::Request {
        method: method.as_str().to_owned(),
        path,
        query: parts.uri.query().and_then(without_credentials),
        headers: headers::for_rooms(&parts.headers),
        body: Vec::new(),
        user: verified.as_ref().map(|verified| verified.user.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_component_sees_a_token_or_a_ticket() {
        assert_eq!(without_credentials("since=4&token=a:b&x=1"), Some("since=4&x=1".into()));
        assert_eq!(without_credentials("ticket=abc"), None);
    }

    #[test]
    fn paths_are_relative_to_the_base_path() {
        for has_page in [true, false] {
            let relative = |path, base| relative(path, base, has_page);
            assert_eq!(relative("/api/realtime/rooms/a/ws", "/api/realtime"), Some("/rooms/a/ws"));
            assert_eq!(relative("/api/realtimes/rooms", "/api/realtime"), None);
            assert_eq!(relative("/api/realtime", "/api/realtime"), None);
            assert_eq!(relative("/rooms/a/ws", "/"), Some("/rooms/a/ws"));
            for path in ["/", "/client/a/ws", "/config.json"] {
                assert_eq!(relative(path, "/").is_none(), has_page, "{path}");
            }
        }
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::proptest::collection::vec;
    use dormouse_fuzz::proptest::prelude::any;
    use dormouse_fuzz::{fuzz, mutated};

    use super::credential::parameter;
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
