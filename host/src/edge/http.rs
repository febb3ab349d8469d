//! Answers one HTTP request: the page, health, tickets, or a room through the router. It knows the order of the checks,
//! which `edge/mod.rs` lists. It does not know connections or frames: `edge` and `service` call it.

use std::error::Error;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::BufMut;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use rand::Rng;
use serde_json::json;

use super::activity::Activity;
use super::body::Body;
use super::budget::{Asker, BodyBytes, Permit, Who};
use super::door::{Place, network};
use super::headers::{self, ONLY_FROM_PROXIES, ResponseHeaders};
use super::identity::{Invalid, Verified};
use super::origin::Origin;
use super::problem::{problem, problem_with};
use super::{Edge, events, page, tickets, upgrade};
use crate::clock;
use crate::config;
use crate::guest::{Decision, Moment};
use crate::model::{self, Address};
use crate::refused::Refused;
use crate::room::{ConnectError, NoAnswer};

/// The prefix of a token in `Authorization`.
pub(super) const BEARER: &str = "bearer ";
/// The prefix of a token in `Sec-WebSocket-Protocol`.
const BEARER_PROTOCOL: &[u8] = b"bearer.";

/// The error of a request's body.
pub(super) type BoxError = Box<dyn Error + Send + Sync>;

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

/// Makes the answer to a HEAD from the answer to a GET. hyper would send the body over HTTP/2.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if let Some(length @ 1..) = body.len() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(parts, Body::default())
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
    if parts.extensions.get::<Arc<Place>>().is_some()
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
    let Some(relative) = relative(path, &edge.base_path) else {
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
            edge.metrics.refused(Refused::Memory);
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
    let bearers = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer_token);
    let named = upgrade::protocols(headers).filter(|protocol| protocol.starts_with(BEARER_PROTOCOL));
    let has_two = bearers.count() > 1 || named.count() > 1;
    has_two.then(|| problem(StatusCode::BAD_REQUEST, "a request must have one bearer token, and this one has several"))
}

/// The path below the base path, with its leading slash.
fn relative<'a>(path: &'a str, base: &str) -> Option<&'a str> {
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
    let place = request.extensions().get::<Arc<Place>>().cloned();
    let behind = match &place {
        Some(place) if place.is_proxy() => edge.door.behind(place, request.headers()),
        Some(_) => {
            ONLY_FROM_PROXIES.iter().for_each(|name| drop(request.headers_mut().remove(*name)));
            None
        }
        // A server that mounts the host has its own rules for proxies.
        None => None,
    };
    if let Some(place) = &place
        && edge.door.may_ask(place, behind).is_err()
    {
        return refuse(edge, Refused::ConnectsPerAddress);
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
        return refuse(edge, Refused::MessagesPerUser);
    }
    if path == "/tickets" {
        return ticket(edge, request.method(), bearer);
    }
    let verified = bearer.map(|bearer| bearer.verified);
    let asker = asker(place.as_deref(), behind, verified.as_ref());
    let mut permit = match edge.budget.request(&asker) {
        Ok(permit) => permit,
        Err(refused) => return refuse(edge, refused),
    };
    let asked = Asked { place, behind, activity: request.extensions().get::<Arc<Activity>>().cloned(), verified };
    let response = ask(edge, request, body, path, &asker, asked, &mut permit).await;
    // An SSE stream counts as a socket, and is bounded by `socket_queue_bytes`.
    let Some(bytes) = response.body().len() else { return response };
    match edge.budget.answer(&asker, bytes) {
        Ok(bytes) => response.map(|body| body.holding((permit, bytes))),
        // The room has already acted, but a lost answer must not look like success.
        Err(refused) => refuse(edge, refused),
    }
}

/// The holders of the shares that a request counts against.
fn asker(place: Option<&Place>, behind: Option<IpAddr>, verified: Option<&Verified>) -> Asker {
    let address = behind.map(network).or_else(|| place.and_then(Place::address));
    let who = match (verified, address) {
        (Some(verified), _) => Who::User(verified.user.id.clone()),
        (None, Some(address)) => Who::Address(address),
        (None, None) => Who::Unknown,
    };
    Asker { who, address, connection: place.map(Place::number) }
}

/// Refuses a body with a content coding, before any of it is read.
fn unreadable(headers: &HeaderMap) -> Option<Response<Body>> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let coding = codings.find(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))?;
    let coding = coding.escape_ascii();
    let detail = format!("the body has the content-encoding `{coding}`, which is not supported; send it uncompressed");
    Some(problem_with(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail, header::ACCEPT_ENCODING, "identity"))
}

fn too_large() -> Response<Body> {
    problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
}

/// The facts about a request that components do not see.
struct Asked {
    place: Option<Arc<Place>>,
    /// The client's address, if a proxy names it.
    behind: Option<IpAddr>,
    activity: Option<Arc<Activity>>,
    verified: Option<Verified>,
}

