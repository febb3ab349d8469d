//! A log that cannot be written costs nothing but its lines.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dormouse::limits::LOG_LINES;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::command_line::run;
use crate::harness::{self, BASE, Server, within};

/// A server whose stderr this test reads, or does not.
struct UnreadServer {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    stderr: Option<BufReader<ChildStderr>>,
    _directory: TempDir,
}

impl UnreadServer {
    /// A server with rooms that follow commands, read until it is ready.
    fn start(limits: &str, args: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
        let config = format!("[limits]\n{limits}\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n");
        let mut child = harness::spawn(&directory, &config, args);
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (mut address, mut admin) = (None, None);
        while address.is_none() {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it did not start");
            let first = |rest: &str| rest.split_whitespace().next().unwrap().parse::<SocketAddr>().unwrap();
            admin = line.strip_prefix("dormouse: admin on http://").map(first).or(admin);
            address = line.strip_prefix("dormouse: ready on http://").map(first);
        }
        UnreadServer {
            child,
            address: address.unwrap(),
            admin: admin.unwrap(),
            stderr: Some(stderr),
            _directory: directory,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn is_healthy(&self) {
        let answer = harness::request(self.address, Method::GET, "/healthz", &[], "").await;
        assert_eq!(answer.status, 200);
    }

    async fn lost_lines(&self) -> u64 {
        let metrics = harness::request(self.admin, Method::GET, "/metrics", &[], "").await;
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("dormouse_log_lines_lost_total ")).unwrap();
        line.parse().unwrap()
    }

    async fn wait_for_lost_lines(&self, at_least: u64) {
        within(async {
            while self.lost_lines().await < at_least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn wait_for_exit(&mut self) -> std::process::ExitStatus {
        within(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// All that an operator, a client and a guest do that is worth a line.
    async fn causes_every_kind_of_log_line(&mut self) {
        let path = format!("{BASE}/rooms/lobby/ws?token=ana");
        let mut ana = harness::connect(self.address, &path, &[]).await.expect("it lets us in");
        ana.expect_text("welcome").await;
        self.signal(Signal::HUP);
        self.wait_for_lost_lines(1).await;
        // A failed turn is logged, and the room continues.
        ana.send("fail told to").await;
        assert_eq!(ana.recv().await["code"], "room_failed");
        ana.expect_reply("say here", "here").await;
        self.wait_for_lost_lines(2).await;
        // So is a full door, under its lock.
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(TcpStream::connect(self.address).await.unwrap());
        }
        self.wait_for_lost_lines(3).await;
        drop(others);
        let again = async { while harness::try_get(self.address, "/healthz").await != Some(200) {} };
        within(again).await;
        self.is_healthy().await;
        ana.expect_reply("say still here", "still here").await;
        self.signal(Signal::TERM);
        assert_eq!(ana.recv_close().await.0, 1001, "the room says goodbye");
        assert!(self.wait_for_exit().await.success());
    }
}

impl Drop for UnreadServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_closed_log_pipe_stops_nothing() {
    let mut server = UnreadServer::start("connections = 3", &[]);
    server.stderr = None;
    server.causes_every_kind_of_log_line().await;
}

#[tokio::test]
async fn a_full_log_pipe_stops_nothing() {
    // A few thousand lines more than the queue and the pipe hold; to lose many more only takes time.
    let lines = LOG_LINES + 10_000;
    let limits = format!("turn_cpu = \"1h\"\nturn_log_lines = {lines}\nlog_lines_per_second = 0");
    let mut server = UnreadServer::start(&limits, &[]);
    let path = format!("{BASE}/rooms/lobby/ws?token=ana");
    let mut ana = harness::connect(server.address, &path, &[]).await.expect("it lets us in");
    ana.expect_text("welcome").await;
    ana.expect_reply("log; say shouted", "shouted").await;
    server.wait_for_lost_lines(1_000).await;
    server.is_healthy().await;
    // Once it is read again, the log continues and reports what it lost.
    let mut stderr = server.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        stderr.read_to_end(&mut all).unwrap();
        String::from_utf8_lossy(&all).into_owned()
    });
    ana.expect_reply("say here", "here").await;
    server.signal(Signal::TERM);
    assert_eq!(ana.recv_close().await.0, 1001);
    assert!(server.wait_for_exit().await.success());
    let log = reader.join().unwrap();
    assert!(log.contains("lines of the log were lost"), "{}", log.len());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_on_a_full_disk_stops_nothing() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    // The log cannot name the addresses, so they are chosen before: of a loopback address that only this process
    // uses, as another one could take a port of 127.0.0.1 before the server does.
    let [.., third, second, first] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, third | 0x80, second, first);
    let (address, admin) = (SocketAddr::from((own, 8787)), SocketAddr::from((own, 8788)));
    let file = directory.path().join("dormouse.toml");
    let config = format!(
        "admin.listen = \"{admin}\"\n[limits]\nconnections = 3\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n"
    );
    std::fs::write(&file, config).unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_dormouse"))
        .args(["serve", "--listen", &address.to_string(), "--config"])
        .arg(&file)
        .arg("--data")
        .arg(directory.path().join("data"))
        .stderr(full)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = UnreadServer { child, address, admin, stderr: None, _directory: directory };
    within(async {
        while harness::try_get(address, "/healthz").await != Some(200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    server.causes_every_kind_of_log_line().await;
}

/// The stderr of a command whose stdout is not read, and whether it succeeds.
fn run_with_unread_stdout(args: &[&str]) -> (bool, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_dormouse")).args(args).stdout(writer).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_command_with_a_closed_output_pipe_exits_cleanly() {
    let directory = TempDir::new().unwrap();
    let room = directory.path().join("my-room");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for args in
        [&["check"][..], &["token", "ana"], &["new", "room", room.to_str().unwrap(), "--kit", source], &["--help"]]
    {
        assert_eq!(run_with_unread_stdout(args), (true, String::new()), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_command_that_cannot_write_its_output_fails_with_a_reason() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_dormouse")).args(["token", "ana"]).stdout(full()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.starts_with("dormouse: stdout cannot be written"), "{text}");
    // If nothing can be written, the exit code still says it.
    let status = Command::new(env!("CARGO_BIN_EXE_dormouse")).arg("nonsense").stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
    let wrong = ["serve", "--config", "/nowhere/dormouse.toml"];
    let status = Command::new(env!("CARGO_BIN_EXE_dormouse")).args(wrong).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert_eq!(run(&wrong).status.code(), Some(1));
}

/// A server with rooms that log what they are told, and may log two lines in a turn.
async fn loud_server(args: &[&str]) -> Server {
    let directory = Arc::new(TempDir::new().unwrap());
    std::fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).unwrap();
    let config = "[limits]\nturn_log_lines = 2\nturn_cpu_slow = \"1ms\"\n\
                  [namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n";
    Server::with_args(directory, config, args).await
}

#[tokio::test]
async fn a_json_line_about_a_room_names_room_user_and_turn() {
    let mut server = loud_server(&["--log-format", "json"]).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.expect_reply("log; say logged", "logged").await;
    ana.expect_reply("print; say printed", "printed").await;
    ana.expect_reply("work 40; say worked", "worked").await;
    ana.send("fail told to").await;
    assert_eq!(ana.recv().await["code"], "room_failed");
    ana.send("timer 1 fail first").await;
    server.wait_for_log("\"timer\":\"t\"").await;
    server.api(Method::POST, "/rooms/garden/messages", "bo", "log").await;
    server.api(Method::POST, "/rooms/garden/messages", "bo", "panic").await.is_problem(500);
    server.send_sigterm();
    server.wait_for_exit().await;
    let log = server.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    let lines = lines.collect::<Vec<_>>();
    let about = |room: &str, user: Value, turn: u64| {
        let is_meant = |line: &&Value| line["room"] == room && line["user"] == user && line["turn"] == turn;
        let messages = lines.iter().filter(is_meant).map(|line| line["fields"]["message"].as_str().unwrap());
        // A turn may or may not use much CPU.
        messages.filter(|message| *message != "a turn used much CPU").collect::<Vec<_>>()
    };
    let failed = |reason: &str| format!("the turn failed and was undone: the room returned an error: {reason}");
    assert_eq!(about("ROOMS/lobby", json!("id-ana"), 2), ["line 0", "line 1"]);
    assert_eq!(about("ROOMS/lobby", json!("id-ana"), 3), ["line 0", "line 1"]);
    assert_eq!(about("ROOMS/lobby", json!("id-ana"), 5), [failed("told to")]);
    assert_eq!(about("ROOMS/lobby", Value::Null, 7), [failed("told to fail first")]);
    assert_eq!(about("ROOMS/garden", json!("id-bo"), 1), ["line 0", "line 1"]);
    let panicked = about("ROOMS/garden", json!("id-bo"), 2);
    assert!(panicked.len() == 3 && panicked[1].contains("told to panic"), "{panicked:?}");
    let slow = lines.iter().find(|line| line["turn"] == 4 && line["room"] == "ROOMS/lobby").unwrap();
    assert_eq!((&slow["user"], &slow["fields"]["message"]), (&json!("id-ana"), &json!("a turn used much CPU")));
    for line in &lines {
        let is_of_room =
            line["target"] == "room" || line["target"].as_str().unwrap().starts_with("dormouse::room::life");
        assert!(line["room"].is_string() || !is_of_room, "{line}");
    }
}

#[tokio::test]
async fn a_text_line_about_a_room_names_room_user_and_turn() {
    let server = loud_server(&[]).await;
    let mut ana = server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    ana.send("log").await;
    server.wait_for_log("room{room=ROOMS/lobby}: room: line 0 turn=2 user=\"id-ana\"\n").await;
    ana.send("fail told to").await;
    server.wait_for_log("room{room=ROOMS/lobby}: dormouse::room::life::turn: the turn failed").await;
    server.wait_for_log("an error: told to turn=3 user=\"id-ana\" event=\"message\"").await;
}
