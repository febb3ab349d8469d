//! The promises of the router, by the routes of the protocol. It runs in a new instance for each request, so it keeps
//! no state.

use std::sync::LazyLock;

use dormouse_bundle::ROUTER;
use dormouse_test::{Decision, Request, Response, TestRouter, User, header, problem};

/// A client that stays, or a request with an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum RouteKind {
    Connect,
    Request,
}

/// A row of the table: path, the path that the room sees, and the kind of route for each method.
struct Row {
    path: &'static str,
    methods: &'static [&'static str],
    kind: RouteKind,
    namespace: &'static str,
    name: &'static str,
    seen: &'static str,
}

const fn row(
    path: &'static str,
    methods: &'static [&'static str],
    kind: RouteKind,
    namespace: &'static str,
    name: &'static str,
    seen: &'static str,
) -> Row {
    Row { path, methods, kind, namespace, name, seen }
}

/// All that there is.
const ROUTE_TABLE: [Row; 8] = [
    row("/rooms/lobby/ws", &["GET"], RouteKind::Connect, "ROOMS", "lobby", "/ws"),
    row("/rooms/lobby/messages", &["GET", "POST"], RouteKind::Request, "ROOMS", "lobby", "/messages"),
    row("/presence/ws", &["GET"], RouteKind::Connect, "PRESENCE", "global", "/ws"),
    row("/presence/list", &["GET"], RouteKind::Request, "PRESENCE", "global", "/list"),
    row("/presence/update", &["POST"], RouteKind::Request, "PRESENCE", "global", "/update"),
    row("/presence/team/ws", &["GET"], RouteKind::Connect, "PRESENCE", "team", "/ws"),
    row("/presence/team/list", &["GET"], RouteKind::Request, "PRESENCE", "team", "/list"),
    row("/presence/team/update", &["POST"], RouteKind::Request, "PRESENCE", "team", "/update"),
];

/// Where the name of a room stands in a path.
const PATHS_WITH_NAME: [(&str, &str); 5] = [
    ("/rooms/NAME/ws", "GET"),
    ("/rooms/NAME/messages", "POST"),
    ("/presence/NAME/ws", "GET"),
    ("/presence/NAME/list", "GET"),
    ("/presence/NAME/update", "POST"),
];

const METHODS: [&str; 11] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "get", ""];

fn ana() -> User {
    User { id: "u1".into(), name: "Ana".into() }
}

fn request(method: &str, path: &str) -> Request {
    Request { method: method.into(), path: path.into(), user: Some(ana()), ..Request::default() }
}

static ROUTES: LazyLock<TestRouter> =
    LazyLock::new(|| TestRouter::new(ROUTER).with_namespaces(["ROOMS", "PRESENCE", "BIG_POLLS"]));

/// The router's own answer. Fails the test if it forwards the request.
fn answer(request: Request) -> Response {
    let what = format!("{} {}", request.method, request.path);
    match ROUTES.route(request) {
        Decision::Respond(response) => response,
        other => panic!("{what} goes on: {other:?}"),
    }
}

/// Where a request goes, and how. Fails the test where the router answers it.
fn destination(request: Request) -> (RouteKind, String, String, Request) {
    let what = format!("{} {}", request.method, request.path);
    match ROUTES.route(request) {
        Decision::Connect { namespace, name, request } => (RouteKind::Connect, namespace, name, request),
        Decision::Request { namespace, name, request } => (RouteKind::Request, namespace, name, request),
        Decision::Respond(response) => panic!("{what}: {response:?}"),
    }
}

/// A path with a name in it.
fn path(pattern: &str, name: &str) -> String {
    pattern.replace("NAME", name)
}

#[test]
fn every_route_leads_to_its_room() {
    for row in ROUTE_TABLE {
        for method in row.methods {
            let (kind, namespace, name, seen) = destination(request(method, row.path));
            assert_eq!((kind, &*namespace, &*name), (row.kind, row.namespace, row.name), "{method} {}", row.path);
            assert_eq!(seen, Request { path: row.seen.into(), ..request(method, row.path) });
        }
    }
}

#[test]
fn a_wrong_method_gets_the_allowed_ones() {
    for row in ROUTE_TABLE {
        for method in METHODS.into_iter().filter(|method| !row.methods.contains(method)) {
            let response = answer(request(method, row.path));
            assert_eq!(problem(&response), 405, "{method} {}", row.path);
            assert_eq!(header(&response, "allow"), Some(&*row.methods.join(", ")), "{method} {}", row.path);
        }
    }
}

