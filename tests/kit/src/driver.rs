//! The process `dormouse test-driver` that runs the rooms of tests: finds the binary, starts it, speaks its protocol,
//! and reuses it for the next room.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::component::{repository, target_directory};
use crate::protocol::{Fields, Read};
use crate::types::TurnFailure;

/// The supported version of the protocol.
const PROTOCOL: u64 = 1;

/// The longest line that is read. The driver writes at most 32 MiB.
const LINE_BYTES: usize = 33 << 20;

/// Lines that wait to be processed. Beyond that the driver has to wait.
const LINES: usize = 1_024;

/// How long the driver may be silent. A turn takes at most 1 s of CPU and 10 s of calls. Compiling a large component
/// takes the longest, on a machine that is busy with other tests.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// How long a driver may take to exit after its output has ended, for its exit status.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The end of its standard error that is shown if the driver dies.
const STDERR_BYTES: usize = 16 << 10;

/// Idle drivers that are kept for another room. More parallel tests start new ones.
const IDLE: usize = 16;

static WAITING: Mutex<Vec<Driver>> = Mutex::new(Vec::new());

/// A process of `dormouse test-driver`. It runs one room at a time.
pub(crate) struct Driver {
    program: PathBuf,
    child: Child,
    input: ChildStdin,
    lines: Receiver<Result<Value, String>>,
    stderr: Arc<Mutex<VecDeque<u8>>>,
    /// A command is running. A driver that was abandoned during a command cannot be used again.
    busy: bool,
}

/// The reason why a command has no answer; the test fails with it.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The driver refused the command.
    Refused(String),
    /// The driver has exited, or violates the protocol.
    Died(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Refused(text) | Trouble::Died(text)) = self;
        f.write_str(text)
    }
}

/// The result of a command.
pub(crate) type Ended = Result<Result<Fields, TurnFailure>, Trouble>;

/// Handles an event during a command, given its kind and value. A returned answer goes back to the driver.
pub(crate) type Happens<'a> = &'a mut dyn FnMut(&str, Value) -> Read<Option<Value>>;

impl Driver {
    /// Opens a room or a router, in an idle driver or a new one.
    pub(crate) fn open(command: &Value, happens: Happens<'_>) -> Result<(Self, Fields), Trouble> {
        let waiting = lock(&WAITING).pop();
        let used = waiting.is_some();
        let mut driver = waiting.map_or_else(Self::start, Ok)?;
        match driver.call(command, happens) {
            Ok(opened) => Ok((driver, opened.map_err(|failure| Trouble::Refused(failure.to_string()))?)),
            // The process may have been ended while it was idle.
            Err(Trouble::Died(_)) if used => {
                let mut driver = Self::start()?;
                let opened = driver.call(command, happens)?;
                Ok((driver, opened.map_err(|failure| Trouble::Refused(failure.to_string()))?))
            }
            Err(trouble) => {
                driver.wait_for_another();
                Err(trouble)
            }
        }
    }

    /// Keeps the driver for another room.
    pub(crate) fn wait_for_another(self) {
        let mut waiting = lock(&WAITING);
        if !self.busy && waiting.len() < IDLE {
            waiting.push(self);
        }
    }

