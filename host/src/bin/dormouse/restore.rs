//! `dormouse restore`: makes a data directory from a backup. It needs no server.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use dormouse::store::backup::{Head, Step, Totals, check, restore};
use serde_json::json;

use crate::admin::progress::{Progress, bytes};
use crate::admin::table::counted;
use crate::print;

/// The arguments of `dormouse restore`.
#[derive(Args)]
pub(crate) struct Restore {
    /// The directory that `dormouse backup` has made
    directory: PathBuf,
    /// The data directory to make: a new one, or an empty one
    #[arg(long, value_name = "NEW_DIR", required_unless_present = "check", conflicts_with = "check")]
    data: Option<PathBuf>,
    /// Only check the backup: every byte of it, and that nothing is missing
    #[arg(long)]
    check: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Checks the backup, restores it if that is asked, and prints what it has.
pub(crate) fn run(args: &Restore) -> anyhow::Result<()> {
    // Files of the server belong to its user alone, including those that a library writes.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut progress = Progress::new("restore");
    let mut say = |step: &str, read: u64, all: u64| {
        progress.say(|| format!("{step} {} of {}", bytes(read), bytes(all)));
    };
    let Some(data) = &args.data else {
        let (head, totals) = check(&args.directory, &mut |read, all| say("checked", read, all))?;
        return args.print("the backup is good", "checked", &head, totals);
    };
    let (head, totals) = restore(&args.directory, data, &mut |step, read, all| {
        say(if step == Step::Check { "checked" } else { "restored" }, read, all);
    })?;
    let said = format!("restored into {}", data.display());
    args.print(&said, "restored", &head, totals)
}

impl Restore {
    fn print(&self, said: &str, done: &str, head: &Head, totals: Totals) -> anyhow::Result<()> {
        let created = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(head.created));
        let Totals { records, rooms, files, bytes: size } = totals;
        if self.json {
            let result = json!({
                "done": done, "created": created.to_string(), "dormouse": head.dormouse, "rooms": rooms,
                "records": records, "files": files, "bytes": size,
            });
            return print::line(serde_json::to_string_pretty(&result)?);
        }
        let (rooms, records) = (counted(rooms, "room"), counted(records, "record"));
        let (files, size) = (counted(files, "file"), bytes(size));
        print::line(format_args!("{said}: {rooms}, {records} and {files}, {size}, of {created}"))
    }
}
