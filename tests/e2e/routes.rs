//! Every row of the routes, over HTTP as a client that knows only the protocol sees it.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{BASE, Server};

#[tokio::test]
async fn a_posted_message_reaches_every_socket_and_is_listed() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    ana.recv_type("history").await;
    let answer = server.api(Method::POST, "/rooms/lobby/messages", "bo", r#"{"content":"hi"}"#).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["success"], true);
    let received = ana.recv_type("message").await;
    assert_eq!(received["message"], answer.json()["message"]);
    assert_eq!((&received["message"]["userId"], &received["message"]["userName"]), (&json!("id-bo"), &json!("bo")));
    let listed = server.api(Method::GET, "/rooms/lobby/messages", "ana", "").await;
    assert_eq!(listed.json()["messages"], json!([received["message"]]));
}

#[tokio::test]
async fn a_path_of_the_page_is_a_room_if_there_is_no_page() {
    for (page, status) in [(false, StatusCode::OK), (true, StatusCode::NOT_FOUND)] {
        let namespaces = "[namespaces.CLIENT]\ncomponent = \"builtin:chat-room\"\n";
        let server = Server::with(&format!("base_path = \"/\"\npage = {page}\n{namespaces}")).await;
        let headers = [("authorization", "Bearer 1:ana")];
        let answer = server.request(Method::GET, "/client/lobby/messages", &headers, "").await;
        assert_eq!(answer.status, status, "page = {page}");
    }
}

