//! The promises of the contract about claims and permissions: of the user of each turn, of each socket, and in a
//! router.

#![deny(dead_code)]

use std::time::Duration;

use dormouse_bundle::{BADGE, CALLER, GATEKEEPER};
use dormouse_test::{Decision, Permission, Request, TestClient, TestRoom, TestRouter, TestUser, User, body};
use serde_json::{Value, json};

dormouse_test::with_and_without_hibernation! { BADGE;
    each_event_of_a_socket_has_its_claims_and_permissions,
    a_request_has_the_claims_and_permissions_of_its_user,
    a_timer_has_no_user,
    a_user_without_a_token_has_an_open_rooms_permissions,
    a_new_token_changes_the_messages_behind_it,
    a_room_sees_the_permissions_of_every_socket,
    a_room_refuses_a_client_without_a_permission,
}

fn host() -> TestUser {
    let team = json!({ "id": 7, "name": "caf\u{e9}" });
    TestUser::new("ana").may([Permission::Moderate]).with_claim("role", "host").with_claim("team", team)
}

fn host_as_seen() -> Value {
    json!({
        "claims": { "role": "host", "team": { "id": 7, "name": "caf\u{e9}" } },
        "permissions": ["read", "write", "presence", "moderate"],
    })
}

/// A user without a token in an open room.
fn anybody() -> Value {
    json!({ "claims": {}, "permissions": ["read", "write", "presence"] })
}

fn nobody() -> Value {
    json!({ "claims": {}, "permissions": [] })
}

/// The newest frame of a client, without the user for whom the instance woke.
fn newest(client: &TestClient) -> Value {
    let mut newest = client.received().pop().expect("a frame");
    newest.as_object_mut().unwrap().remove("woken_for");
    newest
}

fn each_event_of_a_socket_has_its_claims_and_permissions(mut room: TestRoom) {
    let (ana, bo) = (room.join_as(host()), room.join("bo"));
    let seen = |event: &str, user: Value| json!({ "event": event, "turn": user, "socket": user });
    assert_eq!(ana.received()[0]["turn"], host_as_seen(), "at her connect");
    assert_eq!(newest(&bo), seen("connect", anybody()));
    room.send(&ana, "hello");
    assert_eq!(newest(&bo), seen("hello", host_as_seen()));
    room.send(&bo, "hi");
    assert_eq!(newest(&bo), seen("hi", anybody()));
    room.leave(&ana);
    assert_eq!(newest(&bo), seen("close", host_as_seen()));
}

fn a_request_has_the_claims_and_permissions_of_its_user(mut room: TestRoom) {
    let bo = room.join("bo");
    let answer = body(&room.request_as(host(), Request::get("/")));
    assert_eq!(answer["turn"], host_as_seen());
    let answer = body(&room.request_as(TestUser::new("ana").may_only([Permission::Admin]), Request::get("/")));
    assert_eq!(answer["turn"], json!({ "claims": {}, "permissions": ["admin"] }));
    assert_eq!(body(&room.get("ana", "/", ""))["turn"], anybody());
    room.send(&bo, "after it");
    assert_eq!(newest(&bo)["turn"], anybody(), "no turn has the user of another");
}

fn a_timer_has_no_user(mut room: TestRoom) {
    let ana = room.join_as(host());
    room.send(&ana, "later");
    room.hibernate();
    room.advance(Duration::from_secs(1));
    let frame = ana.received().pop().expect("a frame");
    assert_eq!(frame, json!({ "event": "timer", "turn": nobody(), "socket": null, "woken_for": nobody() }));
}

fn a_user_without_a_token_has_an_open_rooms_permissions(mut room: TestRoom) {
    assert_eq!(body(&room.request(Request::get("/")))["turn"], anybody());
    let ana = room.join("ana");
    assert_eq!(newest(&ana)["socket"], anybody());
}

