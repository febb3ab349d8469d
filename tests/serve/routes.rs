//! HTTP as a client that knows only the protocol sees it: the same as the host's.

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, BASE, Dormouse, Wasmtime, request};

/// The part of an answer that must be the same: times and ids differ, and texts of problems may.
fn comparable(answer: &Answer) -> Value {
    let mut body = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for unlike in ["id", "timestamp", "lastSeen", "detail", "title"] {
                    fields.entry(unlike).and_modify(|value| *value = json!("any"));
                }
                fields.remove("title");
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut body);
    let shared = ["content-type", "allow", "www-authenticate", "access-control-allow-origin", "cache-control", "vary"];
    let headers = shared.map(|name| answer.header(name).to_owned());
    json!({ "status": answer.status.as_u16(), "headers": headers, "body": body })
}

/// Method, path, headers and body of a request.
type TestRequest<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn answers_equal_those_of_dormouse() {
    let (dormouse, wasmtime) = (Dormouse::start().await, Wasmtime::start().await);
    let ana = ("authorization", "Bearer 1:ana");
    let page = ("origin", "http://localhost:5173");
    let key = ("idempotency-key", "k1");
    let long = format!("/rooms/{}/messages", "x".repeat(129));
    let large = "x".repeat((1 << 20) + 1);
    let longest = json!({ "content": "🐭".repeat(1500) }).to_string();
    let requests: &[TestRequest] = &[
        ("GET", "/rooms/lobby/messages", &[ana], ""),
        ("POST", "/rooms/lobby/messages", &[ana], r#"{"content":"one"}"#),
        ("POST", "/rooms/lobby/messages", &[("authorization", "Bearer 2:bø")], r#"{"content":"zwei"}"#),
        ("POST", "/rooms/lobby/messages", &[ana, key], r#"{"content":"three"}"#),
        ("POST", "/rooms/lobby/messages", &[ana, key], r#"{"content":"three"}"#),
        ("POST", "/rooms/lobby/messages", &[ana], &longest),
        ("GET", "/rooms/lobby/messages", &[ana], ""),
        ("GET", "/rooms/lobby/messages?limit=2", &[ana], ""),
        ("GET", "/rooms/lobby/messages?limit=2&before=3", &[ana], ""),
        ("GET", "/rooms/lobby/messages?limit=2&after=1", &[ana], ""),
        ("GET", "/rooms/lobby/messages?limit=0", &[ana], ""),
        ("GET", "/rooms/lobby/messages?before=%zz", &[ana], ""),
        ("GET", "/rooms/caf%C3%A9/messages", &[ana], ""),
        ("DELETE", "/rooms/lobby/messages/00000000-0000-4000-8000-000000000000", &[ana], ""),
        ("PUT", "/rooms/lobby/messages/00000000-0000-4000-8000-000000000000", &[ana], ""),
        ("POST", "/rooms/lobby/mutes", &[ana], r#"{"user":"2","seconds":60}"#),
        ("DELETE", "/rooms/lobby/mutes/2", &[ana], ""),
        ("GET", "/rooms/lobby/mutes", &[ana], ""),
        ("GET", "/rooms/lobby/messages?token=1:ana", &[], ""),
        ("GET", "/rooms/lobby/messages", &[("cookie", "dormouse_token=1%3Aana")], ""),
        ("GET", "/rooms/lobby/messages", &[("cookie", "dormouse_token=1:ana"), ("origin", "https://evil.example")], ""),
        ("GET", "/rooms/lobby/messages", &[], ""),
        ("GET", "/rooms/lobby/messages", &[("authorization", "Basic eA==")], ""),
        ("GET", "/rooms/lobby/messages", &[ana, page], ""),
        ("OPTIONS", "/rooms/lobby/messages", &[page], ""),
        ("OPTIONS", "/rooms/lobby/messages", &[("origin", "https://evil.example")], ""),
        ("POST", "/rooms/lobby/messages", &[ana], r#"{"content":""}"#),
        ("POST", "/rooms/lobby/messages", &[ana], "nonsense"),
        ("POST", "/rooms/lobby/messages", &[ana], &large),
        ("DELETE", "/rooms/lobby/messages", &[ana], ""),
        ("HEAD", "/rooms/lobby/messages", &[ana], ""),
        ("HEAD", "/rooms/lobby/events", &[ana, ("accept", "text/event-stream")], ""),
        ("HEAD", "/nothing", &[ana], ""),
        ("POST", "/rooms/lobby/events", &[ana], ""),
        ("GET", "/rooms/lobby/events", &[], ""),
        ("GET", "/rooms/lobby/events?since=x", &[ana], ""),
        ("GET", "/rooms/lobby/ws", &[ana], ""),
        ("GET", &long, &[ana], ""),
        ("GET", "/rooms/a%2Fb/messages", &[ana], ""),
        ("GET", "/nothing", &[ana], ""),
        ("GET", "/presence/list", &[ana], ""),
        ("POST", "/presence/update", &[ana], r#"{"status":"busy"}"#),
        ("POST", "/presence/update", &[ana], r#"{"status":"asleep"}"#),
        ("GET", "/presence/team/list", &[ana], ""),
    ];
    for (method, path, headers, body) in requests {
        let send = async |address| {
            let method = Method::try_from(*method).unwrap();
            request(address, method, &format!("{BASE}{path}"), headers, body).await.expect("it answers")
        };
        let (expected, found) = (send(dormouse.address).await, send(wasmtime.address).await);
        let label = format!("{method} {path} {}", body.get(..20).unwrap_or(body));
        assert_eq!(comparable(&found), comparable(&expected), "{label}: {found:?} {expected:?}");
    }
}

#[tokio::test]
async fn concurrent_posts_get_numbers_without_a_gap() {
    let wasmtime = std::sync::Arc::new(Wasmtime::start().await);
    let mut posts = JoinSet::new();
    for number in 0..100 {
        let wasmtime = wasmtime.clone();
        posts.spawn(async move { wasmtime.post("lobby", &format!("user-{}", number % 7), &format!("{number}")).await });
    }
    let mut numbers = posts.join_all().await;
    numbers.sort();
    let expected = (1..=100).collect::<Vec<_>>();
    assert_eq!(numbers, expected, "the acknowledged numbers");
    assert_eq!(wasmtime.stored_seqs("lobby").await, expected, "the stored numbers");
}
