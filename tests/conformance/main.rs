//! WebSockets as RFC 6455 has them, judged by a suite that is not ours: all of Autobahn's cases, which `kosoku` runs
//! against the real binary and a room that echoes its messages.
//!
//! `make conformance-setup` installs the suite. Every case must be passed, strictly, except those in [`EXCEPTIONS`];
//! and these must behave as it says, so that no exception outlives its reason. The frames of each case, sent and
//! received, are in `target/tmp/conformance/index.html`.
#![expect(clippy::disallowed_methods, reason = "tests measure time and make files")]

#[expect(dead_code, reason = "the other end-to-end tests need more of it")]
#[path = "../e2e/harness.rs"]
mod harness;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use crate::harness::{BASE, Server};

/// These servers have no database.
fn store_of(_: &TempDir) -> Option<String> {
    None
}

/// The sections of the suite, and how many cases each has: none may get lost.
const SECTIONS: [(&str, usize); 11] = [
    ("1", 16),   // framing
    ("2", 11),   // pings and pongs
    ("3", 7),    // reserved bits
    ("4", 10),   // opcodes
    ("5", 20),   // fragmentation
    ("6", 145),  // UTF-8
    ("7", 37),   // closing
    ("9", 54),   // limits and performance
    ("10", 1),   // fragments made by the client's library
    ("12", 90),  // compression of different payloads
    ("13", 126), // compression with different parameters
];

/// Cases that are not passed as strictly as the suite would like, and why not.
const EXCEPTIONS: [Exception; 5] = [
    Exception {
        cases: &["9.1.4", "9.1.5", "9.1.6", "9.2.4", "9.2.5", "9.2.6", "9.3.*", "9.4.*"],
        show: Show::ClosedWith(1009),
        because: "messages of 4 to 16 MiB, and no room takes more than 1 MiB (limits::MESSAGE_BYTES)",
    },
    Exception {
        cases: &["12.*", "13.*"],
        show: Show::Unimplemented,
        because: "compression is not offered (docs/performance.md says why)",
    },
    Exception {
        cases: &["3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"],
        show: Show::StrictOrNot,
        because: "a bad frame ends the connection at once, whether the room has answered the message before it or not",
    },
    Exception {
        cases: &["6.4.3", "6.4.4"],
        show: Show::NotStrict,
        because: "a frame is judged when it is whole, so bad UTF-8 in the middle of one is found at its end",
    },
    Exception { cases: &["7.1.6", "7.13.1", "7.13.2"], show: Show::Informational, because: "the RFC leaves it open" },
];

/// Cases run at the same time: many of them wait for seconds.
const AT_ONCE: &str = "4";

/// All cases together take no longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

struct Exception {
    /// Their numbers, or what these begin with before a `*`.
    cases: &'static [&'static str],
    show: Show,
    because: &'static str,
}

/// The result of a case that does not pass strictly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    /// The server does not go on, and says so by a close code.
    ClosedWith(u16),
    /// The server does not know the extension.
    Unimplemented,
    /// It is passed, and what RFC 6455 recommends is not met.
    NotStrict,
    /// The one or the other, as it happens.
    StrictOrNot,
    /// There is nothing to be passed.
    Informational,
}

/// The report of the suite about a case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: String,
    behavior_close: String,
    remote_close_code: Option<u16>,
}

impl Verdict {
    fn is(&self, behavior: &str, behavior_close: &str) -> bool {
        (&*self.behavior, &*self.behavior_close) == (behavior, behavior_close)
    }

    fn is_passed(&self) -> bool {
        self.is("OK", "OK")
    }

    fn does(&self, show: Show) -> bool {
        match show {
            Show::ClosedWith(code) => self.behavior == "FAILED" && self.remote_close_code == Some(code),
            Show::Unimplemented => self.is("UNIMPLEMENTED", "OK"),
            Show::NotStrict => self.is("NON-STRICT", "OK"),
            Show::StrictOrNot => self.is("NON-STRICT", "OK") || self.is_passed(),
            Show::Informational => self.is("INFORMATIONAL", "INFORMATIONAL"),
        }
    }
}

impl Exception {
    fn of(case: &str) -> Option<&'static Exception> {
        EXCEPTIONS.iter().find(|exception| exception.cases.iter().any(|pattern| matches(pattern, case)))
    }
}

fn matches(pattern: &str, case: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == case, |beginning| case.starts_with(beginning))
}

/// All that is not as it should be.
fn problems(verdicts: &BTreeMap<String, Verdict>) -> Vec<String> {
    let mut problems = Vec::new();
    for (case, verdict) in verdicts {
        match Exception::of(case) {
            None if !verdict.is_passed() => problems.push(format!("{case} is not passed: {verdict:?}")),
            Some(exception) if !verdict.does(exception.show) => {
                problems.push(format!("{case} does not show {:?}, as EXCEPTIONS says: {verdict:?}", exception.show));
            }
            _ => {}
        }
    }
    for (section, expected) in SECTIONS {
        let found = verdicts.keys().filter(|case| matches(&format!("{section}.*"), case)).count();
        if found != expected {
            problems.push(format!("section {section} has {expected} cases, and {found} were run"));
        }
    }
    problems
}

/// The cases counted: passed, and each kind of exception with its reason.
fn summary(verdicts: &BTreeMap<String, Verdict>) -> String {
    let passed = verdicts.keys().filter(|case| Exception::of(case).is_none()).count();
    let mut lines = format!("{} cases of Autobahn's\n{passed:>5} passed, strictly\n", verdicts.len());
    for exception in &EXCEPTIONS {
        let count = verdicts.keys().filter(|case| exception.cases.iter().any(|pattern| matches(pattern, case))).count();
        lines.push_str(&format!("{count:>5} {:?}: {}\n", exception.show, exception.because));
    }
    lines
}