/// Asks the router, and then the room that it names.
async fn ask<B>(
    edge: &Arc<Edge>,
    mut request: Request<()>,
    body: B,
    path: String,
    asker: &Asker,
    asked: Asked,
    permit: &mut Permit,
) -> Response<Body>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    let Asked { place, behind, activity, verified } = asked;
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
            Ok(_) => most = most.min(config::ANONYMOUS_BODY_BYTES),
            Err(response) => return *response,
        }
    }
    if let Some(refusal) = unreadable {
        return refusal;
    }
    // The bytes stay counted until the component is done with them.
    let mut bytes = match edge.budget.body(asker) {
        Ok(bytes) => bytes,
        Err(refused) => return refuse(edge, refused),
    };
    if has_body {
        seen.body = match read(edge, body, most, &mut bytes).await {
            Ok(body) => body,
            Err(response) => return *response,
        };
    }
    let (how, namespace, name, request) = match route(edge, seen).await {
        Ok(Decision::Respond(answer)) => return from_component(&edge.response_headers, None, answer),
        Ok(Decision::Request { namespace, name, request }) => (How::Request, namespace, name, request),
        Ok(Decision::Connect { namespace, name, request }) => (How::Connect, namespace, name, request),
        Err(response) => return *response,
    };
    let address = match Address::new(&namespace, &name) {
        Ok(address) => address,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if let Err(refused) = edge.budget.enter(permit, &address) {
        return refuse(edge, refused);
    }
    if how == How::Request {
        let answered = tokio::time::timeout(edge.limits.answer_within, edge.rooms.request(&address, request));
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
    let listens = matches!(handshake, upgrade::Handshake::None) && events::are_asked(&request);
    if listens && is_head {
        return events::head();
    }
    // Refuse a request that cannot become a socket before it pays for a join.
    let handshake = match handshake {
        upgrade::Handshake::None if !listens => return upgrade::required(),
        upgrade::Handshake::Bad(detail) => return upgrade::wrong(detail),
        handshake => handshake,
    };
    let admitted = match edge.admit(&verified.user.id, &address, place.as_deref(), behind) {
        Ok(admitted) => admitted,
        Err(refused) => return refuse(edge, refused),
    };
    if let Some(activity) = activity {
        activity.listen();
    }
    match handshake {
        upgrade::Handshake::Good(upgrade) => {
            upgrade::connect(edge, upgrade, &address, request, verified, admitted).await
        }
        _ => events::connect(edge, &address, request, verified, admitted).await,
    }
}

/// How a request goes to its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Request,
    Connect,
}

/// Asks the router where a request goes.
async fn route(edge: &Edge, request: model::Request) -> Result<Decision, Box<Response<Body>>> {
    let mut moment = Moment { now: clock::unix_millis(), seed: [0; 32] };
    rand::rng().fill_bytes(&mut moment.seed);
    edge.router.route(request, moment, &edge.lane).await.map_err(|failure| {
        tracing::error!(%failure, "the router failed");
        Box::new(problem(StatusCode::INTERNAL_SERVER_ERROR, "the router failed"))
    })
}

/// Returns whether a router's answer depends only on the user and the path, so that it would be the same with a body.
fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 410 | 429)
}

/// A verified user, and the kind of credential.
struct Bearer {
    verified: Verified,
    /// The credential was a ticket and not the token itself.
    by_ticket: bool,
}

/// Identifies the user; a revoked one is an error.
fn identify(edge: &Edge, request: &Request<()>, origin: &Origin) -> Result<Option<Bearer>, Invalid> {
    let bearer = credential(edge, request, origin)?;
    if let Some(Bearer { verified, .. }) = &bearer {
        edge.check_revoked(verified)?;
    }
    Ok(bearer)
}

