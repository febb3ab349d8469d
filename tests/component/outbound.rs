//! Rooms that reach beyond themselves, with the world around them played by the test.

use std::sync::atomic::{AtomicU32, Ordering};

use dormouse_bundle::{CALLER, COUNTER};
use dormouse_test::{Address, CallError, Destination, FetchError, Request, Response, TestRoom, body};
use serde_json::{Value, json};

fn run_command(room: &mut TestRoom, command: Value) -> Value {
    body(&room.post("ana", "/", &[], &command.to_string()))
}

fn response(status: u16, body: Value) -> Response {
    Response { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

fn call(command: Value) -> Value {
    json!({ "do": "call", "namespace": "SCORES", "name": "today", "command": command })
}

#[test]
fn a_test_can_answer_for_other_rooms() {
    let play = |to: &Address, request: Request| {
        assert_eq!((to.to_string().as_str(), request.path.as_str()), ("SCORES/today", "/"));
        assert!(request.headers.contains(&("content-type".into(), "application/json".into())));
        Ok(response(200, serde_json::from_slice(&request.body).unwrap()))
    };
    let mut room = TestRoom::new(CALLER).with_rooms(play);
    assert_eq!(run_command(&mut room, call(json!([1, 2]))), json!({ "status": 200, "answer": [1, 2] }));
}

#[test]
fn a_test_can_make_other_rooms_fail() {
    let mut room = TestRoom::new(CALLER).with_rooms(|_, _| Err(CallError::Timeout));
    assert_eq!(run_command(&mut room, call(json!(1)))["error"], "CallError::Timeout");
}

#[test]
fn calls_that_the_test_does_not_answer_are_denied() {
    let mut room = TestRoom::new(CALLER);
    assert_eq!(run_command(&mut room, call(json!(1)))["error"], "CallError::Denied");
    let fetch = json!({ "do": "fetch", "origin": "https://api.example", "path": "/" });
    assert!(run_command(&mut room, fetch)["error"].as_str().is_some_and(|text| text.contains("HttpRequestDenied")));
    let post = json!({ "do": "post-out", "origin": "https://api.example", "path": "/", "body": "" });
    assert_eq!(run_command(&mut room, post)["error"], "PostError::Denied");
}

#[test]
fn a_test_can_answer_for_servers_and_sees_the_request() {
    let count = AtomicU32::new(0);
    let play = move |origin: &str, request: Request| match count.fetch_add(1, Ordering::Relaxed) {
        0 => {
            assert_eq!((origin, request.method.as_str()), ("https://api.example", "POST"));
            assert_eq!((request.path.as_str(), request.query.as_deref()), ("/things", Some("x=1")));
            assert_eq!(request.body.len(), 300_000);
            Ok(Response { status: 201, headers: vec![("x-made".into(), "yes".into())], body: vec![b'y'; 200_000] })
        }
        _ => Err(FetchError::Timeout),
    };
    let mut room = TestRoom::new(CALLER).with_servers(play);
    let body = "x".repeat(300_000);
    let fetch = json!({ "do": "fetch", "origin": "https://api.example", "path": "/things?x=1", "body": body });
    let made = run_command(&mut room, fetch.clone());
    assert_eq!((made["status"].as_u64(), made["body"].as_str().map(str::len)), (Some(201), Some(200_000)));
    assert_eq!(made["headers"], json!([["x-made", "yes"]]));
    assert!(run_command(&mut room, fetch)["error"].as_str().is_some_and(|text| text.contains("HttpResponseTimeout")));
}

#[test]
fn a_request_body_above_one_mebibyte_is_refused() {
    let mut room = TestRoom::new(CALLER).with_servers(|_, _| panic!("it left"));
    let body = "x".repeat((1 << 20) + 1);
    let fetch = json!({ "do": "fetch", "origin": "https://api.example", "path": "/", "body": body });
    let error = run_command(&mut room, fetch)["error"].clone();
    assert!(error.as_str().is_some_and(|text| text.contains("HttpRequestBodySize")), "{error}");
}

#[test]
fn only_successful_turns_post() {
    for hibernating in [false, true] {
        let mut room = TestRoom::new(CALLER).with_rooms(|_, _| unreachable!()).hibernate_after_each_event(hibernating);
        let post = |fail| {
            let command = json!({ "do": "count" });
            json!({ "do": "post", "namespace": "SCORES", "name": "today", "command": command, "times": 2, "fail": fail })
        };
        let failing = Request::post_json("/", &post(true));
        room.try_request(failing).expect_err("it fails");
        assert!(room.posted().is_empty());
        run_command(&mut room, post(false));
        assert_eq!(run_command(&mut room, json!({ "do": "waiting" }))["waiting"], 2);
        let posted = room.posted();
        let to = Destination::Room(Address::new("SCORES", "today").unwrap());
        assert!(posted.iter().all(|(destination, request)| *destination == to && request.method == "POST"));
        assert_eq!(posted.len(), 2);
        assert_eq!(run_command(&mut room, json!({ "do": "waiting" }))["waiting"], 0, "the test took them");
    }
}

#[test]
fn a_room_without_outbound_imports_cannot_call_out() {
    let engine = crate::engine();
    assert!(engine.room("caller", CALLER).unwrap().is_connected());
    for (name, wasm) in [("counter", COUNTER), ("chat-room", dormouse_bundle::CHAT_ROOM)] {
        assert!(!engine.room(name, wasm).unwrap().is_connected(), "{name}");
    }
}