/// Run all cases against a WebSocket. The verdict of each, by its number.
async fn run_suite(url: &str) -> BTreeMap<String, Verdict> {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/conformance/bin/kosoku");
    assert!(suite.exists(), "the suite is not installed: run `make conformance-setup`");
    let reports = Path::new(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let _ = fs::remove_dir_all(&reports);
    fs::create_dir_all(&reports).expect("a directory");
    let log = reports.join("kosoku.log");
    let output = || Stdio::from(File::options().create(true).append(true).open(&log).expect("a file"));
    let mut command = Command::new(suite);
    command.arg(url).args(["--parallelism", AT_ONCE, "--outdir"]).arg(&reports).stdout(output()).stderr(output());
    let mut child = command.spawn().expect("it is installed");
    let began = Instant::now();
    // Its exit code says only whether there are exceptions.
    while child.try_wait().expect("it was started here").is_none() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the suite did not end in time");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let index = fs::read(reports.join("index.json")).unwrap_or_else(|error| {
        panic!("the suite has reported nothing ({error}):\n{}", fs::read_to_string(&log).unwrap_or_default())
    });
    let by_server = serde_json::from_slice::<BTreeMap<String, BTreeMap<String, Verdict>>>(&index).expect("its report");
    by_server.into_values().flatten().collect()
}

#[tokio::test]
async fn websockets_follow_rfc_6455() {
    let directory = Arc::new(TempDir::new().expect("a temporary directory"));
    fs::write(directory.path().join("echo.wasm"), dormouse_bundle::ECHO).expect("a file");
    let server = Server::in_directory(directory, "[namespaces.ROOMS]\ncomponent = \"echo.wasm\"\n").await;
    let url = format!("ws://{}{BASE}/rooms/echo/ws?token=1:kosoku", server.address);

    let began = Instant::now();
    let verdicts = run_suite(&url).await;
    // Past the harness, which hides what a test prints that succeeds.
    let _ = write!(std::io::stderr(), "\n{} s, {}", began.elapsed().as_secs(), summary(&verdicts));
    let problems = problems(&verdicts);
    assert!(problems.is_empty(), "{}\nsee target/tmp/conformance/index.html", problems.join("\n"));
    assert!(!server.log().contains("panicked"), "no case may make the server panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The suite's verdicts of a server that does all that is expected of Dormouse.
    fn as_expected() -> BTreeMap<String, Verdict> {
        let verdict = |behavior: &str, behavior_close: &str, code| Verdict {
            behavior: behavior.into(),
            behavior_close: behavior_close.into(),
            remote_close_code: Some(code),
        };
        let mut verdicts = BTreeMap::new();
        let named = EXCEPTIONS.iter().flat_map(|exception| exception.cases).filter(|case| !case.ends_with('*'));
        let names = named.map(|case| (*case).to_owned());
        verdicts.extend(names.map(|case| (case, verdict("OK", "OK", 1000))));
        for (section, count) in SECTIONS {
            let there = verdicts.keys().filter(|case| matches(&format!("{section}.*"), case)).count();
            let others = (there..count).map(|number| format!("{section}.other.{number}"));
            verdicts.extend(others.map(|case| (case, verdict("OK", "OK", 1000))));
        }
        for (case, expected) in &mut verdicts {
            *expected = match Exception::of(case).map(|exception| exception.show) {
                None | Some(Show::StrictOrNot) => verdict("OK", "OK", 1000),
                Some(Show::ClosedWith(code)) => verdict("FAILED", "FAILED", code),
                Some(Show::Unimplemented) => verdict("UNIMPLEMENTED", "OK", 1000),
                Some(Show::NotStrict) => verdict("NON-STRICT", "OK", 1007),
                Some(Show::Informational) => verdict("INFORMATIONAL", "INFORMATIONAL", 1000),
            };
        }
        verdicts
    }

    /// The error for a case that is not as expected.
    fn problem_of(case: &str, behavior: &str, code: u16) -> String {
        let mut verdicts = as_expected();
        let verdict = verdicts.get_mut(case).expect("it is among them");
        (verdict.behavior, verdict.remote_close_code) = (behavior.into(), Some(code));
        let mut problems = problems(&verdicts);
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems.remove(0)
    }

    #[test]
    fn an_expected_result_is_not_reported() {
        assert_eq!(problems(&as_expected()), Vec::<String>::new());
    }

    #[test]
    fn a_failed_case_is_reported() {
        assert!(problem_of("1.other.0", "FAILED", 1000).contains("is not passed"));
        assert!(problem_of("1.other.0", "NON-STRICT", 1000).contains("is not passed"));
    }

    #[test]
    fn an_exception_with_another_result_is_reported() {
        // It passes, so it is none; or it fails in another way.
        for (case, behavior, code) in [
            ("9.1.4", "OK", 1000),
            ("9.1.4", "FAILED", 1006),
            ("12.other.0", "OK", 1000),
            ("6.4.3", "OK", 1007),
            ("3.2", "FAILED", 1002),
            ("7.1.6", "FAILED", 1000),
        ] {
            assert!(problem_of(case, behavior, code).contains("does not show"), "{case} {behavior} {code}");
        }
    }

    #[test]
    fn a_case_that_did_not_run_is_reported() {
        let mut verdicts = as_expected();
        verdicts.remove("6.other.3").expect("it is among them");
        assert_eq!(problems(&verdicts), ["section 6 has 145 cases, and 144 were run"]);
    }
}
