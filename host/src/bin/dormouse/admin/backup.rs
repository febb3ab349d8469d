//! `dormouse backup`: receives a backup from a running server into a directory.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use dormouse::store::backup::{BackupError, NewBackup};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::progress::{Progress, bytes};
use super::table::counted;
use super::{AdminArgs, AdminClient, path};
use crate::print;

/// The longest time without any byte from the server. It gives up a receiver after as long.
const STALLED: std::time::Duration = std::time::Duration::from_secs(120);

/// The arguments of `dormouse backup`.
#[derive(Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    admin: AdminArgs,
    /// The directory for the backup: a new one, or an empty one
    directory: PathBuf,
    /// How fast the server may send it. Faster backups leave less CPU and disk to rooms
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    mib_per_second: u32,
}

/// Makes the backup, and prints what it has.
pub(crate) fn run(args: &Backup) -> anyhow::Result<()> {
    // The directory is checked before the server is asked.
    let backup = NewBackup::create(&args.directory)?;
    args.admin.run(async |client| {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // The backup is dropped with the future that did not end, and removes its file.
        tokio::select! {
            received = receive(args, client, backup) => received,
            _ = interrupt.recv() => bail!("interrupted; nothing was kept"),
            _ = terminate.recv() => bail!("terminated; nothing was kept"),
        }
    })
}

async fn receive(args: &Backup, client: &AdminClient, mut backup: NewBackup) -> anyhow::Result<()> {
    let path = path(&["backup"], &[("mib-per-second", Some(args.mib_per_second.to_string()))]);
    let answer = client.send(Method::GET, &path, Bytes::new()).await?;
    let mut body = answer.into_body();
    let mut progress = Progress::new("backup");
    loop {
        let frame = tokio::time::timeout(STALLED, body.frame()).await;
        let Some(frame) = frame.context("the server sends nothing any more; nothing was kept")? else { break };
        let frame = frame.context("the connection to the server broke off; nothing was kept")?;
        let Ok(portion) = frame.into_data() else { continue };
        backup.push(&portion)?;
        progress.say(|| {
            let (totals, received) = backup.progress();
            let (rooms, records) = (counted(totals.rooms, "room"), counted(totals.records, "record"));
            format!("{rooms}, {records}, {}", bytes(received))
        });
    }
    let (_, size) = backup.progress();
    let totals = match backup.finish() {
        Err(BackupError::Incomplete) => {
            Err(BackupError::Incomplete).context("the server broke off; nothing was kept")?
        }
        finished => finished?,
    };
    let directory = args.directory.display().to_string();
    if args.admin.json {
        let answer = json!({
            "directory": directory, "rooms": totals.rooms, "records": totals.records, "files": totals.files,
            "bytes": size,
        });
        return print::line(serde_json::to_string_pretty(&answer)?);
    }
    let (rooms, records) = (counted(totals.rooms, "room"), counted(totals.records, "record"));
    let (files, size) = (counted(totals.files, "file"), bytes(size));
    print::line(format_args!("backed up {rooms}, {records} and {files}, {size}, into {directory}"))
}
