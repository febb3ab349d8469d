//! A new token for an open WebSocket.

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{self, BASE, Client, Server};
use crate::tokens::{now_s, server_with_secret, token_with};
use hyper::Method;

async fn join(server: &Server, room: &str, token: &str) -> Client {
    let authorization = format!("Bearer {token}");
    let path = format!("{BASE}/rooms/{room}/ws");
    server.connect(&path, &[("authorization", &authorization)]).await.expect("it lets us in")
}

fn renew(token: &str) -> String {
    format!(r#"{{"type":"identity","token":"{token}"}}"#)
}

#[tokio::test]
async fn a_renewed_socket_outlives_its_first_token() {
    let server = server_with_secret("").await;
    let first_end = now_s() + 2;
    let mut ana = join(&server, "lobby", &token_with(&json!({ "exp": first_end }))).await;
    let second_end = now_s() + 6;
    ana.send(&renew(&token_with(&json!({ "exp": second_end, "name": "another name" })))).await;
    let answer = ana.recv_type("identity").await;
    assert_eq!(answer, json!({ "type": "identity", "expiresAt": second_end * 1_000 }));
    while now_s() <= first_end {
        ana.send_chat("still here").await;
        let message = ana.recv_type("message").await;
        assert_eq!(message["message"]["userName"], "ana", "the name is the one that it came in by");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(ana.recv_close().await.0, 4401);
    assert!(now_s() >= second_end, "and no longer than the second");
}

#[tokio::test]
async fn a_renewal_with_an_earlier_expiry_ends_the_socket_earlier() {
    let server = server_with_secret("").await;
    let mut ana = join(&server, "lobby", &token_with(&json!({}))).await;
    ana.send(&renew(&token_with(&json!({ "exp": now_s() + 2 })))).await;
    ana.recv_type("identity").await;
    assert_eq!(ana.recv_close().await.0, 4401);
}

#[tokio::test]
async fn an_invalid_renewal_changes_nothing_and_is_not_quoted() {
    let server = server_with_secret("[admin]\nlisten = \"127.0.0.1:0\"\n").await;
    let mut ana = join(&server, "lobby", &token_with(&json!({}))).await;
    ana.recv_type("history").await;
    let expired = token_with(&json!({ "exp": now_s() - 1 }));
    let revoked = token_with(&json!({ "jti": "out" }));
    let out = harness::request(server.admin_address(), Method::POST, "/revocations", &[], r#"{"jti":"out"}"#).await;
    assert_eq!(out.json()["closed"], 0);
    let forged = format!("{}x", token_with(&json!({})));
    let bad = [
        renew(&expired),
        renew(&revoked),
        renew(&forged),
        renew(""),
        renew("nonsense-nonsense"),
        renew(&"x".repeat(16_385)),
        r#"{"type":"identity"}"#.into(),
        r#"{"type":"identity","token":7}"#.into(),
        r#"{"type":"identity","token":"nonsense-nonsense","more":1}"#.into(),
        r#"{"type":"identity","token":"nonsense-nonsense"#.into(),
        r#"{"type":"identity""#.into(),
    ];
    for frame in bad {
        ana.send(&frame).await;
        let received = ana.recv().await;
        assert_eq!((&received["type"], &received["code"]), (&json!("error"), &json!("invalid_token")), "{frame}");
        let message = received["message"].as_str().unwrap();
        let token =
            serde_json::from_str::<Value>(&frame).ok().and_then(|frame| frame["token"].as_str().map(str::to_owned));
        assert!(token.is_none_or(|token| token.is_empty() || !message.contains(&token)), "{message}");
        assert!(!message.contains("nonsense-nonsense"), "{message}");
    }
    ana.send_chat("still here").await;
    assert_eq!(ana.recv_content().await, "still here");
}

#[tokio::test]
async fn a_renewal_for_another_user_ends_the_socket() {
    let server = server_with_secret("").await;
    let mut ana = join(&server, "lobby", &token_with(&json!({}))).await;
    ana.send(&renew(&token_with(&json!({ "sub": "id-bo", "name": "ana" })))).await;
    let (code, reason) = ana.recv_close().await;
    assert_eq!((code, reason.as_str()), (4403, "this socket is another user's"));
}

#[tokio::test]
async fn a_socket_is_revoked_by_its_latest_token() {
    let server = server_with_secret("[admin]\nlisten = \"127.0.0.1:0\"\n").await;
    let mut ana = join(&server, "lobby", &token_with(&json!({ "jti": "one" }))).await;
    ana.send(&renew(&token_with(&json!({ "jti": "two" })))).await;
    ana.recv_type("identity").await;
    let revoke = async |jti: &str| {
        let body = json!({ "jti": jti }).to_string();
        harness::request(server.admin_address(), Method::POST, "/revocations", &[], &body).await.json()["closed"]
            .clone()
    };
    assert_eq!(revoke("one").await, 0);
    ana.send_chat("still here").await;
    assert_eq!(ana.recv_content().await, "still here");
    assert_eq!(revoke("two").await, 1);
    assert_eq!(ana.recv_close().await.0, 4403);
}

#[tokio::test]
async fn a_renewal_counts_as_a_message_and_no_room_sees_it() {
    let config =
        "[limits]\nmessages_per_second = 2\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\nmessage_in_bytes = 100\n";
    let directory = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), crate::tokens::SECRET).unwrap();
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    let server = Server::in_directory(directory, &crate::tokens::with_secret(config)).await;
    let mut ana = join(&server, "lobby", &token_with(&json!({}))).await;
    ana.expect_text("welcome").await;
    let long = renew(&token_with(&json!({ "rest": "x".repeat(10_000) })));
    assert!(long.len() > 10_000);
    let mut limited = false;
    for _ in 0..40 {
        ana.send(&long).await;
        let received = ana.recv().await;
        match received["type"].as_str() {
            Some("identity") => {}
            _ => limited = received["code"] == "rate_limited",
        }
        if limited {
            break;
        }
    }
    assert!(limited, "forty at once are more than ten seconds' worth");

    // Another frame that is longer than the room accepts is still too long.
    let mut bo = join(&server, "lobby", &token_with(&json!({ "sub": "bo" }))).await;
    bo.expect_text("welcome").await;
    bo.send(&"x".repeat(101)).await;
    assert_eq!(bo.recv_close().await.0, 1009);
}

#[tokio::test]
async fn dev_auth_has_no_expiry_and_no_renewal() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.send(&renew("id-ana:ana")).await;
    assert_eq!(ana.recv_type("identity").await, json!({ "type": "identity" }));
    ana.send(&renew("id-bo:bo")).await;
    assert_eq!(ana.recv_close().await.0, 4403);
}

