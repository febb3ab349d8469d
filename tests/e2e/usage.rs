//! What rooms, namespaces and users use is counted, stored and shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::{admin, command, failure, printed};
use crate::harness::{BASE, Client, Server, within};
use crate::outbound::{caller_server, run_command};

/// Rooms that report what they used soon after the last event, because they fall asleep.
const SLEEPY: &str = "hibernate_after = \"100ms\"\n";

/// A client that counts what it sends and receives.
struct CountingClient {
    client: Client,
    user: String,
    counts: Counts,
}

/// What a client, or several, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    events: u64,
    bytes_in: u64,
    bytes_out: u64,
    deliveries: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.events += other.events;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.deliveries += other.deliveries;
    }

    fn of_row(row: &Value) -> Self {
        let [events, bytes_in, bytes_out, deliveries] =
            ["events", "bytesIn", "bytesOut", "deliveries"].map(|name| row[name].as_u64().expect("a number"));
        Counts { events, bytes_in, bytes_out, deliveries }
    }
}

impl CountingClient {
    async fn join(server: &Server, room: &str, name: &str) -> Self {
        let client = server.join(room, name).await;
        let counts = Counts { events: 1, ..Counts::default() };
        let mut client = CountingClient { client, user: format!("id-{name}"), counts };
        client.expect("welcome").await;
        client
    }

    async fn send(&mut self, text: &str) {
        self.client.send(text).await;
        self.counts.events += 1;
        self.counts.bytes_in += text.len() as u64;
    }

    async fn expect(&mut self, text: &str) {
        self.client.expect_text(text).await;
        self.counts.deliveries += 1;
        self.counts.bytes_out += text.len() as u64;
    }

    /// Leaves, and returns its counts with the close.
    async fn leave(self) -> Counts {
        self.client.close().await;
        Counts { events: self.counts.events + 1, ..self.counts }
    }
}