#[tokio::test]
async fn messages_are_paged_in_both_directions() {
    let server = Server::start().await;
    let mut ana = server.join("lobby", "ana").await;
    for number in 1..=5 {
        ana.send_chat(&number.to_string()).await;
    }
    for _ in 1..=5 {
        ana.recv_content().await;
    }
    let page = async |query: &str| {
        let page = server.api(Method::GET, &format!("/rooms/lobby/messages?{query}"), "ana", "").await.json();
        let seqs = page["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap());
        (seqs.collect::<Vec<_>>(), page["hasMore"].as_bool().unwrap())
    };
    assert_eq!(page("limit=2").await, (vec![4, 5], true));
    assert_eq!(page("limit=2&before=4").await, (vec![2, 3], true));
    assert_eq!(page("limit=2&before=2").await, (vec![1], false));
    assert_eq!(page("limit=2&after=2").await, (vec![3, 4], true));
    assert_eq!(page("limit=2&after=3").await, (vec![4, 5], false));
    for bad in ["limit=0", "limit=501", "limit=x", "limit=%FF", "limit", "before=x", "after=-1", "after=%zz"] {
        server.api(Method::GET, &format!("/rooms/lobby/messages?{bad}"), "ana", "").await.is_problem(400);
    }
}

#[tokio::test]
async fn a_retry_with_the_same_idempotency_key_stores_nothing() {
    let server = Server::start().await;
    let post = async |content: &str| {
        let headers = [("authorization", "Bearer 1:ana"), ("idempotency-key", "k1")];
        let body = json!({ "content": content }).to_string();
        server.request(Method::POST, &format!("{BASE}/rooms/lobby/messages"), &headers, &body).await.json()
    };
    let first = post("once").await;
    assert_eq!(post("once").await, first);
    let listed = server.api(Method::GET, "/rooms/lobby/messages", "ana", "").await;
    assert_eq!(listed.json()["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn presence_is_listed_and_updated_over_http() {
    let server = Server::start().await;
    let mut ana = server.connect(&format!("{BASE}/presence/ws?token=id-ana:ana"), &[]).await.unwrap();
    ana.recv_type("presence_list").await;
    let update = async |name: &str, status: &str| {
        server.api(Method::POST, "/presence/update", name, &json!({ "status": status }).to_string()).await
    };
    assert_eq!(update("ana", "busy").await.json(), json!({ "success": true }));
    assert_eq!(ana.recv_type("presence_update").await["user"]["status"], "busy");
    assert_eq!(update("nobody", "busy").await.json(), json!({ "success": true }));
    update("ana", "asleep").await.is_problem(400);
    let users = server.api(Method::GET, "/presence/list", "bo", "").await.json();
    assert_eq!(users["users"].as_array().unwrap().len(), 1);
    assert_eq!((&users["users"][0]["userId"], &users["users"][0]["status"]), (&json!("id-ana"), &json!("busy")));
    let other_scope = server.api(Method::GET, "/presence/team/list", "bo", "").await.json();
    assert_eq!(other_scope, json!({ "users": [] }));
}

#[tokio::test]
async fn unknown_paths_get_404_and_wrong_methods_405() {
    let server = Server::start().await;
    for path in ["/nothing", "/rooms", "/rooms/a", "/rooms/a/b/ws", "/presence", "/"] {
        server.api(Method::GET, path, "ana", "").await.is_problem(404);
    }
    let answer = server.api(Method::DELETE, "/rooms/lobby/messages", "ana", "").await;
    answer.is_problem(405);
    assert_eq!(answer.header("allow"), "GET, HEAD, POST, OPTIONS");
    for (path, allow) in
        [("/tickets", "POST, OPTIONS"), ("/presence/update", "POST, OPTIONS"), ("/presence/list", "GET, HEAD, OPTIONS")]
    {
        let answer = server.api(Method::PUT, path, "ana", "").await;
        answer.is_problem(405);
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    let answer = server.api(Method::GET, "/rooms/lobby/ws", "ana", "").await;
    answer.is_problem(426);
    assert_eq!(answer.header("upgrade"), "websocket");
    for name in ["a%00b", "a%2Fb", "%ff", "%zz", &"x".repeat(129)] {
        server.api(Method::GET, &format!("/rooms/{name}/messages"), "ana", "").await.is_problem(400);
    }
}

#[tokio::test]
async fn every_namespace_of_the_configuration_has_a_route() {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("counter.wasm"), dormouse_bundle::COUNTER).unwrap();
    let config = "page = false\n[namespaces.rooms]\ncomponent = \"builtin:chat-room\"\n\
                  [namespaces.BIG_POLLS]\ncomponent = \"counter.wasm\"\n";
    let server = Server::in_directory(directory, config).await;
    let mut ana = server.connect(&format!("{BASE}/big-polls/lunch/ws?token=id-ana:ana"), &[]).await.unwrap();
    assert_eq!(ana.recv().await, 0);
    ana.send("one").await;
    assert_eq!(ana.recv().await, 1);
    for path in ["/big-polls/lunch", "/big-polls/lunch/", "/big-polls/lunch/any/path"] {
        assert_eq!(server.api(Method::GET, path, "bo", "").await.json(), 1, "{path}");
    }
    assert_eq!(server.api(Method::DELETE, "/big-polls/dinner/votes", "bo", "").await.json(), 0);
    // A namespace may be named in lower case; one that is not there has no route.
    assert_eq!(server.api(Method::GET, "/rooms/lobby/messages", "bo", "").await.json(), json!({ "messages": [] }));
    for path in ["/BIG_POLLS/lunch", "/big_polls/lunch", "/presence/list", "/presence/ws"] {
        server.api(Method::GET, path, "bo", "").await.is_problem(404);
    }
}

#[tokio::test]
async fn a_limit_of_0_is_off() {
    let server = Server::with("[limits]\nrooms = 0\nroom_bytes = 0\n").await;
    let posted = server.api(Method::POST, "/rooms/lobby/messages", "bo", r#"{"content":"hi"}"#).await;
    assert_eq!(posted.status, StatusCode::OK);
}

#[tokio::test]
async fn a_newcomer_joins_a_room_with_a_small_send_limit() {
    let limited = "[namespaces.ROOMS]\ncomponent = \"builtin:chat-room\"\nmessage_out_bytes = 4096\n\
                   [namespaces.PRESENCE]\ncomponent = \"builtin:presence-tracker\"\nmessage_out_bytes = 4096\n";
    for config in [limited, "[limits]\nsocket_queue_bytes = 4096\n", "[limits]\nturn_output_bytes = 8192\n"] {
        let server = Server::with(config).await;
        let content = json!({ "content": "x".repeat(900) }).to_string();
        for _ in 0..20 {
            let posted = server.api(Method::POST, "/rooms/lobby/messages", "bo", &content).await;
            assert_eq!(posted.status, StatusCode::OK, "{config}");
        }
        for since in ["", "&since=1"] {
            let path = format!("{BASE}/rooms/lobby/ws?token=id-ana:ana{since}");
            let mut ana = server.connect(&path, &[]).await.unwrap();
            let history = ana.recv_type("history").await;
            let shown = history["messages"].as_array().unwrap();
            assert!(shown.last().unwrap()["seq"].as_u64() >= Some(20), "{config}");
            ana.send_chat("hello").await;
            assert_eq!(ana.recv_content().await, "hello");
        }
    }
}

#[tokio::test]
async fn rooms_are_found_by_their_decoded_names() {
    let server = Server::start().await;
    let mut ana = server.join("caf%C3%A9%20%F0%9F%90%AD", "ana").await;
    ana.recv_type("history").await;
    server.api(Method::POST, "/rooms/caf%c3%a9%20%f0%9f%90%ad/messages", "bo", r#"{"content":"found"}"#).await;
    assert_eq!(ana.recv_content().await, "found");
}

#[tokio::test]
async fn the_page_is_served_with_its_assets() {
    let server = Server::start().await;
    let page = server.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let sources = html.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let links = html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for path in sources.chain(links).filter(|path| path.starts_with('/') || path.starts_with("./")) {
        let path = path.trim_start_matches('.');
        assert_eq!(server.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(server.get("/client/index.js").await.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(server.get("/config.json").await.json(), json!({ "basePath": BASE, "auth": "dev" }));
    server.get("/client/../Cargo.toml").await.is_problem(404);
}
