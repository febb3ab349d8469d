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

    /// The actions whose target is a user, or the same user in a room, as the log has them now.
    pub(super) async fn about_user(self: &Arc<Self>, user: &str) -> Result<ActionsOfUser, Refusal> {
        let (log, user) = (self.clone(), user.to_owned());
        let opened = tokio::task::spawn_blocking(move || Ok(ActionsOfUser { files: log.files()?, user })).await;
        opened.expect("opening files does not panic").map_err(refusal)
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

/// The actions about one user, which are read one after the other: the whole log may be about this user.
pub(super) struct ActionsOfUser {
    files: Vec<LogFile>,
    user: String,
}

/// The outcome of an action, as a place in the log.
#[derive(Clone, Copy)]
struct OutcomeAt {
    /// The file, by its number.
    file: usize,
    /// In bytes.
    offset: u64,
    length: usize,
}

impl ActionsOfUser {
    /// Passes each action with its outcome to `take`, the oldest first, until that returns false. Returns whether it got
    /// all of them. It reads the log twice, because outcomes come behind their actions, and keeps a few bytes of each
    /// action between.
    pub(super) fn read(&self, take: &mut dyn FnMut(Value) -> bool) -> io::Result<bool> {
        let needle = Needle::of(&self.user);
        let mut outcomes = HashMap::<String, Option<OutcomeAt>>::new();
        for (number, file) in self.files.iter().enumerate() {
            let mut lines = file.lines(file.bytes)?;
            while let Some((offset, line)) = lines.next()? {
                if let Some(id) = outcome_of(line) {
                    if let Some(outcome) = outcomes.get_mut(id) {
                        *outcome = Some(OutcomeAt { file: number, offset, length: line.len() });
                    }
                } else if let Some(action) = needle.action_in(line)
                    && let Some(id) = action["id"].as_str()
                {
                    outcomes.insert(id.to_owned(), None);
                }
            }
        }
        for file in &self.files {
            let mut lines = file.lines(file.bytes)?;
            while let Some((_, line)) = lines.next()? {
                let action = outcome_of(line).is_none().then(|| needle.action_in(line)).flatten();
                let Some(mut action) = action else { continue };
                let known = action["id"].as_str().and_then(|id| *outcomes.get(id)?);
                action["outcome"] = "unknown".into();
                if let Some(OutcomeAt { file, offset, length }) = known {
                    let mut line = vec![0; length];
                    self.files[file].file.read_exact_at(&mut line, offset)?;
                    set_outcome(&mut action, &line);
                }
                if !take(action) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Recognises the actions about a user.
struct Needle {
    /// The id as it is in the text of a line. Most lines do not have it, and are not parsed.
    text: String,
    target: String,
    member: String,
}

impl Needle {
    fn of(user: &str) -> Self {
        let quoted = Value::from(user).to_string();
        let text = quoted[1..quoted.len() - 1].to_owned();
        Needle { text, target: format!("user {user}"), member: format!("member {user} in ") }
    }

    fn action_in(&self, line: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(line).ok().filter(|line| line.contains(&self.text))?;
        let action = serde_json::from_str::<Value>(text).ok()?;
        let of = action["target"].as_str()?;
        let room = of.strip_prefix(&self.member);
        // The id of another user may contain ` in `; a namespace has no space.
        let namespace = room.and_then(|room| Some(room.split_once('/')?.0));
        let is_meant = of == self.target || namespace.is_some_and(|namespace| !namespace.contains(' '));
        is_meant.then_some(action)
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
            if let Some(place) = outcome_of(&line).and_then(|id| places.get(id)) {
                set_outcome(&mut actions[*place], &line);
            }
        }
    }
    Ok(())
}

/// Gives an action the outcome that is in a line.
fn set_outcome(action: &mut Value, line: &[u8]) {
    if let Ok(mut line) = serde_json::from_slice::<Value>(line) {
        action["outcome"] = line["outcome"].take();
        action["reason"] = line["reason"].take();
    }
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
        let mut lines = self.lines(end)?;
        let mut last = VecDeque::new();
        while let Some((offset, line)) = lines.next()? {
            if outcome_of(line).is_none() {
                if last.len() == count {
                    last.pop_front();
                }
                last.push_back((offset, line.to_vec()));
            }
        }
        Ok(last)
    }

    /// The lines that begin before an offset, from the first one on.
    fn lines(&self, end: u64) -> io::Result<Lines<'_>> {
        let mut file = &self.file;
        file.rewind()?;
        Ok(Lines { reader: BufReader::new(file.take(end)), line: Vec::new(), next: 0 })
    }
}

/// The lines of a file, one in memory at a time.
struct Lines<'a> {
    reader: BufReader<io::Take<&'a File>>,
    line: Vec<u8>,
    /// The offset of the next line.
    next: u64,
}

impl Lines<'_> {
    /// The next line and its offset; absent at the end.
    fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.line.clear();
        let offset = self.next;
        let read = self.reader.read_until(b'\n', &mut self.line)?;
        self.next += read as u64;
        Ok((read > 0).then_some((offset, &self.line[..])))
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

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files")]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn of_user(log: &AuditLog, user: &str) -> Vec<[String; 3]> {
        let mut found = Vec::new();
        let actions = ActionsOfUser { files: log.files().unwrap(), user: user.into() };
        let all = actions.read(&mut |action| {
            let text = |key: &str| action[key].as_str().unwrap_or_default().to_owned();
            found.push([text("target"), text("outcome"), text("reason")]);
            true
        });
        assert!(all.unwrap());
        found
    }

    #[test]
    fn the_actions_about_a_user_are_found_in_both_files_with_their_outcomes() {
        let data = TempDir::new().unwrap();
        let action = |id: u64, target: &str| json!({ "id": format!("{id:016x}"), "time": now(), "target": target, "detail": { "of": "ana\"b" } });
        let outcome = |id: u64, outcome: &str, reason: Option<&str>| json!({ "of": format!("{id:016x}"), "time": now(), "outcome": outcome, "reason": reason });
        let write = |file: &str, lines: &[Value]| {
            let lines = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            fs::write(data.path().join(file), lines).unwrap();
        };
        let older = [action(1, "user ana\"b"), action(2, "user bo"), outcome(2, "done", None), action(3, "user ana")];
        write(OLDER_FILE, &older);
        let newer = [
            outcome(1, "failed", Some("it broke")),
            action(4, "member ana\"b in rooms/lobby"),
            outcome(4, "done", None),
            action(5, "member ana\"b in x in rooms/lobby"),
            action(6, "room ROOMS/user ana\"b"),
            action(7, "user ana\"b"),
        ];
        write(FILE, &newer);
        let log = AuditLog::new(Some(data.path()));
        let expected = [
            ["user ana\"b", "failed", "it broke"],
            ["member ana\"b in rooms/lobby", "done", ""],
            ["user ana\"b", "unknown", ""],
        ];
        assert_eq!(of_user(&log, "ana\"b"), expected.map(|row| row.map(String::from)));
        assert_eq!(of_user(&log, "x").len(), 0);
    }

    /// It stops at the first one that is not taken, and has read no other into memory.
    #[test]
    fn a_reader_that_takes_no_more_ends_it() {
        let data = TempDir::new().unwrap();
        let line = json!({ "id": "0000000000000001", "time": now(), "target": "user ana" });
        fs::write(data.path().join(FILE), format!("{line}\n").repeat(100)).unwrap();
        let actions = ActionsOfUser { files: AuditLog::new(Some(data.path())).files().unwrap(), user: "ana".into() };
        let mut taken = 0;
        let all = actions.read(&mut |_| {
            taken += 1;
            taken < 3
        });
        assert_eq!((all.unwrap(), taken), (false, 3));
    }
}
