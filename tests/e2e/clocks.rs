//! The system's clock is set while the server runs: rooms follow it, and timers fire on time.
//!
//! A small library in front of the C library's `clock_gettime` shifts the system's clock of one process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::Method;
use tempfile::TempDir;

use crate::harness::{self, Client, Server, within};

const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *) = 0;
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, now);
    const char *path = getenv("SHIFTED_BY");
    if (done == 0 && id == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY);
        if (file >= 0) {
            if (read(file, text, 31) > 0) now->tv_sec += atoll(text);
            close(file);
        }
    }
    return done;
}
"#;

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (source, library) = (folder.join("shift.c"), folder.join(format!("shift-{}.so", std::process::id())));
        fs::write(&source, SHIFT).expect("a file");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        assert!(compiler.status().expect("there is a C compiler").success());
        library
    })
}

/// A server whose clock can be set.
struct ShiftedServer {
    server: Server,
    by: PathBuf,
}

impl ShiftedServer {
    async fn start(config: &str, seconds: i64) -> Self {
        let directory = Arc::new(TempDir::new().expect("a temporary directory"));
        fs::write(directory.path().join("unruly.wasm"), dormouse_bundle::UNRULY).expect("a file");
        let by = directory.path().join("shifted-by");
        write_offset(&by, seconds);
        let variables = [("LD_PRELOAD", library()), ("SHIFTED_BY", &by)];
        let config = format!("{config}\n[namespaces.ROOMS]\ncomponent = \"unruly.wasm\"\n");
        ShiftedServer { server: Server::with_variables(directory, &config, &variables).await, by }
    }

    /// Set the clock so far ahead, and wait until that was noticed.
    async fn set_clock(&self, seconds: i64) {
        let noticed = || self.server.log().matches("the system clock was set").count();
        let before = noticed();
        write_offset(&self.by, seconds);
        within(async {
            while noticed() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// In one step: a reader finds the old one or the new one.
fn write_offset(by: &Path, seconds: i64) {
    let new = by.with_extension("new");
    fs::write(&new, seconds.to_string()).expect("a file");
    fs::rename(new, by).expect("a file");
}

async fn reply_to(client: &mut Client, request: &str) -> String {
    client.send(request).await;
    client.recv_text().await
}

/// How far a room's time is ahead of the real one, in seconds.
async fn seconds_ahead(client: &mut Client) -> i64 {
    let now = reply_to(client, "now").await.parse::<i64>().expect("a number");
    let real = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    (now - i64::try_from(real).expect("it fits")) / 1_000
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn rooms_follow_a_clock_set_back_and_timers_fire_on_time() {
    let shifted = ShiftedServer::start("", 7_200).await;
    let mut ana = shifted.server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    assert!((7_190..=7_200).contains(&seconds_ahead(&mut ana).await));
    let began = Instant::now();
    assert_eq!(reply_to(&mut ana, "timer 6000 say rang; say set").await, "set");
    shifted.set_clock(0).await;
    assert!((-1..=0).contains(&seconds_ahead(&mut ana).await), "two hours are more than time stands still for");
    ana.expect_text("timer t say rang 0").await;
    assert!(began.elapsed() >= Duration::from_millis(5_900), "after {:?}", began.elapsed());
    assert_eq!(reply_to(&mut ana, "timers").await, "0");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_stored_timer_fires_on_time_after_the_clock_is_set_back() {
    let shifted = ShiftedServer::start("hibernate_after = \"20ms\"\n", 7_200).await;
    let answer =
        shifted.server.api(Method::POST, "/rooms/alone/messages", "ana", "timer 4000 fail nobody was here").await;
    assert_eq!(answer.status, 200);
    shifted.server.wait_until_all_hibernate().await;
    shifted.set_clock(0).await;
    shifted.server.wait_for_log("the room returned an error: nobody was here").await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_clock_set_forward_fires_no_timer_early() {
    let shifted = ShiftedServer::start("", 0).await;
    let mut ana = shifted.server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    let began = Instant::now();
    assert_eq!(reply_to(&mut ana, "timer 6000 say rang; say set").await, "set");
    shifted.set_clock(7_200).await;
    assert!(seconds_ahead(&mut ana).await > 7_000);
    ana.expect_text("timer t say rang 0").await;
    assert!(began.elapsed() >= Duration::from_millis(5_900), "after {:?}", began.elapsed());
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_clock_set_back_a_little_makes_time_stand_still() {
    let shifted = ShiftedServer::start("", 3).await;
    let mut ana = shifted.server.join("lobby", "ana").await;
    ana.expect_text("welcome").await;
    let first = reply_to(&mut ana, "now").await.parse::<u64>().unwrap();
    write_offset(&shifted.by, 0);
    let mut last = first;
    within(async {
        while last == first {
            let now = reply_to(&mut ana, "now").await.parse::<u64>().unwrap();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    })
    .await;
    assert!((-1..=0).contains(&seconds_ahead(&mut ana).await));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_date_header_follows_a_clock_that_is_set_back() {
    let shifted = ShiftedServer::start("", 7_200).await;
    // How far ahead the dates of many answers are: enough of them that each thread of the server gives some.
    let dates_ahead = async || {
        let mut dates = Vec::new();
        for _ in 0..20 {
            let answer = shifted.server.get("/healthz").await;
            let admin = harness::request(shifted.server.admin_address(), Method::GET, "/healthz", &[], "").await;
            dates.extend([answer, admin].map(|answer| answer.header("date").to_owned()));
        }
        let seconds = |date: &String| {
            let date = httpdate::parse_http_date(date).expect("a date").duration_since(UNIX_EPOCH).unwrap().as_secs();
            let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            date.cast_signed() - real.cast_signed()
        };
        dates.iter().map(seconds).collect::<Vec<_>>()
    };
    assert!(dates_ahead().await.iter().all(|ahead| (7_195..=7_200).contains(ahead)));
    write_offset(&shifted.by, 0);
    let dates = dates_ahead().await;
    assert!(dates.iter().all(|ahead| (-5..=0).contains(ahead)), "{dates:?}");
}
