//! Counts the instructions of the hot path. Threads that wake by the clock are counted as well, so a busy machine
//! counts more: run it on a quiet one.
//!
//! `make instructions` builds the host as for a release, with the dependencies of the tests. It runs each piece under
//! callgrind with two counts; the difference is the piece without its setup. If a result differs from the figure in the
//! table by more than [`TOLERANCE`], in either direction, this fails: a slower hot path is noticed, and a faster one
//! gets a new figure. Needs valgrind and an x86-64 machine. Elsewhere it reports that and fails.

mod fixture;

use std::hint::black_box;
use std::process::{Command, ExitCode};

use fixture::{Room, Router, chat_line};

/// The name of each piece, and its instructions.
const PIECES: [(&str, u64); 4] = [("encode", 371), ("turn", 39_600), ("wake", 186_500), ("route", 118_100)];
/// Runs differ by less than half a percent. A patch release of a library may change more.
const TOLERANCE: f64 = 0.05;
/// How often a run of callgrind is tried.
const TRIES: usize = 3;
/// The two counts. Their difference is so large that one-time work does not matter.
const COUNTS: [u64; 2] = [1_000, 3_000];

fn main() -> ExitCode {
    let arguments = std::env::args().collect::<Vec<_>>();
    if let [_, run, piece, count] = arguments.as_slice()
        && run == "run"
    {
        execute(piece, count.parse().expect("a count"));
        return ExitCode::SUCCESS;
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64"))
        || Command::new("valgrind").arg("--version").output().is_err()
    {
        eprintln!("instructions are counted on x86-64 Linux with valgrind; install it to count them");
        return ExitCode::FAILURE;
    }
    let mut failed = 0;
    for (piece, expected) in PIECES {
        let [few, many] = COUNTS.map(|count| instructions(piece, count));
        let counted = (many - few) / (COUNTS[1] - COUNTS[0]);
        let ratio = counted as f64 / expected as f64;
        let good = (ratio - 1.0).abs() <= TOLERANCE;
        failed += u32::from(!good);
        println!("{piece:<8}{counted:>10} instructions, expected {expected}: {}", if good { "ok" } else { "FAILED" });
    }
    println!("{} passed, {failed} failed", PIECES.len() as u32 - failed);
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn execute(piece: &str, count: u64) {
    match piece {
        "turn" => {
            let mut room = Room::new();
            (0..count).for_each(|_| room.message());
        }
        "encode" => {
            let message = chat_line();
            (0..count).for_each(|_| drop(black_box(dormouse::edge::encode(&message))));
        }
        "wake" => {
            let mut room = Room::new();
            (0..count).for_each(|_| {
                room.hibernate();
                room.message();
            });
        }
        "route" => {
            let router = Router::new();
            (0..count).for_each(|_| router.route());
        }
        other => panic!("there is no piece {other}"),
    }
}

/// The instructions of a whole run. Sometimes callgrind itself fails, when a thread gets a signal at a bad moment (an
/// assertion in its own `threads.c`); then it is run again.
fn instructions(piece: &str, count: u64) -> u64 {
    let mut last = String::new();
    for _ in 0..TRIES {
        match counted(piece, count) {
            Ok(collected) => return collected,
            Err(error) => last = error,
        }
    }
    panic!("callgrind did not count {piece}:\n{last}")
}

fn counted(piece: &str, count: u64) -> Result<u64, String> {
    let ourselves = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--smc-check=all-non-file"])
        .arg(ourselves)
        .args(["run", piece, &count.to_string()])
        // The component is compiled first. With several threads, their search for work would change the count each
        // time.
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")).map(|(_, number)| number.trim());
    match collected.and_then(|number| number.parse().ok()) {
        Some(collected) if output.status.success() => Ok(collected),
        _ => Err(text.into_owned()),
    }
}