    fn start() -> Result<Self, Trouble> {
        let program = find().map_err(Trouble::Died)?;
        let mut command = Command::new(&program);
        command.arg("test-driver");
        if let Some(target) = target_directory() {
            command.arg("--code-cache").arg(target.join("dormouse-compiled"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = program.display();
        let mut child = command.spawn().map_err(|error| Trouble::Died(format!("{shown} cannot be run: {error}")))?;
        let input = child.stdin.take().expect("it is piped");
        let (output, errors) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let (sender, lines) = mpsc::sync_channel(LINES);
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(line) = read_line(&mut output) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let tail = stderr.clone();
        thread::spawn(move || {
            let mut errors = BufReader::new(errors);
            while let Ok(more @ [_, ..]) = errors.fill_buf() {
                let mut tail = lock(&tail);
                tail.extend(more);
                let above = tail.len().saturating_sub(STDERR_BYTES);
                tail.drain(..above);
                let read = more.len();
                drop(tail);
                errors.consume(read);
            }
        });
        let mut driver = Driver { program, child, input, lines, stderr, busy: true };
        driver.greet()?;
        driver.busy = false;
        Ok(driver)
    }

    fn greet(&mut self) -> Result<(), Trouble> {
        let hello = self.next("starting")?;
        match hello["hello"]["protocol"].as_u64() {
            Some(PROTOCOL) => Ok(()),
            Some(other) => Err(Trouble::Died(format!(
                "{} supports version {other} of the test protocol, but this dormouse-test needs {PROTOCOL}: use both \
                 from the same release, or set DORMOUSE_BIN to the right one",
                self.program.display()
            ))),
            None => Err(self.speaks_otherwise(&format!("its first line is {hello:.200}"))),
        }
    }

    /// Runs one command.
    pub(crate) fn call(&mut self, command: &Value, happens: Happens<'_>) -> Ended {
        let name = command["do"].as_str().unwrap_or_default();
        let running = format!("running `{name}`");
        self.busy = true;
        self.write(command, &running)?;
        loop {
            let line = self.next(&running)?;
            let Value::Object(line) = line else { return Err(self.speaks_otherwise(&format!("it wrote {line:.200}"))) };
            let Some((kind, value)) = line.into_iter().next() else { continue };
            let ended = match kind.as_str() {
                "done" => Fields::of(value).map(|done| Ok(Ok(done))),
                "failed" => Fields::of(value).and_then(Fields::failure).map(|failure| Ok(Err(failure))),
                "error" => Ok(Err(Trouble::Refused(value.as_str().unwrap_or_default().to_owned()))),
                _ => match happens(&kind, value) {
                    Ok(None) => continue,
                    Ok(Some(answer)) => {
                        self.write(&json!({ "answer": answer }), &running)?;
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let ended = ended.map_err(|error| self.speaks_otherwise(&format!("in `{kind}` {error}")))?;
            self.busy = false;
            return ended;
        }
    }

    fn write(&mut self, line: &Value, running: &str) -> Result<(), Trouble> {
        let mut json = line.to_string();
        json.push('\n');
        self.input.write_all(json.as_bytes()).and_then(|()| self.input.flush()).map_err(|_| self.died(running))
    }

    fn next(&mut self, running: &str) -> Result<Value, Trouble> {
        match self.lines.recv_timeout(ANSWER_WITHIN) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(problem)) => Err(self.speaks_otherwise(&problem)),
            Err(RecvTimeoutError::Disconnected) => Err(self.died(running)),
            Err(RecvTimeoutError::Timeout) => Err(Trouble::Died(format!(
                "{} has been silent for {ANSWER_WITHIN:?} while {running}{}",
                self.program.display(),
                self.last_words()
            ))),
        }
    }

    fn died(&mut self, running: &str) -> Trouble {
        let how = self.exit_status().map_or("it closed its output".into(), |status| status.to_string());
        Trouble::Died(format!("{} ended while {running} ({how}){}", self.program.display(), self.last_words()))
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + END_WITHIN;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }

    fn speaks_otherwise(&self, problem: &str) -> Trouble {
        let shown = self.program.display();
        Trouble::Died(format!(
            "{shown} does not follow the test protocol of this release: {problem}; build it again, or set DORMOUSE_BIN \
             to the right one{}",
            self.last_words()
        ))
    }

    fn last_words(&self) -> String {
        let said = lock(&self.stderr).iter().copied().collect::<Vec<_>>();
        match String::from_utf8_lossy(&said).trim() {
            "" => String::new(),
            said => format!("; its output:\n{said}"),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It has nothing to save, and it must not stay behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next line, or the reason why it cannot be read. Absent at the end.
fn read_line(output: &mut impl BufRead) -> Option<Result<Value, String>> {
    let mut line = Vec::new();
    let read = output.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).unwrap_or(0);
    match read {
        0 => None,
        _ if read > LINE_BYTES => Some(Err(format!("it wrote a line longer than {LINE_BYTES} B"))),
        _ => Some(serde_json::from_slice(&line).map_err(|error| {
            format!("it wrote {:?}, which is not JSON: {error}", String::from_utf8_lossy(&line[..read.min(200)]))
        })),
    }
}

/// The `dormouse` binary for the tests: the one in DORMOUSE_BIN, the one that cargo built for these tests, the one on
/// the PATH, or the newest one in a target directory.
fn find() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("DORMOUSE_BIN").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return match named.is_file() {
            true => Ok(named),
            false => Err(format!("DORMOUSE_BIN names {}, but there is no such file", named.display())),
        };
    }
    let built_for_them = env::var_os("CARGO_BIN_EXE_dormouse").map(PathBuf::from);
    if let Some(program) = built_for_them.filter(|program| program.is_file()) {
        return Ok(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(program) = on_path(&path) {
        return Ok(program);
    }
    let targets = [Some(repository().join("target")), target_directory()];
    let built = targets.iter().flatten().flat_map(|target| [target.join("release"), target.join("debug")]);
    let built = built.map(|folder| folder.join(NAME)).filter(|program| program.is_file());
    let when = |program: &PathBuf| program.metadata().and_then(|found| found.modified()).ok();
    built.max_by_key(when).ok_or_else(|| {
        let repository = repository().display();
        format!(
            "tests run rooms in the program dormouse, which was not found: build it once with `cargo build --release \
             --package dormouse` in {repository} (`make run` does it too), put it on the PATH, or set DORMOUSE_BIN to \
             its path"
        )
    })
}

const NAME: &str = if cfg!(windows) { "dormouse.exe" } else { "dormouse" };

fn on_path(path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(NAME))
        .find(|it| is_program(it))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}