/// The answer to a query of usage.
async fn usage(server: &Server, query: &str) -> Value {
    let answer = admin(server, Method::GET, &format!("/usage?{query}"), "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The rows of an answer, by name.
fn rows(answer: &Value) -> BTreeMap<String, Value> {
    let by = answer["by"].as_str().expect("text");
    let rows = answer["rows"].as_array().expect("there are rows").iter();
    rows.map(|row| (row[by].as_str().expect("text").to_owned(), row.clone())).collect()
}

/// Waits until the rows of a query are as expected.
async fn wait_for_usage(server: &Server, query: &str, is_complete: impl Fn(&BTreeMap<String, Value>) -> bool) -> Value {
    let mut last = Value::Null;
    let found = async {
        loop {
            last = usage(server, query).await;
            if is_complete(&rows(&last)) {
                return last.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(crate::harness::TEST_TIMEOUT, found).await {
        Ok(found) => found,
        Err(_) => panic!("the usage is still {last:#}"),
    }
}

/// Waits until what was counted by a query is what clients counted, by name.
async fn wait_for_counts(server: &Server, query: &str, expected: &[(&str, Counts)]) -> BTreeMap<String, Value> {
    let expected = expected.iter().map(|(name, counts)| ((*name).to_owned(), *counts)).collect::<BTreeMap<_, _>>();
    let counted = |rows: &BTreeMap<String, Value>| {
        rows.iter().map(|(name, row)| (name.clone(), Counts::of_row(row))).collect::<BTreeMap<_, _>>()
    };
    let mut last = BTreeMap::new();
    let equal = async {
        loop {
            last = rows(&usage(server, query).await);
            if counted(&last) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let is_equal = tokio::time::timeout(crate::harness::TEST_TIMEOUT, equal).await.is_ok();
    assert!(is_equal, "{query}: clients counted {expected:#?}\nand the server {:#?}", counted(&last));
    last
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

#[tokio::test]
async fn metered_totals_equal_what_clients_counted() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = CountingClient::join(&server, "one", "ana").await;
    let mut bo = CountingClient::join(&server, "one", "bo").await;
    let mut other = CountingClient::join(&server, "two", "ana").await;
    for round in 0..20 {
        let text = "x".repeat(round);
        ana.send(&format!("all {text}")).await;
        ana.expect(&text).await;
        bo.expect(&text).await;
        bo.send("say only me").await;
        bo.expect("only me").await;
        other.send("count; put key value").await;
        other.expect("1").await;
    }
    bo.send("fail on purpose").await;
    let error = bo.client.recv_text().await;
    bo.counts.deliveries += 1;
    bo.counts.bytes_out += error.len() as u64;
    // A timer of the room, and a request.
    ana.send("timer 1 all rang").await;
    for client in [&mut ana, &mut bo] {
        client.expect("timer t all rang 0").await;
        client.expect("rang").await;
    }
    let body = "all asked";
    let answer = server.api(Method::POST, "/rooms/one/messages", "cleo", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for client in [&mut ana, &mut bo] {
        client.expect("asked").await;
    }
    let mut cleo = Counts { events: 1, bytes_in: body.len() as u64, ..Counts::default() };
    cleo.bytes_out = answer.body.len() as u64;
    // One joins late and leaves early: it counts only what came in between.
    let mut dee = CountingClient::join(&server, "one", "dee").await;
    dee.send("all hello").await;
    for client in [&mut ana, &mut bo, &mut dee] {
        client.expect("hello").await;
    }
    let dee = dee.leave().await;
    for client in [&mut ana, &mut bo] {
        client.expect("gone id-dee 1005 true ").await;
    }

    let mut one = Counts { events: 1, ..Counts::default() };
    [ana.counts, bo.counts, cleo, dee].into_iter().for_each(|counts| one.add(counts));
    let mut all = one;
    all.add(other.counts);
    let rooms = wait_for_counts(&server, "by=room", &[("ROOMS/one", one), ("ROOMS/two", other.counts)]).await;
    wait_for_counts(&server, "by=namespace", &[("ROOMS", all)]).await;
    let mut both_of_ana = ana.counts;
    both_of_ana.add(other.counts);
    let by_user = [(&*ana.user, both_of_ana), (&*bo.user, bo.counts), ("id-cleo", cleo), ("id-dee", dee)];
    let users = wait_for_counts(&server, "by=user", &by_user).await;

    let (one, two) = (&rooms["ROOMS/one"], &rooms["ROOMS/two"]);
    assert_eq!((number(one, "turns"), number(one, "timers")), (number(one, "events") - 1.0, 1.0), "one turn failed");
    assert!(number(one, "cpuSeconds") > 0.0 && number(one, "awakeSeconds") > 0.0, "{one}");
    assert!(number(&users["id-ana"], "cpuSeconds") > 0.0);
    assert_eq!(number(one, "connectedSeconds") + number(&users["id-ana"], "awakeSeconds"), 0.0);
    // What is asleep, connected or stored grows without any event.
    let grows = |name: &'static str, row: &'static str, before: f64| {
        move |rows: &BTreeMap<String, Value>| rows.get(row).is_some_and(|row| number(row, name) > before)
    };
    wait_for_usage(&server, "by=room", grows("asleepSeconds", "ROOMS/one", number(one, "asleepSeconds"))).await;
    wait_for_usage(&server, "by=room", grows("storageByteSeconds", "ROOMS/two", number(two, "storageByteSeconds")))
        .await;
    wait_for_usage(&server, "by=namespace", grows("asleepSeconds", "ROOMS", 0.0)).await;
    wait_for_usage(&server, "by=namespace", grows("storageByteSeconds", "ROOMS", 0.0)).await;
    wait_for_usage(&server, "by=user", grows("connectedSeconds", "id-bo", 0.0)).await;
}

#[tokio::test]
async fn calls_and_posts_of_a_room_are_counted() {
    let server = caller_server(SLEEPY, "").await;
    let call = json!({ "do": "call", "namespace": "OTHERS", "name": "b", "command": { "do": "count" } });
    run_command(&server, "a", call).await;
    let post = json!({ "do": "post", "namespace": "OTHERS", "name": "b", "command": { "do": "count" } });
    assert_eq!(run_command(&server, "a", post).await, json!({ "posted": true }));
    let counted = |rows: &BTreeMap<String, Value>| {
        let is = |room: &str, name: &str, count: f64| rows.get(room).is_some_and(|row| number(row, name) == count);
        is("ROOMS/a", "calls", 2.0) && is("OTHERS/b", "events", 2.0)
    };
    wait_for_usage(&server, "by=room", counted).await;
}

#[tokio::test]
async fn usage_survives_kill_9_a_minute_later() {
    let server = Server::unruly(SLEEPY).await;
    let mut ana = CountingClient::join(&server, "lobby", "ana").await;
    ana.send("all hello; put key value").await;
    ana.expect("hello").await;
    server.wait_until_all_hibernate().await;
    // Reports of the room and of its user. Nobody asks for usage, which would write them.
    server.wait_for_count("usage_reports_total", 2).await;
    let server = server.crash_and_restart().await;
    let rooms = wait_for_counts(&server, "by=room", &[("ROOMS/lobby", ana.counts)]).await;
    let users = wait_for_counts(&server, "by=user", &[(&*ana.user, ana.counts)]).await;
    // The sockets of the killed process are gone: their time has ended, and the storage goes on.
    let later = |name: &'static str, before: f64| {
        move |rows: &BTreeMap<String, Value>| rows.values().all(|row| number(row, name) > before)
    };
    let before = number(&rooms["ROOMS/lobby"], "storageByteSeconds");
    let later = wait_for_usage(&server, "by=room", later("storageByteSeconds", before + 10.0)).await;
    assert_eq!(rows(&later)["ROOMS/lobby"]["asleepSeconds"], rooms["ROOMS/lobby"]["asleepSeconds"]);
    let later = rows(&usage(&server, "by=user").await);
    assert_eq!(later["id-ana"]["connectedSeconds"], users["id-ana"]["connectedSeconds"]);
}

#[tokio::test]
async fn usage_is_complete_after_a_shutdown() {
    let mut server = Server::unruly("hibernate_after = \"1h\"\n").await;
    let mut ana = CountingClient::join(&server, "lobby", "ana").await;
    ana.send("say hello").await;
    ana.expect("hello").await;
    server.send_sigterm();
    assert_eq!(ana.client.recv_close().await.0, 1001);
    server.wait_for_exit().await;
    let (directory, config) = (server.directory.clone(), server.config().to_owned());
    drop(server);
    let server = Server::in_directory(directory, &config).await;
    let row = rows(&usage(&server, "by=user").await)["id-ana"].clone();
    let counts = Counts::of_row(&row);
    assert_eq!(Counts { events: ana.counts.events, ..counts }, ana.counts);
    assert!(counts.events == ana.counts.events || counts.events == ana.counts.events + 1, "with the close: {row}");
}

/// Names that could harm a spreadsheet or a terminal: each with the field of CSV and the text of the table.
const HOSTILE: [(&str, &str, &str); 5] = [
    ("=1+1", r#""'=1+1""#, "=1+1"),
    ("@SUM(1)", r#""'@SUM(1)""#, "@SUM(1)"),
    ("a\",\"b", r#""a"",""b""#, "a\",\"b"),
    ("<img src=x>", r#""<img src=x>""#, "<img src=x>"),
    ("x\u{202e}y", "\"x\\u{202e}y\"", "x\\u{202e}y"),
];

#[tokio::test]
async fn hostile_names_are_harmless_in_csv_and_terminal() {
    let server = Server::unruly(SLEEPY).await;
    for (name, ..) in HOSTILE {
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let path = format!("{BASE}/rooms/{}/ws?token={}:ana", encode(name), encode(name));
        let mut client = server.connect(&path, &[]).await.expect("it lets us in");
        client.expect_text("welcome").await;
        client.close().await;
    }
    let all = |rows: &BTreeMap<String, Value>| rows.len() == HOSTILE.len();
    wait_for_usage(&server, "by=user", all).await;
    wait_for_usage(&server, "by=room", all).await;
    let answer = admin(&server, Method::GET, "/usage?by=user&format=csv", "").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    let csv = String::from_utf8(answer.body.to_vec()).unwrap();
    let table = printed(&command(&server, &["usage", "--by", "user"]).await);
    let rooms = printed(&command(&server, &["usage", "--by", "room", "--csv"]).await);
    for (name, field, shown) in HOSTILE {
        assert!(csv.contains(&format!("\r\n{field},false,2,2,")), "{name:?} in\n{csv}");
        assert!(table.lines().any(|line| line.starts_with(&format!("{shown} "))), "{name:?} in\n{table}");
        let field = field.replace("\"'", "\"").replacen('"', "\"ROOMS/", 1);
        assert!(rooms.contains(&format!("\n{field},false,2,2,")), "{name:?} in\n{rooms}");
    }
    assert!(!format!("{csv}{table}{rooms}").contains('\u{202e}'), "{csv}{table}");
}

#[tokio::test]
async fn pages_of_usage_follow_each_other() {
    let server = Server::unruly(SLEEPY).await;
    let names = ["a", "a.b", "b", "c", "d"];
    for name in names {
        server.join(name, name).await.expect_text("welcome").await;
    }
    for (by, before) in [("room", "ROOMS/"), ("user", "id-")] {
        let all = wait_for_usage(&server, &format!("by={by}"), |rows| rows.len() == names.len()).await;
        assert_eq!(all["next"], Value::Null);
        let (mut paged, mut after) = (Vec::new(), String::new());
        loop {
            let page = usage(&server, &format!("by={by}&limit=2{after}")).await;
            assert!(page["rows"].as_array().unwrap().len() <= 2);
            paged.extend(rows(&page).into_keys());
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={}", next.replace('/', "%2F"));
        }
        assert_eq!(paged, names.map(|name| format!("{before}{name}")));
    }
    let shown = async |query: &str| rows(&usage(&server, query).await).into_keys().collect::<Vec<_>>();
    assert_eq!(shown("by=room&namespace=ROOMS&prefix=a").await, ["ROOMS/a", "ROOMS/a.b"]);
    assert_eq!(shown("by=room&namespace=OTHERS").await, Vec::<String>::new());
    assert_eq!(shown("by=user&prefix=id-c&since=1h").await, ["id-c"]);
    assert_eq!(shown("by=namespace").await, ["ROOMS"]);
    assert_eq!(shown("by=namespace&since=2001-01-01T00:00:00Z&until=2001-02-01T00:00:00Z").await, Vec::<String>::new());

    let table = printed(&command(&server, &["usage", "--limit", "3"]).await);
    assert_eq!(table.lines().filter(|line| line.starts_with("ROOMS/")).count(), 3, "{table}");
    let answer = printed(&command(&server, &["usage", "--by", "user", "--since", "2h", "--json"]).await);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(rows(&answer).len(), names.len());
    let csv = printed(&command(&server, &["usage", "--by", "user", "--csv", "--limit", "4"]).await);
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert!(csv.starts_with("user,other,events,turns,cpu_seconds,"), "{csv}");
}

#[tokio::test]
async fn a_wrong_query_of_usage_is_named() {
    let server = Server::start().await;
    for (query, part) in [
        ("by=session", "`by` is room, namespace or user"),
        ("since=yesterday", "`since` is how long ago"),
        ("since=1h&until=2h", "`since` must be before `until`"),
        ("format=xml", "`format` is json or csv"),
        ("by=user&namespace=ROOMS", "write by=room"),
        ("namespace=a%2fb", "`namespace`: a namespace is 1 to 64"),
        ("prefix=a", "give `namespace` too"),
        ("after=lobby", "`after` is what `next` was"),
        ("limit=1001", "a number from 1 to 1000"),
        ("room=lobby", "`room` is unknown here"),
    ] {
        let answer = admin(&server, Method::GET, &format!("/usage?{query}"), "").await;
        answer.is_problem(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{query}: {answer:?}");
    }
    assert!(failure(&command(&server, &["usage", "--since", "yesterday"]).await).contains("how long ago"));
}

/// The metrics as text.
async fn metrics(server: &Server) -> String {
    String::from_utf8(admin(server, Method::GET, "/metrics", "").await.body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_times_of_rooms_are_in_histograms() {
    let server = Server::unruly("").await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("put key value; say done", "done").await;
    let metrics = within(async {
        loop {
            let metrics = metrics(&server).await;
            // The last message is measured after it was written.
            if metrics.contains("dormouse_delivery_seconds_count{namespace=\"ROOMS\"} 2") {
                return metrics;
            }
        }
    })
    .await;
    for (name, count) in [("turn_cpu", 2), ("wake", 1), ("delivery", 2)] {
        let labels = "namespace=\"ROOMS\"";
        for line in [
            format!("dormouse_{name}_seconds_count{{{labels}}} {count}\n"),
            format!("dormouse_{name}_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n"),
        ] {
            let swapped = format!("dormouse_{name}_seconds_bucket{{le=\"+Inf\",{labels}}} {count}\n");
            assert!(metrics.contains(&line) || metrics.contains(&swapped), "no {line} in\n{metrics}");
        }
    }
    assert!(metrics.contains("\ndormouse_commit_seconds_count "), "{metrics}");
    assert_eq!(metrics.matches("# EOF").count(), 1);
}

/// A server in which each thing has happened that is counted by its kind. Before, such a metric is left out.
async fn busy_server() -> Server {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).expect("a file");
    std::fs::write(directory.path().join("caller.wasm"), dormouse_bundle::CALLER).expect("a file");
    let namespaces = "[limits]\nsockets_per_room = 1\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n\
        [namespaces.CALLERS]\ncomponent = \"caller.wasm\"\ncalls = [\"CALLERS\"]\n";
    let server = Server::in_directory(directory, namespaces).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    let full = server.connect(&format!("{BASE}/rooms/lobby/ws?token=id-bo:bo"), &[]).await;
    assert_eq!(full.err().expect("the room is full").status, 503);
    ana.send("fail on purpose").await;
    ana.recv_text().await;
    ana.close().await;
    let post = json!({ "do": "post", "namespace": "CALLERS", "name": "b", "command": { "do": "count" } });
    let posted = server.api(Method::POST, "/callers/a/messages", "ana", &post.to_string()).await;
    assert_eq!(posted.json(), json!({ "posted": true }));
    server.wait_for_count("posts_total{outcome=\"taken\"}", 1).await;
    server
}

#[tokio::test]
async fn the_dashboard_shows_metrics_that_exist() {
    if crate::HAS_DATABASE {
        return; // it has other metrics
    }
    let server = busy_server().await;
    let metrics = metrics(&server).await;
    let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let families = families.collect::<BTreeMap<_, _>>();
    let samples = families.iter().flat_map(|(name, kind)| match *kind {
        "counter" => vec![format!("{name}_total")],
        "histogram" => ["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}")).to_vec(),
        _ => vec![(*name).to_owned()],
    });
    let samples = samples.collect::<BTreeSet<_>>();

    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let expressions = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions = expressions.map(|target| target["expr"].as_str().expect("text")).collect::<Vec<_>>();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = expressions.iter().flat_map(|expression| expression.split(|letter| !is_part(letter)));
    let named = words.filter(|word| word.starts_with("dormouse_")).collect::<BTreeSet<_>>();
    let missing = named.iter().filter(|name| !samples.contains(**name)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "not in /metrics: {missing:?}");
    assert!(named.len() > 20 && panels.len() > 10, "{} metrics in {} panels", named.len(), panels.len());

    let documented = include_str!("../../docs/usage.md");
    let is_documented =
        |name: &str| documented.contains(&format!("`{name}")) || documented.contains(&format!("`{name}_total"));
    let undocumented = families.keys().filter(|name| !is_documented(name)).collect::<Vec<_>>();
    assert!(undocumented.is_empty(), "not in docs/usage.md: {undocumented:?}");
}