/// Verifies the first credential that is present; a later one is not tried if this one is invalid.
fn credential(edge: &Edge, request: &Request<()>, origin: &Origin) -> Result<Option<Bearer>, Invalid> {
    let by_token = |verified| Some(Bearer { verified, by_ticket: false });
    // An embedder may have verified the user already. Requests from the network cannot set extensions.
    if let Some(verified) = request.extensions().get::<Verified>() {
        return verified.clone().check().map(by_token);
    }
    let headers = request.headers();
    let query = request.uri().query().unwrap_or_default();
    let in_url = parameter(query, "token");
    // Refused even beside a valid credential: otherwise the bad habit would go unnoticed.
    if in_url.is_some() && !edge.verifier.is_dev() {
        return Err(Invalid(
            "a token in a URL is not accepted: it would end up in logs and histories; send it in the header \
             `authorization`, in the subprotocol `bearer.TOKEN` or in a cookie, or ask for a ticket"
                .into(),
        ));
    }
    let verify = |token: &str| edge.verifier.verify(token).map(by_token);
    // Skip other schemes: a proxy in front may ask for its own password.
    if let Some(token) = headers.get_all(header::AUTHORIZATION).iter().find_map(bearer_token) {
        // A name in a dev token may be any UTF-8, but `to_str` accepts only ASCII.
        let token = std::str::from_utf8(token).map_err(|_| Invalid("the token is not UTF-8".into()))?;
        return verify(token);
    }
    if let Some(token) = upgrade::protocols(headers).find_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL)) {
        let token = std::str::from_utf8(token).map_err(|_| Invalid("the token is not UTF-8".into()))?;
        return verify(token);
    }
    // Browsers attach cookies to requests of any page, so a cookie counts only if the origin is trusted (CSRF).
    if *origin != Origin::Foreign
        && let Some(token) = cookie(headers, &edge.cookie)
    {
        return verify(&token);
    }
    if let Some(ticket) = parameter(query, "ticket") {
        return match edge.tickets.take(&ticket) {
            Some(verified) => Ok(Some(Bearer { verified, by_ticket: true })),
            None => Err(Invalid("the ticket was used or has expired".into())),
        };
    }
    in_url.map_or(Ok(None), |token| verify(&token))
}

/// The token of an `authorization` header; absent if its scheme is not `Bearer`.
fn bearer_token(authorization: &HeaderValue) -> Option<&[u8]> {
    let bytes = authorization.as_bytes().trim_ascii();
    let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
    let (scheme, token) = bytes.split_at(end);
    scheme.eq_ignore_ascii_case(BEARER.trim_ascii_end().as_bytes()).then(|| token.trim_ascii())
}

/// The token of a cookie, which may be quoted and percent-encoded.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers::cookie(headers, name)?;
    let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    percent_encoding::percent_decode(unquoted).decode_utf8().ok().map(Into::into)
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
                Refused::TicketsPerUser => too_many("too many unused tickets of this user"),
                _ => overloaded("too many unused tickets in all"),
            }
        }
    }
}

/// Reads the whole body, within its limits of bytes and time.
async fn read<B>(edge: &Edge, body: B, most: usize, bytes: &mut BodyBytes) -> Result<Vec<u8>, Box<Response<Body>>>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > most as u64 {
        return Err(Box::new(too_large()));
    }
    let mut body = pin!(body);
    let mut whole = Vec::new();
    let all = async {
        while let Some(frame) = body.as_mut().frame().await {
            let broke_off = |_| Box::new(problem(StatusCode::BAD_REQUEST, "the body broke off"));
            let Ok(data) = frame.map_err(broke_off)?.into_data() else { continue };
            let more = bytes::Buf::remaining(&data);
            if whole.len() + more > most {
                return Err(Box::new(too_large()));
            }
            bytes.grow(more).map_err(|refused| Box::new(refuse(edge, refused)))?;
            whole.put(data);
        }
        Ok(())
    };
    match tokio::time::timeout(edge.limits.body_within, all).await {
        Ok(read) => read.map(|()| whole),
        Err(_) => Err(Box::new(problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))),
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

fn without_credentials(query: &str) -> Option<String> {
    let secret = |pair: &&str| !matches!(pair.split_once('='), Some(("token" | "ticket", _)));
    let kept = query.split('&').filter(secret).collect::<Vec<_>>().join("&");
    (!kept.is_empty()).then_some(kept)
}

