//! `dormouse users export`, `erase` and `erasures`: the data of one user over all rooms.

use std::collections::HashSet;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::progress::Progress;
use super::table::{self, ago, count_of, counted, shown, text};
use super::{AdminArgs, AdminClient, path, whole};
use crate::print;

/// How often the state of an erasure is asked for.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The longest line of an export, in bytes: the largest item of a room, and the name of the room.
const LINE_BYTES: usize = 8 << 20;

/// The arguments of `dormouse users export`.
#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    admin: AdminArgs,
    /// The id of the user
    #[arg(value_name = "USER")]
    user: String,
}

/// The arguments of `dormouse users erase`.
#[derive(Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    admin: AdminArgs,
    /// The id of the user
    #[arg(value_name = "USER")]
    user: String,
    /// Erase, which cannot be undone
    #[arg(long, required_unless_present = "dry_run")]
    yes: bool,
    /// Only count what rooms keep about the user
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Return as soon as the erasure has begun; it goes on in the server
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
}

/// The arguments of `dormouse users erasures`.
#[derive(Args)]
pub(crate) struct Erasures {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only this erasure
    #[arg(value_name = "ERASURE", conflicts_with = "user")]
    erasure: Option<String>,
    /// Only the erasures of this user, also if the id is forgotten
    #[arg(long, value_name = "USER", allow_hyphen_values = true)]
    user: Option<String>,
    /// End the erasure and forget the id of its user
    #[arg(long, requires = "erasure")]
    cancel: bool,
}

/// The counts of an export.
#[derive(Default)]
struct Counts {
    items: u64,
    rooms: u64,
    /// Rooms that have something.
    with_items: HashSet<String>,
    failed: Vec<String>,
    undeclared: Vec<String>,
}

/// Prints the lines.
pub(crate) fn export(args: &Export) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let mut stdout = io::stdout().lock();
        let counts =
            read(client, "export", &args.user, |line| stdout.write_all(line).context("stdout cannot be written"));
        let counts = counts.await?;
        stdout.flush().context("stdout cannot be written")?;
        counts.check("exported")
    })
}

/// Counts, or begins an erasure and waits for it.
pub(crate) fn erase(args: &Erase) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        if args.dry_run {
            let counts = read(client, "erase", &args.user, |_| Ok(())).await?;
            let answer = json!({
                "items": counts.items, "rooms": counts.rooms, "roomsWithItems": counts.with_items.len(),
                "failed": counts.failed, "undeclared": counts.undeclared,
            });
            args.admin.print(&answer, |_| {
                let (asked, items) = (counted(counts.rooms, "room"), counted(counts.items, "item"));
                let with_items = counts.with_items.len();
                print::line(format_args!("{asked} asked, {items} found in {with_items} of them; nothing was erased"))
            })?;
            return counts.check("counted");
        }
        let to = path(&["users", &args.user, "erase"], &[]);
        let mut erasure = whole(client.send(Method::POST, &to, Bytes::new()).await?).await?;
        let sockets = erasure["sockets"].as_u64().unwrap_or_default();
        let mut progress = Progress::new("users erase");
        if sockets > 0 {
            progress.note(&format!(
                "the user has {} open and can write again behind the erasure: revoke the user first",
                counted(sockets, "socket")
            ));
        }
        let id = text(&erasure, "erasure");
        while !args.no_wait && erasure["state"] == "running" {
            tokio::time::sleep(ASK_EVERY).await;
            erasure = client.get(&path(&["erasures", &id], &[])).await?;
            progress.say(|| asked_and(&erasure, "erased"));
        }
        args.admin.print(&erasure, show)?;
        ensure!(erasure["state"] != "incomplete", "some rooms could not erase the user; mend them and erase again");
        ensure!(erasure["state"] != "cancelled", "the erasure was cancelled");
        Ok(())
    })
}