#[tokio::test]
async fn an_identity_frame_is_recognised_in_every_json_spelling() {
    let server = server_with_secret("").await;
    let mut ana = join(&server, "lobby", &token_with(&json!({}))).await;
    ana.recv_type("history").await;
    let token = || token_with(&json!({}));
    let good = [
        format!(r#"{{"type": "identity", "token": "{}"}}"#, token()),
        format!(r#"{{"token":"{}","type":"identity"}}"#, token()),
        format!(" {{\n\t\"token\" : \"{}\" ,\r\n \"type\" : \"identity\" }} ", token()),
        format!(r#"{{"\u0074ype":"\u0069dentit\u0079","\u0074oken":"{}"}}"#, token()),
    ];
    for frame in good {
        ana.send(&frame).await;
        assert_eq!(ana.recv().await["type"], "identity", "{frame}");
    }
    let bad = [
        format!(r#"{{"type":"message","content":"x","token":"{}","type":"identity"}}"#, token()),
        format!(r#"{{"type":"identity","type":"message","content":"x","token":"{}"}}"#, token()),
        format!(r#"{{"token":"{0}","token":"{0}","type":"identity"}}"#, token()),
        format!(r#"{{"content":"\ud83d","token":"{}","type":"identity"}}"#, token()),
        format!(r#"{{"token":"{}","type":"identity",}}"#, token()),
        format!(r#"{{"token":"{}","type":"identity""#, token()),
    ];
    for frame in bad {
        ana.send(&frame).await;
        let received = ana.recv().await;
        assert_eq!((&received["type"], &received["code"]), (&json!("error"), &json!("invalid_token")), "{frame}");
    }
    let frame = renew(&token());
    ana.socket.send(Message::binary(frame.into_bytes())).await.unwrap();
    assert_eq!(ana.recv().await["type"], "identity", "in bytes it means the same");
    // A message that only mentions it goes to the room.
    ana.send_chat(r#"{"type":"identity","token":"x"}"#).await;
    assert_eq!(ana.recv_content().await, r#"{"type":"identity","token":"x"}"#);
}