/// Makes an HTTP answer of a component's answer, with only the headers that a component may set. `namespace` is absent
/// for the router.
fn from_component(allowed: &ResponseHeaders, namespace: Option<&str>, answer: model::Response) -> Response<Body> {
    let bad = |what: &str| {
        tracing::error!("a component's answer cannot be sent: {what}");
        problem(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be sent")
    };
    let status = match StatusCode::from_u16(answer.status) {
        Ok(status) if (200..600).contains(&answer.status) => status,
        _ => return bad("its status is not within 200 to 599"),
    };
    if answer.body.len() > config::RESPONSE_BYTES {
        return bad("its body is too large");
    }
    if answer.headers.len() > config::RESPONSE_HEADERS {
        return bad("it has too many headers");
    }
    let mut response = Response::new(Body::whole(answer.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return bad("it has a header that HTTP does not allow");
        };
        if allowed.may_send(namespace, &name) {
            headers::add(headers, name, value);
        }
    }
    // A room's answer shares the page's origin, so browsers must treat it as data and never as a program.
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    // Only the host knows which credentials work here. With another scheme a browser would ask for a password.
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The answer if a room did not accept a client.
pub(super) fn not_connected(error: &ConnectError) -> Response<Body> {
    match error {
        ConnectError::Refused(status, reason) => {
            let status = StatusCode::from_u16(*status).ok().filter(|status| (400..600).contains(&status.as_u16()));
            problem(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), reason)
        }
        ConnectError::NoAnswer(no_answer) => unanswered(no_answer),
    }
}

fn unanswered(no_answer: &NoAnswer) -> Response<Body> {
    match no_answer {
        NoAnswer::NoNamespace => {
            tracing::error!("the router named a namespace that is not configured");
            problem(StatusCode::INTERNAL_SERVER_ERROR, &no_answer.to_string())
        }
        NoAnswer::Failed => problem(StatusCode::INTERNAL_SERVER_ERROR, &no_answer.to_string()),
        NoAnswer::Overloaded
        | NoAnswer::NoMemory
        | NoAnswer::TooManyRooms
        | NoAnswer::Broken
        | NoAnswer::NoSpace
        | NoAnswer::Draining => overloaded(&no_answer.to_string()),
    }
}

/// Counts a limit that was met, and answers: 429 for a limit of one user, address or connection, and 503 for a limit of
/// all.
fn refuse(edge: &Edge, refused: Refused) -> Response<Body> {
    edge.metrics.refused(refused);
    match refused {
        Refused::MessagesPerUser => too_many("too many messages, requests or joins of one user; slow down"),
        Refused::ConnectsPerAddress => too_many("too many connects, requests or joins from one address; slow down"),
        Refused::SocketsPerUser | Refused::RoomsPerUser | Refused::ConnectionsPerAddress => {
            too_many("too many sockets of one user, or from one address")
        }
        Refused::RequestsPerUser => too_many("too many requests of one user at once"),
        Refused::RequestsPerAddress => too_many("too many requests from one address at once"),
        Refused::RequestBytesPerUser => too_many("too many bytes in the bodies of this user's requests"),
        Refused::AnswerBytesPerUser => too_many("too many unread answers of this user"),
        Refused::AnswerBytesPerConnection => too_many("too many unread answers on this connection"),
        Refused::RequestsPerRoom => overloaded("too many requests to one room at once"),
        Refused::RequestsPerNamespace => overloaded("too many requests to rooms of one kind at once"),
        Refused::RequestBytes => overloaded("too many bytes in the bodies of all requests"),
        Refused::AnswerBytes => overloaded("too many unread answers in all"),
        Refused::AnonymousRequests => overloaded("too many requests without an identity at once"),
        _ => overloaded("too many requests at once"),
    }
}

/// An answer with 503. The delay is random, so that clients do not return all at once.
pub(super) fn overloaded(detail: &str) -> Response<Body> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(rand::random_range(1_u32..=5)));
    response
}

/// An answer with 429. The delay is random, as above.
pub(super) fn too_many(detail: &str) -> Response<Body> {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(rand::random_range(1_u32..=5)));
    response
}

pub(super) fn json_response(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(value.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let (_, value) = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    percent_decode(&value.replace('+', " "))
}

fn percent_decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// The delay for a client whose connection was turned away.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

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
        assert_eq!(relative("/api/realtime/rooms/a/ws", "/api/realtime"), Some("/rooms/a/ws"));
        assert_eq!(relative("/api/realtimes/rooms", "/api/realtime"), None);
        assert_eq!(relative("/api/realtime", "/api/realtime"), None);
        assert_eq!(relative("/rooms/a/ws", "/"), Some("/rooms/a/ws"));
        assert_eq!(relative("/", "/"), None);
    }
}

#[cfg(test)]
mod fuzz {
    use dormouse_fuzz::proptest::collection::vec;
    use dormouse_fuzz::proptest::prelude::any;
    use dormouse_fuzz::{fuzz, spoiled};

    use super::*;

    #[test]
    fn credentials_are_removed_from_queries_and_the_rest_is_kept() {
        const EXAMPLES: [&[u8]; 4] =
            [b"since=4&token=a:b&x=1", b"ticket=abc", b"token=&token&ticket==&&%74oken=x", b"tokens=1&=token"];
        fuzz(spoiled(&EXAMPLES), |bytes| {
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
        let header = (spoiled(&[b"x-a", b"set-cookie", b"content-length"]), spoiled(&[b"b", b"a\r\nb: c"]));
        fuzz((any::<u16>(), vec(header, 0..4)), |(status, headers)| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let headers = headers.into_iter().map(|(name, value)| (text(name), text(value))).collect();
            let allowed = ResponseHeaders::new(&config::Config::default());
            let answer = from_component(&allowed, None, model::Response { status, headers, body: Vec::new() });
            let sent = answer.status().as_u16();
            assert!(sent == status && (200..600).contains(&status) || sent == 500, "{status} became {sent}");
            assert!(!answer.headers().contains_key(header::SET_COOKIE));
            assert!(!answer.headers().contains_key(header::CONTENT_LENGTH));
        });
    }
}