fn a_new_token_changes_the_messages_behind_it(mut room: TestRoom) {
    let ana = room.join_as(host());
    room.send(&ana, "before");
    assert_eq!(newest(&ana)["socket"], host_as_seen());
    room.renew(&ana, TestUser::new("ana").may_only([Permission::Read]).with_claim("role", "guest"));
    assert!(ana.received().is_empty(), "no turn runs for it");
    let guest = json!({ "claims": { "role": "guest" }, "permissions": ["read"] });
    room.send(&ana, "behind");
    let frame = newest(&ana);
    assert_eq!((&frame["socket"], &frame["turn"]), (&guest, &guest));
    room.hibernate();
    room.send(&ana, "and after hibernation");
    assert_eq!(newest(&ana)["socket"], guest);
}

fn a_room_sees_the_permissions_of_every_socket(mut room: TestRoom) {
    let (_ana, bo) = (room.join_as(host()), room.join("bo"));
    room.send(&bo, "everybody");
    let everybody = json!({
        "id-ana": ["read", "write", "presence", "moderate"],
        "id-bo": ["read", "write", "presence"],
    });
    assert_eq!(bo.received().pop(), Some(json!({ "everybody": everybody })));
}

fn a_room_refuses_a_client_without_a_permission(mut room: TestRoom) {
    let refused = room.connect_as(host(), "refuse=1").err();
    assert_eq!(refused, Some((403, "only an admin may come in so".into())));
    room.connect_as(TestUser::new("eve").may([Permission::Admin]), "refuse=1").expect("an admin comes in");
}

#[test]
fn an_instance_wakes_with_the_user_of_the_event_that_woke_it() {
    let mut room = TestRoom::new(BADGE);
    let bo = room.join("bo");
    room.hibernate();
    let answer = body(&room.request_as(host(), Request::get("/")));
    assert_eq!(answer["woken_for"], host_as_seen());
    room.send(&bo, "hello");
    assert_eq!(bo.received().pop().unwrap()["woken_for"], host_as_seen(), "the instance is the same");
    room.hibernate();
    room.send(&bo, "hello");
    assert_eq!(bo.received().pop().unwrap()["woken_for"], anybody());
}

#[test]
fn a_renewal_is_of_the_same_user() {
    let mut room = TestRoom::new(BADGE);
    let ana = room.join("ana");
    let renewed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| room.renew(&ana, "bo")));
    assert!(renewed.is_err());
}

/// The router's answer about a room.
fn asked(user: impl Into<TestUser>, room: &str) -> Value {
    match TestRouter::new(GATEKEEPER).route_as(user, Request::get(&format!("/?room={room}"))) {
        Decision::Respond(response) => body(&response),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_router_sees_claims_and_asks_for_permissions() {
    let user = || host().may_in("ROOMS/lobby", [Permission::Read, Permission::Admin]);
    let claims = host_as_seen()["claims"].clone();
    for (room, there) in [
        ("ROOMS/lobby", json!(["read", "admin"])),
        ("ROOMS/other", json!([])),
        ("OTHERS/lobby", json!([])),
        ("ROOMS", json!([])),
        ("no%20namespace/lobby", json!([])),
    ] {
        assert_eq!(asked(user(), room), json!({ "claims": claims, "here": 0, "there": there }), "{room}");
    }
    assert_eq!(asked(User::new("1", "bo"), "ROOMS/lobby"), json!({ "claims": {}, "here": 0, "there": [] }));
}

#[test]
fn only_components_that_ask_import_the_interface() {
    let imports = |room: TestRoom| room.imports().join(" ");
    assert!(imports(TestRoom::new(BADGE)).contains("dormouse:room/access@"));
    assert!(!imports(TestRoom::new(CALLER)).contains("dormouse:room/grants@"));
    let router = TestRouter::new(GATEKEEPER);
    assert!(router.imports().iter().any(|import| import.starts_with("dormouse:room/grants@")));
    let shipped = TestRouter::new(dormouse_bundle::ROUTER);
    assert!(!shipped.imports().iter().any(|import| import.starts_with("dormouse:room/grants@")), "it costs nothing");
}
