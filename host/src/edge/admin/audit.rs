//! The audit log: who did what through the admin listener, and when.
//!
//! It is the file `audit.log` in the data directory, with one JSON object a line. An entry is on disk before its action
//! begins, so an action that failed has one too; an action whose entry cannot be written is refused. A second line has
//! the outcome. It is not synced, and it is missing if the server or the client went meanwhile: the outcome is unknown.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::outcome::{Outcome, Recorded};
use super::request::AdminRequest;
use crate::clock::{self, UnixMillis};
use crate::edge::response::body::Body;
use crate::edge::response::json::json_response;
use crate::edge::response::problem::problem;
use crate::edge::response::refusals::Refusal;
use crate::lock::Lock;
use crate::random;

const FILE: &str = "audit.log";
/// The log before the last rotation.
const OLDER_FILE: &str = "audit.log.1";
/// The size at which the log is rotated, in bytes. With the older one it holds about 80,000 actions.
const FILE_BYTES: u64 = 16 << 20;
/// The beginning of a line with an outcome, up to the id of its action.
const OUTCOME: &[u8] = br#"{"of":""#;
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

fn now() -> String {
    time(clock::unix_millis())
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
        let session = request.signed_in.as_ref().map(|signed_in| time(signed_in.since));
        tracing::info!(action, target, operator, session, from = %request.from, "an operator acts");
        if self.directory.is_none() {
            return Ok(());
        }
        let id = format!("{:016x}", random::number());
        let entry = json!({
            "id": id,
            "time": now(),
            "from": request.from.to_string(),
            "operator": operator,
            "session": session,
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
        request.recorded.set(id);
        Ok(())
    }

    /// Records the outcome of an action, if there is one whose outcome is not recorded.
    pub(super) async fn finish(self: &Arc<Self>, recorded: &Recorded, outcome: Outcome) {
        let recorded = recorded.take();
        if recorded.is_open() {
            let log = self.clone();
            let written = tokio::task::spawn_blocking(move || log.finish_blocking(&recorded, &outcome)).await;
            written.expect("writing a line does not panic");
        }
    }

    /// The same from a thread that may block.
    pub(super) fn finish_blocking(&self, recorded: &Recorded, outcome: &Outcome) {
        let Some(id) = recorded.take_id() else { return };
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

    /// The last actions, or the last ones before a cursor, with their outcomes, the oldest of them first. Lines that are
    /// no JSON, such as one that a crash cut off, are left out, so a page may have fewer actions than `count`.
    fn page(&self, count: usize, before: Option<&Cursor>) -> Result<AuditPage, AuditPageError> {
        let files = self.files()?;
        let (mut actions, mut next) = (VecDeque::new(), None);
        let mut is_found = before.is_none();
        for (older_files, file) in files.iter().enumerate().rev() {
            let end = match before.filter(|_| !is_found) {
                None => file.bytes,
                Some(cursor) if cursor.file == file.name && cursor.offset <= file.bytes => cursor.offset,
                Some(_) => continue,
            };
            is_found = true;
            let lines = file.last_actions(end, count - actions.len())?;
            let offset = lines.front().map_or(0, |(offset, _)| *offset);
            lines.into_iter().rev().for_each(|(_, line)| actions.push_front(line));
            let has_more = offset > 0 || older_files > 0;
            next = has_more.then(|| Cursor { file: file.name.clone(), offset });
            if actions.len() == count {
                break;
            }
        }
        if !is_found {
            return Err(AuditPageError::Gone);
        }
        let actions = actions.iter().filter_map(|line| serde_json::from_slice::<Value>(line).ok());
        let mut actions = actions.filter(Value::is_object).collect::<Vec<_>>();
        add_outcomes(&files, &mut actions)?;
        Ok(AuditPage { actions, next })
    }

    /// All actions whose target is a user, or the same user in a room.
    pub(super) async fn about_user(self: &Arc<Self>, user: &str) -> Result<Vec<Value>, Refusal> {
        let (log, target, member) = (self.clone(), format!("user {user}"), format!("member {user} in "));
        let read = tokio::task::spawn_blocking(move || {
            let page = log.page(usize::MAX, None)?;
            let is_meant = |entry: &Value| {
                let of = entry["target"].as_str().unwrap_or_default();
                let room = of.strip_prefix(&member);
                // The id of another user may contain ` in `; a namespace has no space.
                let namespace = room.and_then(|room| Some(room.split_once('/')?.0));
                of == target || namespace.is_some_and(|namespace| !namespace.contains(' '))
            };
            Ok(page.actions.into_iter().filter(is_meant).collect())
        });
        read.await.expect("reading lines does not panic").map_err(refusal)
    }

    /// The files that have entries, the older first. A rotation between the two would lose one of them.
    #[expect(clippy::disallowed_methods, reason = "it owns the files")]
    fn files(&self) -> io::Result<Vec<LogFile>> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        let _one = self.writing.lock();
        let mut files = Vec::new();
        for name in [OLDER_FILE, FILE] {
            match File::open(directory.join(name)) {
                Ok(file) => files.extend(LogFile::new(file)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

fn time(at: UnixMillis) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

/// The id of the action whose outcome a line has; absent if the line is an action.
fn outcome_of(line: &[u8]) -> Option<&str> {
    let id = line.strip_prefix(OUTCOME)?.split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(id).ok()
}

/// Gives actions their outcomes, which are in later lines.
fn add_outcomes(files: &[LogFile], actions: &mut [Value]) -> io::Result<()> {
    let mut places = HashMap::new();
    for (place, action) in actions.iter_mut().enumerate() {
        places.extend(action["id"].as_str().map(|id| (id.to_owned(), place)));
        action["outcome"] = "unknown".into();
    }
    for file in files {
        let mut file = &file.file;
        file.rewind()?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            let Some(place) = outcome_of(&line).and_then(|id| places.get(id)) else { continue };
            if let Ok(mut line) = serde_json::from_slice::<Value>(&line) {
                actions[*place]["outcome"] = line["outcome"].take();
                actions[*place]["reason"] = line["reason"].take();
            }
        }
    }
    Ok(())
}

/// A file of the log that is read.
struct LogFile {
    file: File,
    /// The time of its first entry: it stays the same when the file is renamed.
    name: String,
    bytes: u64,
}

impl LogFile {
    /// Absent if the file has no entry.
    fn new(file: File) -> io::Result<Option<Self>> {
        let bytes = file.metadata()?.len();
        for line in BufReader::new(&file).split(b'\n') {
            let entry = serde_json::from_slice::<Value>(&line?).unwrap_or_default();
            if let Some(time) = entry["time"].as_str() {
                return Ok(Some(LogFile { name: time.to_owned(), file, bytes }));
            }
        }
        Ok(None)
    }

    /// The lines of the last actions that begin before an offset, with their own offsets.
    fn last_actions(&self, end: u64, count: usize) -> io::Result<VecDeque<(u64, Vec<u8>)>> {
        let mut file = &self.file;
        file.rewind()?;
        let mut reader = BufReader::new(file.take(end));
        let mut lines = VecDeque::new();
        let mut offset = 0;
        loop {
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line)? as u64;
            if read == 0 {
                return Ok(lines);
            }
            if outcome_of(&line).is_none() {
                if lines.len() == count {
                    lines.pop_front();
                }
                lines.push_back((offset, line));
            }
            offset += read;
        }
    }
}

/// A place in the log: entries before it are older.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    /// The name of a [`LogFile`].
    file: String,
    /// In bytes.
    offset: u64,
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (file, offset) = text.rsplit_once('@').ok_or(())?;
        Ok(Cursor { file: file.to_owned(), offset: offset.parse().map_err(|_| ())? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.file, self.offset)
    }
}

/// Some actions, the oldest first.
struct AuditPage {
    actions: Vec<Value>,
    /// Where the page before it ends; absent if there is none.
    next: Option<Cursor>,
}

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
enum AuditPageError {
    /// The file of the cursor was replaced, or there never was such a cursor.
    #[error("the parameter `before` is the `next` of an earlier page; the entries behind it may be gone by now")]
    Gone,
    #[error("the audit log cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

fn refusal(error: AuditPageError) -> Refusal {
    let status = match error {
        AuditPageError::Gone => StatusCode::BAD_REQUEST,
        AuditPageError::Unreadable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    problem(status, &error.to_string()).into()
}

/// `GET /audit`: the last actions, a page at a time.
pub(super) async fn audit_entries(log: &Arc<AuditLog>, mut request: AdminRequest) -> Result<Response<Body>, Refusal> {
    let limit = request.limit(DEFAULT_ENTRIES, MAX_ENTRIES)?;
    let before = request.parsed::<Cursor>("before", "the `next` of an earlier page")?;
    request.no_more_parameters()?;
    let log = log.clone();
    let read = tokio::task::spawn_blocking(move || log.page(limit, before.as_ref())).await;
    let page = read.expect("reading lines does not panic").map_err(refusal)?;
    Ok(json_response(&json!({ "entries": page.actions, "next": page.next.map(|next| next.to_string()) })))
}
