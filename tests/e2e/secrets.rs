//! No credential is ever written to a log or an answer.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hyper::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{self, BASE, Server};
use crate::tokens::{SECRET, token_with, with_secret};

/// All that could give a token away, however it is cut: its parts, since a log may quote one of them.
fn token_fragments(token: &str) -> Vec<String> {
    token.split('.').filter(|part| part.len() > 20).map(str::to_owned).collect()
}

#[tokio::test]
async fn no_credential_is_in_the_log_or_in_an_answer() {
    let admin_token = "0123456789abcdef0123456789abcdef-of-the-admin";
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("secret"), SECRET).unwrap();
    std::fs::write(directory.path().join("admin.token"), admin_token).unwrap();
    let of_set = BASE64_URL_SAFE_NO_PAD.encode("the secret of a key in a set that is used for some");
    let set_secret = "the-secret-of-a-key-in-a-set-that-is-not-used";
    let set = json!({ "keys": [{ "kty": "oct", "k": of_set }, { "kty": "oct", "use": "enc", "k": set_secret }] });
    std::fs::write(directory.path().join("keys.json"), set.to_string()).unwrap();
    let config =
        with_secret("[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n") + "jwks = \"keys.json\"\n";
    let server = Server::with_trace_log(directory, &config).await;

    // Tokens that differ in every part, one for each way to authenticate.
    let mut secrets = vec![SECRET.to_owned(), set_secret.into(), admin_token.into(), of_set.clone()];
    let mut answers = String::new();
    let mut number = 0;
    let mut fresh = |claims: serde_json::Value| {
        number += 1;
        let mut all = json!({ "jti": format!("number-{number}-of-them"), "x": number });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        token_with(&all)
    };
    let (list, socket, events, tickets) = (
        format!("{BASE}/rooms/a/messages"),
        format!("{BASE}/rooms/a/ws"),
        format!("{BASE}/rooms/a/events"),
        format!("{BASE}/tickets"),
    );
    // Good, expired, not ours, and no token at all.
    for kind in ["good", "expired", "forged", "none"] {
        for way in ["bearer", "basic", "subprotocol", "cookie", "query", "ticket-query", "in-band"] {
            let token = match kind {
                "good" => fresh(json!({})),
                "expired" => fresh(json!({ "exp": 1 })),
                "forged" => format!("{}A", fresh(json!({}))),
                _ => format!("nonsense-by-the-way-{way}-{}", fresh(json!({})).len()),
            };
            secrets.extend(if kind == "none" { vec![token.clone()] } else { token_fragments(&token) });
            let (name, value, query) = match way {
                "bearer" => ("authorization", format!("Bearer {token}"), String::new()),
                "basic" => ("authorization", format!("Basic {token}"), String::new()),
                "subprotocol" => ("sec-websocket-protocol", format!("dormouse, bearer.{token}"), String::new()),
                "cookie" => ("cookie", format!("dormouse_token={token}; other=1"), String::new()),
                "query" => ("x-way", way.into(), format!("?token={token}")),
                "ticket-query" => ("x-way", way.into(), format!("?ticket={token}")),
                _ => {
                    let authorization = format!("Bearer {}", fresh(json!({})));
                    secrets.extend(token_fragments(&authorization));
                    let mut client = server.connect(&socket, &[("authorization", &authorization)]).await.unwrap();
                    // However it is spelled, no room sees it.
                    client.send(&format!(r#"{{"token":"{token}","type":"identity"}}"#)).await;
                    client.send(&format!(r#"{{"type":"identity","token":"{token}"}}"#)).await;
                    for _ in 0..3 {
                        answers += &client.recv_text().await;
                    }
                    continue;
                }
            };
            let headers = [(name, value.as_str())];
            for path in [&list, &events, &tickets] {
                let method = if path == &tickets { Method::POST } else { Method::GET };
                if path == &events {
                    if let Err(answer) = server.open_event_stream(&format!("{path}{query}"), &headers).await {
                        answers += &String::from_utf8_lossy(&answer.body);
                    }
                    continue;
                }
                let answer = server.request(method, &format!("{path}{query}"), &headers, "").await;
                match answer.json()["ticket"].as_str() {
                    Some(ticket) => secrets.push(ticket.into()),
                    None => answers += &format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body)),
                }
            }
            match server.connect(&format!("{socket}{query}"), &headers).await {
                Ok(mut client) => answers += &client.recv_text().await,
                Err(answer) => answers += &String::from_utf8_lossy(&answer.body),
            }
            // A room that is asked for it with a body, and one that does not exist.
            let answer = server.request(Method::POST, &format!("{list}{query}"), &headers, r#"{"content":"hi"}"#).await;
            answers += &String::from_utf8_lossy(&answer.body);
            let answer = server.request(Method::GET, &format!("{BASE}/nothing{query}"), &headers, "").await;
            answers += &String::from_utf8_lossy(&answer.body);
        }
    }
    let used = secrets.iter().rfind(|secret| secret.len() == 48).expect("a ticket was given").clone();
    for _ in 0..2 {
        let answer = server.get(&format!("{list}?ticket={used}")).await;
        answers += &String::from_utf8_lossy(&answer.body);
    }
    for authorization in
        [format!("Bearer {admin_token}"), format!("Basic {admin_token}"), format!("Bearer {admin_token}x")]
    {
        let headers = [("authorization", authorization.as_str())];
        let body = r#"{"jti":"some-token"}"#;
        let answer = harness::request(server.admin_address(), Method::POST, "/revocations", &headers, body).await;
        answers += &String::from_utf8_lossy(&answer.body);
    }
    // The dashboard: a wrong token, the right one, and the two halves of the session.
    let admin = server.admin_address();
    let own = format!("http://{admin}");
    let headers = [("origin", own.as_str()), ("content-type", "application/json")];
    let sign_in = async |token: &str| {
        let body = json!({ "token": token }).to_string();
        harness::request(admin, Method::POST, "/session", &headers, &body).await
    };
    let refused = sign_in(&format!("{admin_token}-and-more")).await;
    answers += &format!("{:?} {}", refused.headers, String::from_utf8_lossy(&refused.body));
    let begun = sign_in(admin_token).await;
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    let value = begun.json()["value"].as_str().unwrap().to_owned();
    secrets.extend([cookie.split('=').nth(1).unwrap().to_owned(), value.clone()]);
    for (method, path) in [(Method::GET, "/session"), (Method::GET, "/audit"), (Method::DELETE, "/session")] {
        for value in [&*value, "another"] {
            let headers = [("origin", &*own), ("cookie", &*cookie), ("dormouse-session", value)];
            let answer = harness::request(admin, method.clone(), path, &headers, "").await;
            answers += &format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
        }
    }
    server.send_sighup();
    server.wait_for_log("reloaded").await;
    server.send_sigterm();
    server.wait_for_log("shutting down").await;

    let log = server.log();
    assert!(log.contains("DEBUG") && log.contains("INFO"), "it tells all:\n{}", &log[..log.len().min(5_000)]);
    assert!(secrets.len() > 50, "{}", secrets.len());
    for secret in &secrets {
        let place = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(place, None, "{secret} is in the log");
        assert!(!answers.contains(secret.as_str()), "{secret} is in an answer");
    }
}
