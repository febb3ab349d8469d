//! The audit log: who did what through the admin listener, and when.
//!
//! It is the file `audit.log` in the data directory, with one JSON object a line. An entry is on disk before its action
//! begins, so an action that failed has one too; an action whose entry cannot be written is refused. A second line has
//! the outcome. It is not synced, and it is missing if the server or the client went meanwhile: the outcome is unknown.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::request::AdminRequest;
use crate::clock;
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::limits::ADMIN_CONNECTIONS;
use crate::lock::Lock;
use crate::random;

const FILE: &str = "audit.log";
/// The log before the last rotation.
const OLDER_FILE: &str = "audit.log.1";
/// The size at which the log is rotated, in bytes. With the older one it holds about 80,000 actions.
const FILE_BYTES: u64 = 16 << 20;
/// The entries of an answer that does not say how many.
const DEFAULT_ENTRIES: usize = 100;
/// The most entries of an answer: with the longest names, a few megabytes.
const MAX_ENTRIES: usize = 1_000;

/// Appends to the audit log. One action at a time, because each is synced.
pub(super) struct AuditLog {
    /// Absent without a data directory: actions then are only in the server's log.
    directory: Option<PathBuf>,
    writing: Lock<()>,
}

/// The id of the action that a request has recorded, as long as its outcome is not recorded.
#[derive(Clone, Default)]
pub(super) struct Recorded(Arc<Lock<Option<String>>>);

/// The outcome of an action.
pub(super) enum Outcome {
    Done,
    /// With the reason.
    Failed(String),
}

impl Recorded {
    /// Takes the duty to record the outcome, which the answer has otherwise: for an action that goes on behind it.
    pub(super) fn take(&self) -> Recorded {
        Recorded(Arc::new(Lock::new(self.0.lock().take())))
    }
}

impl Outcome {
    /// The outcome that an answer tells.
    pub(super) fn of(status: StatusCode) -> Self {
        if status.is_success() { Outcome::Done } else { Outcome::Failed(status.to_string()) }
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(clock::unix_millis())).to_string()
}

impl AuditLog {
    pub(super) fn new(directory: Option<&Path>) -> Self {
        AuditLog { directory: directory.map(Path::to_owned), writing: Lock::new(()) }
    }

    /// Records that the sender of a request does something to a target, such as `delete` to `room rooms/lobby`.
    pub(super) async fn record(
        self: &Arc<Self>,
        request: &AdminRequest,
        action: &'static str,
        target: &str,
        detail: Option<Value>,
    ) -> Result<(), Refusal> {
        let operator = request.operator();
        tracing::info!(action, target, operator, from = %request.from, "an operator acts");
        if self.directory.is_none() {
            return Ok(());
        }
        let id = format!("{:016x}", random::number());
        let entry = json!({
            "id": id,
            "time": now(),
            "from": request.from.to_string(),
            "operator": operator,
            "action": action,
            "target": target,
            "detail": detail,
        });
        let log = self.clone();
        let written = tokio::task::spawn_blocking(move || log.append(&entry, true)).await;
        written.expect("writing a line does not panic").map_err(|error| {
            tracing::error!(%error, "the audit log cannot be written");
            let detail = format!("nothing was done: the audit log cannot be written: {error}");
            Refusal::from(problem(StatusCode::INTERNAL_SERVER_ERROR, &detail))
        })?;
        *request.recorded.0.lock() = Some(id);
        Ok(())
    }

    /// Records the outcome of an action, if there is one whose outcome is not recorded.
    pub(super) async fn finish(self: &Arc<Self>, recorded: &Recorded, outcome: Outcome) {
        let recorded = recorded.take();
        if recorded.0.lock().is_some() {
            let log = self.clone();
            let written = tokio::task::spawn_blocking(move || log.finish_blocking(&recorded, &outcome)).await;
            written.expect("writing a line does not panic");
        }
    }

