//! `dormouse rooms export` and `dormouse rooms import`: one room as JSON lines on stdout and from stdin.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Read, Write};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::thread;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

use super::progress::bytes;
use super::table::{count_of, shown};
use super::{AdminArgs, path, whole};
use crate::print;

/// Parts of stdin that wait to be sent, each of at most [`PART_BYTES`].
const WAITING: usize = 4;
const PART_BYTES: usize = 64 << 10;
/// The longest last line, in bytes.
const LAST_LINE_BYTES: usize = 256;

/// The arguments of `dormouse rooms export`.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    admin: AdminArgs,
    /// The room, such as ROOMS/lobby
    #[arg(value_name = "NAMESPACE/NAME")]
    room: String,
}

/// The arguments of `dormouse rooms import`.
#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    admin: AdminArgs,
    /// The new room, such as ROOMS/lobby
    #[arg(value_name = "NAMESPACE/NAME")]
    room: String,
    /// Also import a room of another component, whose storage this one may not understand
    #[arg(long)]
    force: bool,
}

/// Prints the lines.
pub(crate) fn export(args: &Export) -> anyhow::Result<()> {
    let (namespace, name) = address(&args.room)?;
    args.admin.run(async |client| {
        let answer = client.send(Method::GET, &path(&["rooms", namespace, name, "export"], &[]), Bytes::new()).await?;
        let mut body = answer.into_body();
        let (mut stdout, mut last) = (io::stdout().lock(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the export broke off, and what was printed is incomplete")?;
            let Ok(portion) = frame.into_data() else { continue };
            stdout.write_all(&portion).context("stdout cannot be written")?;
            last.extend_from_slice(&portion[portion.len().saturating_sub(LAST_LINE_BYTES)..]);
            last.drain(..last.len().saturating_sub(LAST_LINE_BYTES));
        }
        stdout.flush().context("stdout cannot be written")?;
        // A server that cannot go on ends the answer without the last line.
        let last = last.strip_suffix(b"\n").and_then(|lines| lines.rsplit(|byte| *byte == b'\n').next());
        let is_whole = last.is_some_and(|line| line.starts_with(br#"{"kind":"end""#));
        ensure!(is_whole, "the export broke off, and what was printed is incomplete; the log of the server says why");
        Ok(())
    })
}

/// Sends stdin, and prints what the room has.
pub(crate) fn import(args: &Import) -> anyhow::Result<()> {
    let (namespace, name) = address(&args.room)?;
    let is_typed = io::stdin().is_terminal();
    ensure!(!is_typed, "the lines of the room come from stdin: dormouse rooms import {} < FILE", shown(&args.room));
    args.admin.run(async |client| {
        let (parts, arrived) = mpsc::channel(WAITING);
        // A thread of its own: after a refusal, nobody waits for a pipe that stays open.
        let reading = thread::spawn(move || read_stdin(&parts));
        let force = args.force.then(|| "true".into());
        let path = path(&["rooms", namespace, name, "import"], &[("force", force)]);
        let sent = client.send_body(Method::POST, &path, Some("application/jsonl"), Parts(arrived)).await;
        if reading.is_finished() {
            reading.join().expect("reading does not panic").context("stdin cannot be read")?;
        }
        let answer = whole(sent?).await?;
        args.admin.print(&answer, |answer| {
            let counts = [("entries", "entry"), ("timers", "timer"), ("posts", "post")];
            let counts = counts.map(|(key, noun)| count_of(answer, key, noun)).join(", ");
            let size = bytes(answer["bytes"].as_u64().unwrap_or_default());
            print::line(format_args!("imported {}: {counts}, {size}", shown(&args.room)))
        })
    })
}

fn address(room: &str) -> anyhow::Result<(&str, &str)> {
    match room.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok((namespace, name)),
        _ => bail!("{} is not a room: write its namespace and its name, such as ROOMS/lobby", shown(room)),
    }
}

/// Passes stdin on until its end, or until nothing more is wanted.
fn read_stdin(parts: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    loop {
        let mut part = vec![0; PART_BYTES];
        match stdin.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(some) => {
                part.truncate(some);
                if parts.blocking_send(part.into()).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Parts(mpsc::Receiver<Bytes>);

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
