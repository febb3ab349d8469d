//! Standard input and output, line by line: commands wait here, answers go to the call that asked, and lines are
//! written whole.

use std::collections::HashMap;
use std::io::{self, BufRead, Read, Write};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;

use super::protocol::{Answer, Command, Destination, LINE_BYTES, Reply, Request};

/// The most commands that wait. A test kit waits for the end of a command before it writes the next.
const WAITING: usize = 16;

/// The output, and the calls that wait for an answer.
pub(super) struct LineChannel {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The calls without an answer, by the number of the question. A guest can make no more than `turn_calls` in a
    /// turn.
    asked: HashMap<u64, SyncSender<Answer>>,
    asks: u64,
    /// The input has ended, so no answer can arrive any more.
    ended: bool,
}

/// One line of input.
pub(super) enum Incoming {
    Command(Box<Command>),
    /// A line that cannot be obeyed, with the reason.
    Bad(String),
}

/// The commands, in order.
pub(super) struct Commands(Receiver<Incoming>);

impl Commands {
    /// The next command; absent at the end of the input.
    pub(super) fn next(&self) -> Option<Incoming> {
        self.0.recv().ok()
    }
}

impl LineChannel {
    /// Starts the thread that reads the input.
    pub(super) fn start() -> (Arc<Self>, Commands) {
        let wire = Arc::new(LineChannel { inner: Mutex::default() });
        let (commands, waiting) = mpsc::sync_channel(WAITING);
        let reader = wire.clone();
        thread::spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(incoming) = read(&mut input, |answer| reader.answered(answer)) {
                if commands.send(incoming).is_err() {
                    return;
                }
            }
            reader.end();
        });
        (wire, Commands(waiting))
    }

    /// Writes one line. If the output is closed, the process ends.
    pub(super) fn say(&self, line: &Reply) {
        let _inner = self.lock();
        write(line);
    }

    /// Asks the test kit something for a room that is still `open`; the receiver gets the answer. Absent if no answer
    /// can arrive any more.
    pub(super) fn ask(&self, open: &AtomicBool, to: Destination, request: Request) -> Option<Receiver<Answer>> {
        let mut inner = self.lock();
        if !open.load(Ordering::Relaxed) {
            return None;
        }
        inner.asks += 1;
        let ask = inner.asks;
        write(&Reply::Ask { ask, to, request });
        if inner.ended {
            return None;
        }
        let (sender, answer) = mpsc::sync_channel(1);
        inner.asked.insert(ask, sender);
        Some(answer)
    }

    /// Closes a room: it can ask nothing more, and its open questions get no answer.
    pub(super) fn close(&self, open: &AtomicBool) {
        let mut inner = self.lock();
        open.store(false, Ordering::Relaxed);
        inner.asked.clear();
    }

    /// Passes an answer to the call that asked, which may be gone.
    fn answered(&self, answer: Answer) {
        let asked = self.lock().asked.remove(&answer.ask);
        if let Some(asked) = asked {
            let _ = asked.try_send(answer);
        }
    }

    fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.asked.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

fn write(line: &Reply) {
    let mut json = serde_json::to_vec(line).expect("a line has string keys alone");
    json.push(b'\n');
    let mut out = io::stdout().lock();
    if out.write_all(&json).and_then(|()| out.flush()).is_err() {
        process::exit(1);
    }
}

/// Returns the next line that is not an answer; answers go to `answered`. Absent at the end of the input.
fn read(input: &mut impl BufRead, answered: impl Fn(Answer)) -> Option<Incoming> {
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).unwrap_or(0);
        if read == 0 {
            return None;
        }
        if read > LINE_BYTES {
            skip_line(input);
            return Some(Incoming::Bad(format!("the line is longer than {LINE_BYTES} B")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match parse(&line) {
            Ok(Parsed::Answer(answer)) => answered(answer),
            Ok(Parsed::Command(command)) => return Some(Incoming::Command(Box::new(command))),
            Err(error) => return Some(Incoming::Bad(error)),
        }
    }
}

enum Parsed {
    Answer(Answer),
    Command(Command),
}

fn parse(line: &[u8]) -> Result<Parsed, String> {
    let mut value = serde_json::from_slice::<serde_json::Value>(line)
        .map_err(|error| format!("the line is not a JSON object: {error}"))?;
    let answer = value.as_object_mut().and_then(|object| object.remove("answer"));
    match answer {
        Some(answer) => serde_json::from_value(answer).map(Parsed::Answer).map_err(|error| format!("answer: {error}")),
        None => serde_json::from_value(value).map(Parsed::Command).map_err(|error| format!("the command: {error}")),
    }
}

fn skip_line(input: &mut impl BufRead) {
    loop {
        let (used, found) = match input.fill_buf() {
            Ok([]) | Err(_) => return,
            Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (bytes.len(), false),
            },
        };
        input.consume(used);
        if found {
            return;
        }
    }
}

/// Turns everything that the room logs and prints into lines of the protocol.
pub(super) fn log_to(wire: &Arc<LineChannel>) -> anyhow::Result<()> {
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new("room=debug")).with_ansi(false);
    // A test knows the user, and the number of a turn says nothing to it.
    let fields = debug_fn(|line, field, value| match field.name() {
        "turn" | "user" => Ok(()),
        "message" => write!(line, "{value:?}"),
        name => write!(line, "{name}={value:?}"),
    });
    let log = log.fmt_fields(fields.delimited(" ")).without_time().with_target(false).with_writer(Log(wire.clone()));
    log.try_init().ok().context("the log was started already")
}

struct Log(Arc<LineChannel>);

impl MakeWriter<'_> for Log {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        Log(self.0.clone())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.say(&Reply::Log(String::from_utf8_lossy(bytes).trim().to_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Vec<Result<String, String>> {
        let mut input = io::BufReader::with_capacity(7, input);
        let mut found = Vec::new();
        while let Some(incoming) = read(&mut input, |_| {}) {
            found.push(match incoming {
                Incoming::Command(command) => Ok(format!("{command:?}")),
                Incoming::Bad(problem) => Err(problem),
            });
        }
        found
    }

    #[test]
    fn a_bad_line_gets_an_error_and_the_next_one_is_read() {
        let found = all(b"\n{\"do\":\"replay\"}\nnonsense\n[]\n{\"answer\":{\"ask\":1}}\n{\"do\":\"restart\"}");
        assert_eq!(found[0].as_deref(), Ok("Replay"));
        assert!(found[1].as_ref().is_err_and(|problem| problem.contains("not a JSON object")), "{:?}", found[1]);
        assert!(found[2].is_err());
        assert_eq!(found[3].as_deref(), Ok("Restart"));
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn an_oversized_line_is_skipped_to_its_end() {
        let mut input = vec![b' '; LINE_BYTES + 9];
        input.extend_from_slice(b"\n{\"do\":\"replay\"}\n");
        let found = all(&input);
        assert!(found[0].as_ref().is_err_and(|problem| problem.contains("longer than")), "{:?}", found[0]);
        assert_eq!(found[1].as_deref(), Ok("Replay"));
    }
}