#[test]
fn rooms_require_an_identity() {
    for row in ROUTE_TABLE {
        for method in row.methods {
            let response = answer(Request { user: None, ..request(method, row.path) });
            assert_eq!(problem(&response), 401, "{method} {}", row.path);
            assert_eq!(header(&response, "www-authenticate"), Some("Bearer"), "{method} {}", row.path);
        }
    }
}

#[test]
fn any_other_path_is_not_found() {
    let deep = "/nothing".repeat(10_000);
    let paths = [
        "",
        "/",
        "//",
        "rooms/lobby/ws",
        "/rooms",
        "/Rooms/lobby/ws",
        "/%72ooms/lobby/ws",
        "//rooms/lobby/ws",
        "/presence",
        "/big-polls",
        "/big_polls/lunch",
        "/BIG_POLLS/lunch",
        "/big%2Dpolls/lunch",
        "/tickets",
        "/api/realtime/rooms/lobby/ws",
        "/other/%FF",
        &deep,
    ];
    for path in paths {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(problem(&answer(request(method, path))), 404, "{method} {path:.80}");
        }
    }
}

#[test]
fn any_path_below_a_room_name_goes_to_the_room() {
    for (method, path, kind, namespace, name, seen) in [
        ("GET", "/big-polls/lunch", RouteKind::Request, "BIG_POLLS", "lunch", "/"),
        ("PUT", "/big-polls/a%20b/", RouteKind::Request, "BIG_POLLS", "a b", "/"),
        ("DELETE", "/big-polls/lunch/votes/%2F//7", RouteKind::Request, "BIG_POLLS", "lunch", "/votes/%2F//7"),
        ("GET", "/big-polls/lunch/ws", RouteKind::Connect, "BIG_POLLS", "lunch", "/ws"),
        ("POST", "/big-polls/lunch/ws/", RouteKind::Request, "BIG_POLLS", "lunch", "/ws/"),
        ("PATCH", "/rooms/lobby", RouteKind::Request, "ROOMS", "lobby", "/"),
        ("GET", "/rooms/a/b/ws", RouteKind::Request, "ROOMS", "a", "/b/ws"),
        ("POST", "/presence/team/list/x", RouteKind::Request, "PRESENCE", "team", "/list/x"),
        ("GET", "/presence/messages", RouteKind::Request, "PRESENCE", "messages", "/"),
    ] {
        let (found, space, room, request) = destination(request(method, path));
        assert_eq!((found, &*space, &*room, &*request.path), (kind, namespace, name, seen), "{method} {path}");
    }
    let (_, _, _, listens) = destination(request("GET", "/big-polls/lunch/events"));
    assert!(listens.headers.contains(&("accept".into(), "text/event-stream".into())));
    assert_eq!(problem(&answer(request("POST", "/big-polls/lunch/events"))), 405);
    assert_eq!(problem(&answer(Request { user: None, ..request("GET", "/big-polls/lunch") })), 401);
}

#[test]
fn only_namespaces_of_the_configuration_have_routes() {
    let router = TestRouter::new(ROUTER).with_namespaces(["rooms", "ROOMS"]);
    let Decision::Request { namespace, .. } = router.route(request("GET", "/rooms/a/messages")) else { panic!() };
    assert_eq!(namespace, "ROOMS", "the first in the order of the names");
    for router in [TestRouter::new(ROUTER), TestRouter::new(ROUTER).with_namespaces(["POLLS"])] {
        let Decision::Respond(response) = router.route(request("GET", "/presence/ws")) else { panic!() };
        assert_eq!(problem(&response), 404);
    }
}

