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
const MAX_LINE_BYTES: usize = 33 << 20;

/// Lines that wait to be processed. Beyond that the driver has to wait.
const MAX_QUEUED_LINES: usize = 1_024;

/// How long the driver may be silent. A turn takes at most 1 s of CPU and 10 s of calls. Compiling a large component
/// takes the longest, on a machine that is busy with other tests.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// How long a driver may take to exit after its output has ended, for its exit status.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The end of its standard error that is shown if the driver dies.
const STDERR_TAIL_BYTES: usize = 16 << 10;

/// Idle drivers that are kept for another room. More parallel tests start new ones.
const MAX_IDLE: usize = 16;

static IDLE_DRIVERS: Mutex<Vec<Driver>> = Mutex::new(Vec::new());

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
pub(crate) enum DriverError {
    /// The driver refused the command.
    Refused(String),
    /// The driver has exited, or violates the protocol.
    Died(String),
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (DriverError::Refused(text) | DriverError::Died(text)) = self;
        f.write_str(text)
    }
}

/// The result of a command.
pub(crate) type CallResult = Result<Result<Fields, TurnFailure>, DriverError>;

/// Handles an event during a command, given its kind and value. A returned answer goes back to the driver.
pub(crate) type OnEvent<'a> = &'a mut dyn FnMut(&str, Value) -> Read<Option<Value>>;

impl Driver {
    /// Opens a room or a router, in an idle driver or a new one.
    pub(crate) fn open(command: &Value, on_event: OnEvent<'_>) -> Result<(Self, Fields), DriverError> {
        let idle = lock(&IDLE_DRIVERS).pop();
        let was_idle = idle.is_some();
        let mut driver = idle.map_or_else(Self::start, Ok)?;
        match driver.call(command, on_event) {
            Ok(opened) => Ok((driver, opened.map_err(|failure| DriverError::Refused(failure.to_string()))?)),
            // The process may have been ended while it was idle.
            Err(DriverError::Died(_)) if was_idle => {
                let mut driver = Self::start()?;
                let opened = driver.call(command, on_event)?;
                Ok((driver, opened.map_err(|failure| DriverError::Refused(failure.to_string()))?))
            }
            Err(error) => {
                driver.return_to_pool();
                Err(error)
            }
        }
    }

    /// Keeps the driver for another room.
    pub(crate) fn return_to_pool(self) {
        let mut idle = lock(&IDLE_DRIVERS);
        if !self.busy && idle.len() < MAX_IDLE {
            idle.push(self);
        }
    }

    fn start() -> Result<Self, DriverError> {
        let program = find_binary().map_err(DriverError::Died)?;
        let mut command = Command::new(&program);
        command.arg("test-driver");
        if let Some(target) = target_directory() {
            command.arg("--code-cache").arg(target.join("dormouse-compiled"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let shown = program.display();
        let mut child =
            command.spawn().map_err(|error| DriverError::Died(format!("{shown} cannot be run: {error}")))?;
        let input = child.stdin.take().expect("it is piped");
        let (output, errors) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
        let (sender, lines) = mpsc::sync_channel(MAX_QUEUED_LINES);
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
                let above = tail.len().saturating_sub(STDERR_TAIL_BYTES);
                tail.drain(..above);
                let read = more.len();
                drop(tail);
                errors.consume(read);
            }
        });
        let mut driver = Driver { program, child, input, lines, stderr, busy: true };
        driver.handshake()?;
        driver.busy = false;
        Ok(driver)
    }

    fn handshake(&mut self) -> Result<(), DriverError> {
        let hello = self.next("starting")?;
        match hello["hello"]["protocol"].as_u64() {
            Some(PROTOCOL) => Ok(()),
            Some(other) => Err(DriverError::Died(format!(
                "{} supports version {other} of the test protocol, but this dormouse-test needs {PROTOCOL}: use both \
                 from the same release, or set DORMOUSE_BIN to the right one",
                self.program.display()
            ))),
            None => Err(self.protocol_error(&format!("its first line is {hello:.200}"))),
        }
    }