/// Lists erasures, shows one, or ends one.
pub(crate) fn erasures(args: &Erasures) -> anyhow::Result<()> {
    args.admin.run(async |client| match &args.erasure {
        Some(id) if args.cancel => {
            let to = path(&["erasures", id], &[]);
            let answer = whole(client.send(Method::DELETE, &to, Bytes::new()).await?).await?;
            args.admin.print(&answer, show)
        }
        Some(id) => args.admin.print(&client.get(&path(&["erasures", id], &[])).await?, show),
        None => {
            let answer = client.get(&path(&["erasures"], &[("user", args.user.clone())])).await?;
            args.admin.print(&answer, |answer| {
                let row = |erasure: &Value| {
                    let mut row = ["erasure", "state", "user", "rooms", "items"].map(|key| text(erasure, key)).to_vec();
                    row.extend([ago(&erasure["started"]), ago(&erasure["ended"])]);
                    row
                };
                let rows = answer["erasures"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
                table::print_table(&["ERASURE", "STATE", "USER", "ROOMS", "ITEMS", "STARTED", "ENDED"], &rows)
            })
        }
    })
}

/// The counts of an answer, such as `12 rooms asked, 3 items erased`.
fn asked_and(answer: &Value, done: &str) -> String {
    format!("{} asked, {} {done}", count_of(answer, "rooms", "room"), count_of(answer, "items", "item"))
}

fn show(erasure: &Value) -> anyhow::Result<()> {
    let (id, state) = (text(erasure, "erasure"), text(erasure, "state"));
    print::line(format_args!("erasure {id}: {state}; {}", asked_and(erasure, "erased")))?;
    for it in erasure["undeclared"].as_array().into_iter().flatten() {
        print::line(format_args!("not asked: {}: {}", text(it, "namespace"), text(it, "because")))?;
    }
    for it in erasure["failed"].as_array().into_iter().flatten() {
        print::line(format_args!("failed: {}: {}", text(it, "room"), text(it, "error")))?;
    }
    match erasure["moreFailed"].as_u64() {
        Some(more @ 1..) => print::line(format_args!("and {} more failed", counted(more, "room"))),
        _ => Ok(()),
    }
}

impl Counts {
    /// Says on stderr what is missing; an error if rooms failed.
    fn check(&self, done: &str) -> anyhow::Result<()> {
        let progress = Progress::new("users");
        for undeclared in &self.undeclared {
            progress.note(&format!("not asked: {}", shown(undeclared)));
        }
        for failed in &self.failed {
            progress.note(&format!("failed: {}", shown(failed)));
        }
        ensure!(self.failed.is_empty(), "{} could not be {done}", counted(self.failed.len() as u64, "room"));
        Ok(())
    }

    fn add(&mut self, line: &Value) {
        match line["kind"].as_str() {
            Some("item") => {
                self.items += 1;
                let room = line["room"].as_str().unwrap_or_default();
                if !self.with_items.contains(room) {
                    self.with_items.insert(room.to_owned());
                }
            }
            Some("failed") => self.failed.push(format!("{}: {}", text(line, "room"), text(line, "error"))),
            Some("undeclared") => {
                self.undeclared.push(format!("{}: {}", text(line, "namespace"), text(line, "because")));
            }
            Some("progress" | "end") => self.rooms = line["rooms"].as_u64().unwrap_or_default(),
            _ => {}
        }
    }
}

/// Reads an export line by line, and checks that it is whole.
async fn read(
    client: &AdminClient,
    command: &'static str,
    user: &str,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Counts> {
    let answer = client.send(Method::GET, &path(&["users", user, "export"], &[]), Bytes::new()).await?;
    let mut body = answer.into_body();
    let mut progress = Progress::new(if command == "export" { "users export" } else { "users erase" });
    let (mut counts, mut rest) = (Counts::default(), Vec::new());
    let (mut sum, mut lines, mut end) = (Sha256::new(), 0_u64, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the export broke off, and is incomplete")?;
        let Ok(portion) = frame.into_data() else { continue };
        rest.extend_from_slice(&portion);
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.drain(..=length).collect::<Vec<_>>();
            let value: Value = serde_json::from_slice(&line).context("the export has a line that is not JSON")?;
            ensure!(end.is_none(), "the export has a line behind its end");
            take(&line)?;
            counts.add(&value);
            if value["kind"] == "end" {
                end = Some(value);
            } else {
                sum.update(&line);
                lines += 1;
            }
        }
        ensure!(rest.len() <= LINE_BYTES, "the export has a line of more than {LINE_BYTES} B");
        progress.say(|| format!("{} asked, {} found", counted(counts.rooms, "room"), counted(counts.items, "item")));
    }
    let Some(end) = end else { bail!("the export broke off, and is incomplete; the log of the server says why") };
    let found = sum.finalize().iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    ensure!(end["sha256"] == found && end["lines"] == lines, "the export was changed on its way");
    Ok(counts)
}