#[test]
fn a_name_is_percent_decoded() {
    for (encoded, decoded) in [
        ("lobby", "lobby"),
        ("a%20b", "a b"),
        ("caf%C3%A9", "café"),
        ("caf%c3%a9", "café"),
        ("café", "café"),
        ("%F0%9F%90%AD", "🐭"),
        ("a+b%2Bc", "a+b+c"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("..", ".."),
        ("%2e%2E", ".."),
        ("a%3Fb%23c", "a?b#c"),
        ("%22%5C", "\"\\"),
        ("~id-7_x.y:z@w", "~id-7_x.y:z@w"),
        ("%C2%A0", "\u{a0}"),
    ] {
        for (pattern, method) in PATHS_WITH_NAME {
            assert_eq!(destination(request(method, &path(pattern, encoded))).2, decoded, "{pattern}");
        }
    }
}

#[test]
fn a_room_may_be_named_like_a_route() {
    for (path, name, seen) in [
        ("/presence/ws/ws", "ws", "/ws"),
        ("/presence/ws/list", "ws", "/list"),
        ("/presence/list/ws", "list", "/ws"),
        ("/presence/list/list", "list", "/list"),
        ("/presence/update/list", "update", "/list"),
        ("/presence/global/list", "global", "/list"),
        ("/presence/presence/list", "presence", "/list"),
        ("/rooms/ws/ws", "ws", "/ws"),
        ("/rooms/messages/messages", "messages", "/messages"),
        ("/rooms/rooms/ws", "rooms", "/ws"),
    ] {
        let (_, _, found, request) = destination(request("GET", path));
        assert_eq!((&*found, &*request.path), (name, seen), "{path}");
    }
}

#[test]
fn a_decoded_name_has_1_to_128_bytes() {
    for (name, bytes) in [("a".repeat(128), 128), ("é".repeat(64), 128), ("%C3%A9".repeat(64), 128), ("%61".into(), 1)]
    {
        for (pattern, method) in PATHS_WITH_NAME {
            assert_eq!(destination(request(method, &path(pattern, &name))).2.len(), bytes, "{name} in {pattern}");
        }
    }
    let long = ["a".repeat(129), "é".repeat(64) + "a", "%C3%A9".repeat(65), "%61".repeat(129), "a".repeat(100_000)];
    for name in long.iter().map(String::as_str).chain([""]) {
        for (pattern, method) in PATHS_WITH_NAME {
            assert_eq!(problem(&answer(request(method, &path(pattern, name)))), 400, "{name:.80} in {pattern}");
        }
    }
}

#[test]
fn slashes_controls_and_broken_escapes_in_names_are_refused() {
    let slashes = ["%2F", "a%2Fb", "a%2fb", "..%2F.."];
    let controls = ["%00", "a%00b", "a%0Ab", "%0D", "%1F", "%7F", "%C2%80", "%C2%85", "%C2%9F", "a\u{7f}b", "a\u{85}b"];
    let broken = ["%", "%4", "a%", "%zz", "%4g", "%-1", "%+1", "% 1", "%é"];
    let no_utf8 = ["%FF", "%C3", "%A9", "%C3%28", "%C0%AF", "%ED%A0%80", "%F4%90%80%80"];
    for name in [&slashes[..], &controls, &broken, &no_utf8].concat() {
        for (pattern, method) in PATHS_WITH_NAME {
            assert_eq!(problem(&answer(request(method, &path(pattern, name)))), 400, "{name:?} in {pattern}");
        }
    }
}

#[test]
fn a_wrong_address_is_reported_before_a_missing_identity() {
    let anonymous = |method, path| Request { user: None, ..request(method, path) };
    for (method, path, status) in [
        ("GET", "/other", 404),
        ("DELETE", "/other", 404),
        ("GET", "/rooms/%2F/other", 400),
        ("GET", "/rooms/lobby/other", 401),
        ("DELETE", "/rooms/lobby/ws", 405),
        ("DELETE", "/rooms/%2F/ws", 405),
        ("GET", "/rooms/%2F/ws", 400),
        ("GET", "/presence//list", 400),
        ("GET", "/rooms/lobby/ws", 401),
    ] {
        assert_eq!(problem(&answer(anonymous(method, path))), status, "{method} {path}");
    }
}

#[test]
fn the_room_sees_the_request_unchanged_but_for_its_path() {
    let came = Request {
        method: "POST".into(),
        path: "/rooms/caf%C3%A9/messages".into(),
        query: Some("limit=5&x=%2F&&=+?#".into()),
        headers: vec![
            ("idempotency-key".into(), "k1".into()),
            ("x-twice".into(), "one".into()),
            ("x-twice".into(), "two, \u{e9}".into()),
            ("x-empty".into(), String::new()),
        ],
        body: (0..=255).collect(),
        user: Some(User { id: "u/1 \u{1f42d}".into(), name: "A\"na\n".into() }),
    };
    let (_, _, _, seen) = destination(came.clone());
    assert_eq!(seen, Request { path: "/messages".into(), ..came });

    for query in [None, Some(""), Some("since=5")] {
        let came = Request { query: query.map(str::to_owned), ..request("GET", "/presence/ws") };
        let (_, _, _, seen) = destination(came.clone());
        assert_eq!(seen, Request { path: "/ws".into(), ..came }, "{query:?}");
    }
}

#[test]
fn a_large_body_passes_the_router() {
    let came = Request { body: vec![b'x'; 1 << 20], ..request("POST", "/rooms/lobby/messages") };
    assert_eq!(destination(came).3.body.len(), 1 << 20);
}

#[test]
fn a_router_sees_only_the_request_and_the_configuration() {
    let imports = ROUTES.imports();
    for forbidden in ["storage", "sockets", "timers", "rooms", "outbox", "http"] {
        assert!(!imports.iter().any(|import| import.contains(forbidden)), "{imports:?}");
    }
}
