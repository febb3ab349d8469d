//! The load generator, against the server that it ships with.

use std::time::Duration;

use serde_json::Value;

use crate::command_line::run;
use crate::harness::Server;

/// Runs a scenario on a new server, and returns its report.
async fn run_bench(config: &str, scenario: &[&str]) -> Value {
    let server = Server::with(config).await;
    let (url, pid) = (format!("http://{}", server.address), server.pid().to_string());
    let arguments = [&["bench"], scenario, &["--url", &url, "--pid", &pid, "--json", "-"]].concat();
    let arguments = arguments.iter().map(ToString::to_string).collect::<Vec<_>>();
    let ran = tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    let output = ran.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn count(report: &Value, key: &str) -> u64 {
    report["counts"][key].as_u64().expect("a number")
}

fn assert_no_faults(report: &Value) {
    for fault in ["lost", "duplicated", "outOfOrder", "failed"] {
        assert_eq!(count(report, fault), 0, "{fault}: {report}");
    }
}

#[tokio::test]
async fn rooms_count_every_delivery_and_find_no_faults() {
    let quick = ["--duration", "500ms", "--warmup", "100ms"];
    let report =
        run_bench("", &[&["rooms", "--rooms", "3", "--members", "4", "--window", "4"], &quick[..]].concat()).await;
    assert_no_faults(&report);
    assert!(count(&report, "sends") > 0 && count(&report, "deliveries") > count(&report, "sends"), "{report}");
    assert!(report["latency"]["delivery"]["count"].as_u64().is_some_and(|measured| measured > 0), "{report}");
    assert!(report["server"]["residentBytes"].as_u64().unwrap() > 1 << 20, "{report}");

    let report = run_bench("", &[&["fanout", "--members", "5", "--rate", "50"], &quick[..]].concat()).await;
    assert_no_faults(&report);
    assert!(count(&report, "sends") <= 60, "a rate is held: {report}");
}

#[tokio::test]
async fn a_server_that_dies_during_a_bench_fails_the_command() {
    let mut server = Server::start().await;
    let url = format!("http://{}", server.address);
    let running = tokio::task::spawn_blocking(move || {
        run(&["bench", "rooms", "--rooms", "2", "--members", "3", "--rate", "20", "--duration", "3s", "--url", &url])
    });
    while server.rooms_running().await < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let output = running.await.unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("dormouse: "), "{text}");
}

#[tokio::test]
async fn every_other_scenario_completes() {
    let asleep_soon = "hibernate_after = \"200ms\"";
    let report = run_bench(asleep_soon, &["wake", "--rooms", "3", "--asleep-after", "1s"]).await;
    assert_eq!(
        (report["latency"]["asleep"]["count"].as_u64(), report["latency"]["awake"]["count"].as_u64()),
        (Some(3), Some(6))
    );
    let report = run_bench("", &["idle", "--sockets", "20", "--rooms", "4", "--settle", "100ms"]).await;
    assert_no_faults(&report);
    assert!(report["server"]["bytesPerSocket"].is_number(), "{report}");
    let report = run_bench("", &["http", "--rooms", "2", "--duration", "300ms"]).await;
    assert_no_faults(&report);
    assert!(count(&report, "deliveries") > 0, "{report}");
    let report = run_bench("", &["connect", "--rooms", "5"]).await;
    assert_eq!(report["latency"]["connect"]["count"], 5);
    let report = run_bench("", &["storm", "--sockets", "30", "--rooms", "3"]).await;
    assert_no_faults(&report);
    assert_eq!(report["latency"]["reconnect"]["count"], 30);
    // Its figures would depend on the load of this machine: it is a benchmark, not a timed test.
    let report = run_bench("", &["flood", "--sockets", "1", "--duration", "300ms", "--at-most", "1000000"]).await;
    assert_no_faults(&report);
    for phase in ["quiet", "flooded"] {
        assert!(report["latency"][phase]["count"].as_u64() > Some(0), "{report}");
    }
}
