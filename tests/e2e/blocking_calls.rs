//! Rooms that wait for others keep their instances, and other rooms do not wait for that.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Server, within};
use crate::outbound::{caller_server, run_command};

/// So many instances, and a call may take longer than the test.
const FEW_INSTANCES: &str =
    "[limits]\nawake_rooms = 8\nwarm_rooms = 2\nturn_calls_timeout = \"1h\"\nanswer_timeout = \"1h\"\n";

fn call(name: &str, command: Value) -> Value {
    json!({ "do": "call", "namespace": "OTHERS", "name": name, "command": command })
}

/// The call was answered, or there was no place for it.
fn is_answered_or_refused(answer: &Value) -> bool {
    answer["status"] == 200 || answer["error"].as_str().is_some_and(|text| text.contains("Overloaded"))
}

async fn assert_healthy(server: &Server) {
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn calls_to_hibernating_rooms_all_get_an_answer() {
    let server = caller_server(FEW_INSTANCES, "").await;
    for round in 0..3 {
        let (called, caller) = (|room: i32| format!("c{round}-{room}"), |room: i32| format!("r{round}-{room}"));
        let calls = (0..40).map(|room| {
            let (server, command) = (&server, call(&called(room), json!({ "do": "count" })));
            async move { run_command(server, &caller(room), command).await }
        });
        let bystander = run_command(&server, "bystander", json!({ "do": "get-count" }));
        let (answers, seen) = within(async { tokio::join!(join_all(calls), bystander) }).await;
        assert_eq!(seen["count"], 0);
        assert!(answers.iter().all(is_answered_or_refused), "{answers:?}");
        assert!(answers.iter().any(|answer| answer["status"] == 200), "{answers:?}");
        assert_healthy(&server).await;
    }
}

#[tokio::test]
async fn chains_of_calls_all_get_an_answer() {
    let server = caller_server(FEW_INSTANCES, "").await;
    let chains = (0..30).map(|room| {
        let last =
            json!({ "do": "call", "namespace": "ROOMS", "name": format!("last-{room}"), "command": { "do": "count" } });
        let (server, command) = (&server, call(&format!("middle-{room}"), last));
        async move { run_command(server, &format!("first-{room}"), command).await }
    });
    let answers = within(join_all(chains)).await;
    assert!(answers.iter().all(is_answered_or_refused), "{answers:?}");
    assert_healthy(&server).await;
}

#[tokio::test]
async fn rooms_that_wait_for_a_server_leave_instances_to_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let server = caller_server(FEW_INSTANCES, &format!("outbound_private = [\"{origin}\"]")).await;
    let fetch = json!({ "do": "fetch", "origin": origin, "path": "/" });
    let waiting = join_all((0..40).map(|room| {
        let (server, command) = (&server, &fetch);
        async move { run_command(server, &format!("r{room}"), command.clone()).await }
    }));
    let others = async {
        // As many wait as may. The backlog of the listener accepts them, and none gets an answer.
        server.wait_for_refusal("awake_rooms").await;
        let began = Instant::now();
        for round in 0..20 {
            assert_eq!(
                within(run_command(&server, &format!("other-{round}"), json!({ "do": "get-count" }))).await["count"],
                0
            );
        }
        assert_healthy(&server).await;
        began.elapsed()
    };
    tokio::select! {
        _ = waiting => panic!("no room answers them"),
        took = others => println!("{took:?}"),
    }
}

#[tokio::test]
async fn a_host_without_free_instances_is_unhealthy() {
    let server =
        caller_server("[limits]\nawake_rooms = 1\nwarm_rooms = 1\nturn_cpu = \"1h\"\nanswer_timeout = \"1h\"\n", "")
            .await;
    let spins = run_command(&server, "spins", json!({ "do": "spin" }));
    let waits = async {
        server.wait_for_count("wakes_total", 1).await;
        let waits = run_command(&server, "waits", json!({ "do": "get-count" }));
        let sick = async {
            loop {
                let health = server.get("/healthz").await;
                if health.status == 503 {
                    return health;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! { _ = waits => panic!("there is no instance for it"), health = within(sick) => health }
    };
    let health = tokio::select! { _ = spins => panic!("it spins for an hour"), health = waits => health };
    health.is_problem(503);
    assert!(health.json()["detail"].as_str().unwrap().contains("awake_rooms"), "{health:?}");
}

#[tokio::test]
async fn with_one_instance_a_call_is_refused_at_once() {
    let server = caller_server("[limits]\nawake_rooms = 1\nwarm_rooms = 1\n", "").await;
    let answer = within(run_command(&server, "a", call("b", json!({ "do": "count" })))).await;
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("Overloaded")), "{answer}");
}