    /// Runs one command.
    pub(crate) fn call(&mut self, command: &Value, on_event: OnEvent<'_>) -> CallResult {
        let name = command["do"].as_str().unwrap_or_default();
        let running = format!("running `{name}`");
        self.busy = true;
        self.write(command, &running)?;
        loop {
            let line = self.next(&running)?;
            let Value::Object(line) = line else { return Err(self.protocol_error(&format!("it wrote {line:.200}"))) };
            let Some((kind, value)) = line.into_iter().next() else { continue };
            let result = match kind.as_str() {
                "done" => Fields::of(value).map(|done| Ok(Ok(done))),
                "failed" => Fields::of(value).and_then(Fields::failure).map(|failure| Ok(Err(failure))),
                "error" => Ok(Err(DriverError::Refused(value.as_str().unwrap_or_default().to_owned()))),
                _ => match on_event(&kind, value) {
                    Ok(None) => continue,
                    Ok(Some(answer)) => {
                        self.write(&json!({ "answer": answer }), &running)?;
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let result = result.map_err(|error| self.protocol_error(&format!("in `{kind}` {error}")))?;
            self.busy = false;
            return result;
        }
    }

    fn write(&mut self, line: &Value, running: &str) -> Result<(), DriverError> {
        let mut json = line.to_string();
        json.push('\n');
        self.input.write_all(json.as_bytes()).and_then(|()| self.input.flush()).map_err(|_| self.died(running))
    }

    fn next(&mut self, running: &str) -> Result<Value, DriverError> {
        match self.lines.recv_timeout(ANSWER_TIMEOUT) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(problem)) => Err(self.protocol_error(&problem)),
            Err(RecvTimeoutError::Disconnected) => Err(self.died(running)),
            Err(RecvTimeoutError::Timeout) => Err(DriverError::Died(format!(
                "{} has been silent for {ANSWER_TIMEOUT:?} while {running}{}",
                self.program.display(),
                self.stderr_tail()
            ))),
        }
    }

    fn died(&mut self, running: &str) -> DriverError {
        let status = self.exit_status().map_or("it closed its output".into(), |status| status.to_string());
        DriverError::Died(format!("{} ended while {running} ({status}){}", self.program.display(), self.stderr_tail()))
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + EXIT_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }

    fn protocol_error(&self, problem: &str) -> DriverError {
        let shown = self.program.display();
        DriverError::Died(format!(
            "{shown} does not follow the test protocol of this release: {problem}; build it again, or set DORMOUSE_BIN \
             to the right one{}",
            self.stderr_tail()
        ))
    }

    fn stderr_tail(&self) -> String {
        let stderr = lock(&self.stderr).iter().copied().collect::<Vec<_>>();
        match String::from_utf8_lossy(&stderr).trim() {
            "" => String::new(),
            text => format!("; its output:\n{text}"),
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
    let read = output.by_ref().take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).unwrap_or(0);
    match read {
        0 => None,
        _ if read > MAX_LINE_BYTES => Some(Err(format!("it wrote a line longer than {MAX_LINE_BYTES} B"))),
        _ => Some(serde_json::from_slice(&line).map_err(|error| {
            format!("it wrote {:?}, which is not JSON: {error}", String::from_utf8_lossy(&line[..read.min(200)]))
        })),
    }
}

/// The `dormouse` binary for the tests: the one in DORMOUSE_BIN, the one that cargo built for these tests, the one on
/// the PATH, or the newest one in a target directory.
fn find_binary() -> Result<PathBuf, String> {
    if let Some(configured) = env::var_os("DORMOUSE_BIN").filter(|configured| !configured.is_empty()) {
        let configured = PathBuf::from(configured);
        return match configured.is_file() {
            true => Ok(configured),
            false => Err(format!("DORMOUSE_BIN names {}, but there is no such file", configured.display())),
        };
    }
    let built_by_cargo = env::var_os("CARGO_BIN_EXE_dormouse").map(PathBuf::from);
    if let Some(program) = built_by_cargo.filter(|program| program.is_file()) {
        return Ok(program);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(program) = on_path(&path) {
        return Ok(program);
    }
    let targets = [Some(repository().join("target")), target_directory()];
    let built = targets.iter().flatten().flat_map(|target| [target.join("release"), target.join("debug")]);
    let built = built.map(|folder| folder.join(BINARY_NAME)).filter(|program| program.is_file());
    let modified_at = |program: &PathBuf| program.metadata().and_then(|found| found.modified()).ok();
    built.max_by_key(modified_at).ok_or_else(|| {
        let repository = repository().display();
        format!(
            "tests run rooms in the program dormouse, which was not found: build it once with `cargo build --release \
             --package dormouse` in {repository} (`make run` does it too), put it on the PATH, or set DORMOUSE_BIN to \
             its path"
        )
    })
}

const BINARY_NAME: &str = if cfg!(windows) { "dormouse.exe" } else { "dormouse" };

fn on_path(path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(BINARY_NAME))
        .find(|it| is_executable(it))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}
