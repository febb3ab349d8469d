//! `dormouse restore`: makes a data directory from a backup. It needs no server.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use dormouse::personal_data::{ErasureList, Repeats, repeat_erasures};
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
    /// A newer list of erased users, `erasures.json` of the lost data directory: they are erased again
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    erasures: Option<PathBuf>,
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
        return args.print("the backup is good", "checked", &head, totals, None);
    };
    // A wrong list is refused before anything is written.
    let newer = args.erasures.as_deref().map(ErasureList::read).transpose()?;
    let (head, totals) = restore(&args.directory, data, &mut |step, read, all| {
        say(if step == Step::Check { "checked" } else { "restored" }, read, all);
    })?;
    let repeats = repeat_erasures(data, newer, head.created)?;
    let said = format!("restored into {}", data.display());
    args.print(&said, "restored", &head, totals, Some(repeats))
}

impl Restore {
    fn print(
        &self,
        said: &str,
        done: &str,
        head: &Head,
        totals: Totals,
        repeats: Option<Repeats>,
    ) -> anyhow::Result<()> {
        let created = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(head.created));
        let Totals { records, rooms, files, bytes: size } = totals;
        if self.json {
            let mut result = json!({
                "done": done, "created": created.to_string(), "dormouse": head.dormouse, "rooms": rooms,
                "records": records, "files": files, "bytes": size,
            });
            if let Some(Repeats { by_itself, need_ids }) = repeats {
                result["erasures"] = json!({ "repeatedByItself": by_itself, "needIds": need_ids });
            }
            return print::line(serde_json::to_string_pretty(&result)?);
        }
        let (rooms, records) = (counted(rooms, "room"), counted(records, "record"));
        let (files, size) = (counted(files, "file"), bytes(size));
        print::line(format_args!("{said}: {rooms}, {records} and {files}, {size}, of {created}"))?;
        let Repeats { by_itself, need_ids } = repeats.unwrap_or_default();
        if by_itself > 0 {
            print::line(format_args!("erasures that the server repeats when it starts: {by_itself}"))?;
        }
        if need_ids > 0 {
            let list = "`dormouse users erasures` lists them once the server runs";
            print::line(format_args!("erasures that need the id of their user again: {need_ids}; {list}"))?;
        }
        if done == "restored" && std::env::var_os("DORMOUSE_STORE").is_some_and(|store| !store.is_empty()) {
            print::line(
                "nothing was restored into the database of DORMOUSE_STORE; `dormouse move` carries these rooms over",
            )?;
        }
        Ok(())
    }
}
