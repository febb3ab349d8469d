//! `dormouse move`: carries the rooms of a stopped server into a database, and back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use dormouse::config::full_path;
use dormouse::revocations::Revocations;
use dormouse::store::postgres::moving::{Moved, Step, move_back, move_into};
use dormouse::store::postgres::{Tables, Target};
use serde_json::json;

use crate::admin::progress::{Progress, bytes};
use crate::admin::table::counted;
use crate::database::Database;
use crate::{Common, load, print};

/// The arguments of `dormouse move`.
#[derive(Args)]
pub(crate) struct Move {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    database: Database,
    /// The data directory of the stopped server; with --back, a new one [default: dormouse-data, beside the configuration
    /// file]
    #[arg(long, value_name = "DIR", env = "DORMOUSE_DATA")]
    data: Option<PathBuf>,
    /// Move the rooms of the database into a new data directory
    #[arg(long)]
    back: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Moves the rooms, and prints what was moved. A move that was broken off goes on.
pub(crate) fn run(args: &Move) -> anyhow::Result<()> {
    // Files of the server belong to its user alone, including those that a library writes.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut config = load(&args.common)?;
    args.database.set(&mut config)?;
    config.check()?;
    let Some(settings) = dormouse::database(&config)? else {
        bail!("no database is named; pass --store, or set DORMOUSE_STORE or `store.url`");
    };
    let data =
        full_path(args.data.as_ref().unwrap_or(&config.data)).context("the data directory cannot be resolved")?;
    let mut progress = Progress::new("move");
    let mut say = |step: Step, moved: &Moved| {
        let done = if step == Step::Check { "checked" } else { "moved" };
        progress.say(|| format!("{done} {} records, {}", moved.records, bytes(moved.bytes)));
    };
    let target = &settings.target;
    let (moved, from, to) = if args.back {
        let moved = move_back(&data, target, &mut say)?;
        let revoked = revocations(target, config.identity.leeway)?;
        revoked.copy_to(&data).context("the rooms were moved, and revocations.json cannot be written")?;
        (moved, target.to_string(), data.display().to_string())
    } else {
        let options = dormouse::store_options(&config);
        (move_into(&data, options, target, &mut say)?, data.display().to_string(), target.to_string())
    };
    let Moved { rooms, records, bytes: size, written } = moved;
    if args.json {
        let result = json!({ "from": from, "to": to, "rooms": rooms, "records": records, "bytes": size,
            "recordsWritten": written });
        return print::line(serde_json::to_string_pretty(&result)?);
    }
    let (rooms, records, size) = (counted(rooms, "room"), counted(records, "record"), bytes(size));
    print::line(format_args!("moved {rooms} from {from} to {to}: {records}, {size}, all of them compared"))?;
    if args.back {
        return print::line(
            "revocations were moved too; erasures, deployed components and the audit log stay in the old data directory",
        );
    }
    Ok(())
}

/// The revocations of a database.
fn revocations(target: &Target, leeway: Duration) -> anyhow::Result<Revocations> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let read = runtime.block_on(Revocations::shared(Arc::new(Tables::new(target)), false, None, leeway));
    read.context("the rooms were moved, and their revocations were not")
}