    /// The same from a thread that may block.
    pub(super) fn finish_blocking(&self, recorded: &Recorded, outcome: &Outcome) {
        let Some(id) = recorded.0.lock().take() else { return };
        let line = match outcome {
            Outcome::Done => json!({ "of": id, "time": now(), "outcome": "done" }),
            Outcome::Failed(reason) => json!({ "of": id, "time": now(), "outcome": "failed", "reason": reason }),
        };
        if let Err(error) = self.append(&line, false) {
            tracing::error!(%error, "the audit log cannot be written: the outcome of an action stays unknown");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "it owns the file")]
    fn append(&self, entry: &Value, sync: bool) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let _one = self.writing.lock();
        let path = directory.join(FILE);
        if fs::metadata(&path).is_ok_and(|file| file.len() >= FILE_BYTES) {
            fs::rename(&path, directory.join(OLDER_FILE))?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let length = file.metadata()?.len();
        let is_new = length == 0;
        let mut last = *b"\n";
        file.read_exact_at(&mut last[..usize::from(!is_new)], length.saturating_sub(1))?;
        // A crash may have cut off the last line.
        let begin = if last == *b"\n" { "" } else { "\n" };
        file.write_all(format!("{begin}{entry}\n").as_bytes())?;
        if !sync {
            return Ok(());
        }
        file.sync_data()?;
        // The name of a new file is on disk only after its directory is synced.
        if is_new { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    /// The last actions with their outcomes, the oldest of them first. Lines that are no JSON, such as one that a crash
    /// cut off, are left out.
    #[expect(clippy::disallowed_methods, reason = "it owns the file")]
    fn last(&self, count: usize) -> io::Result<Vec<Value>> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        // An action may have a line for its outcome, and earlier ones that run at the same time have theirs behind it.
        let lines = 2 * count + ADMIN_CONNECTIONS;
        let mut last = VecDeque::new();
        for name in [OLDER_FILE, FILE] {
            let file = match File::open(directory.join(name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in BufReader::new(file).split(b'\n') {
                if last.len() == lines {
                    last.pop_front();
                }
                last.push_back(line?);
            }
        }
        let mut actions = Vec::<Value>::new();
        let mut places = HashMap::new();
        for mut line in last.iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
            match line["of"].as_str() {
                Some(id) => {
                    if let Some(action) = places.get(id).and_then(|place: &usize| actions.get_mut(*place)) {
                        action["outcome"] = line["outcome"].take();
                        action["reason"] = line["reason"].take();
                    }
                }
                None => {
                    places.extend(line["id"].as_str().map(|id| (id.to_owned(), actions.len())));
                    line["outcome"] = "unknown".into();
                    actions.push(line);
                }
            }
        }
        Ok(actions.split_off(actions.len().saturating_sub(count)))
    }
}

impl AuditLog {
    /// All entries whose target is a user, or the same user in a room.
    pub(super) async fn about_user(self: &Arc<Self>, user: &str) -> Result<Vec<Value>, Refusal> {
        let (log, target, member) = (self.clone(), format!("user {user}"), format!("member {user} in "));
        let read = tokio::task::spawn_blocking(move || {
            let entries = log.last(usize::MAX)?.into_iter();
            let is_meant = |entry: &Value| {
                let of = entry["target"].as_str().unwrap_or_default();
                let room = of.strip_prefix(&member);
                // The id of another user may contain ` in `; a namespace has no space.
                let namespace = room.and_then(|room| Some(room.split_once('/')?.0));
                of == target || namespace.is_some_and(|namespace| !namespace.contains(' '))
            };
            Ok(entries.filter(is_meant).collect())
        });
        read.await.expect("reading lines does not panic").map_err(unreadable)
    }
}

fn unreadable(error: io::Error) -> Refusal {
    let detail = format!("the audit log cannot be read: {error}");
    Refusal::from(problem(StatusCode::INTERNAL_SERVER_ERROR, &detail))
}

/// `GET /audit`: the last actions.
pub(super) async fn audit_entries(log: &Arc<AuditLog>, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
    let limit = request.limit(DEFAULT_ENTRIES, MAX_ENTRIES)?;
    request.no_more_parameters()?;
    let log = log.clone();
    let read = tokio::task::spawn_blocking(move || log.last(limit)).await.expect("reading lines does not panic");
    let entries = read.map_err(unreadable)?;
    Ok(json_response(&json!({ "entries": entries })))
}
