//! `dormouse deploy`: replaces the code of a namespace or of the router while the server runs.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use dormouse::deploys::ROUTER;
use hyper::Method;
use serde_json::Value;

use super::{AdminArgs, AdminClient, path, table, whole};
use crate::print;

/// The arguments of `dormouse deploy`.
#[derive(Args)]
#[command(
    after_help = "Rooms take the new code between two events, and keep their sockets. If it fails in a room, the \
                        old code runs again everywhere: look at --status."
)]
pub(crate) struct Deploy {
    /// The namespace, such as ROOMS, or `router`
    #[arg(value_name = "NAMESPACE", required_unless_present = "status")]
    target: Option<String>,
    /// The component, or a builtin one such as builtin:chat-room
    #[arg(value_name = "FILE.wasm", conflicts_with_all = ["status", "rollback"])]
    file: Option<PathBuf>,
    /// Deploy only to a part of the rooms, always the same: such as 5%
    #[arg(long, value_name = "PERCENT", requires = "file")]
    canary: Option<String>,
    /// Deploy only to rooms whose name has this pattern, such as 'team-*'
    #[arg(long, value_name = "PATTERN", requires = "file")]
    rooms: Option<String>,
    /// Stop a deploy to all rooms if it fails within this time [default: 10m]
    #[arg(long, value_name = "TIME", requires = "file")]
    watch: Option<String>,
    /// Print which versions run
    #[arg(long, conflicts_with = "rollback")]
    status: bool,
    /// Return to the version before
    #[arg(long)]
    rollback: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Deploys, rolls back, or prints the versions.
pub(crate) fn run(args: &Deploy) -> anyhow::Result<()> {
    let target = args.target.as_deref().unwrap_or_default();
    let wasm = args.file.as_ref().map(read).transpose()?;
    args.admin.run(async |client| {
        if args.status {
            return status(args, client).await;
        }
        let (path, body) = match wasm {
            Some(wasm) => {
                let parameters = [("canary", &args.canary), ("rooms", &args.rooms), ("watch", &args.watch)];
                (path(&["deploys", target], &parameters.map(|(name, value)| (name, value.clone()))), wasm)
            }
            None if args.rollback => (path(&["deploys", target, "rollback"], &[]), Bytes::new()),
            None => bail!("name the component: dormouse deploy {target} FILE.wasm; or pass --status or --rollback"),
        };
        let answer = whole(client.send(Method::POST, &path, body).await?).await?;
        args.admin.print(&answer, |answer| print::line(said(answer, args.rollback)))
    })
}

/// The bytes of a component.
fn read(file: &PathBuf) -> anyhow::Result<Bytes> {
    if let Some(name) = file.to_str().and_then(|file| file.strip_prefix("builtin:")) {
        let builtin = dormouse_bundle::builtin(name);
        return builtin.map(Bytes::from_static).with_context(|| {
            format!(
                "there is no builtin:{name}; there are builtin:chat-room, builtin:presence-tracker and builtin:router"
            )
        });
    }
    Ok(std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?.into())
}

fn said(answer: &Value, is_rollback: bool) -> String {
    let target = table::shown(answer["target"].as_str().unwrap_or_default());
    let version = short(&answer["version"]);
    let tried = table::count_of(answer, "tried_rooms", "room");
    match (is_rollback, answer["changed"] == true, answer["canary"] == true) {
        (true, ..) => format!("{target}: rolled back to {version}"),
        (_, false, _) => format!("{target}: {version} is there already"),
        _ if answer["target"] == ROUTER => format!("{target}: the next request takes {version}; see --status"),
        (_, _, canary) => {
            let to = match canary {
                true => format!("some rooms take {version}, each at its next event"),
                false => format!("each room takes {version} at its next event"),
            };
            let migrated = match answer["migrated_rooms"].as_u64() {
                Some(rooms) if rooms > 0 => format!(", of which {rooms} were migrated"),
                _ => String::new(),
            };
            let said = format!("{target}: {to} (tried on {tried}{migrated}); see --status");
            match answer["no_way_back"].as_str() {
                Some(reason) => format!(
                    "{said}\nA room that it has migrated cannot return to the version before: {}",
                    table::shown(reason)
                ),
                None => said,
            }
        }
    }
}

/// The start of a hash.
fn short(hash: &Value) -> &str {
    hash.as_str().map_or("?", dormouse::deploys::short)
}

async fn status(args: &Deploy, client: &AdminClient) -> anyhow::Result<()> {
    let mut answer = client.get("/deploys").await?;
    if let (Some(target), Some(deploys)) = (&args.target, answer["deploys"].as_array_mut()) {
        deploys.retain(|deploy| deploy["target"] == target.as_str());
        if deploys.is_empty() {
            bail!("there is no namespace {target}");
        }
    }
    args.admin.print(&answer, |answer| {
        let deploys = answer["deploys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let rows = deploys.iter().flat_map(rows).collect::<Vec<_>>();
        table::print_table(&["TARGET", "VERSION", "STATE", "SINCE", "ROOMS", "MIGRATED"], &rows)?;
        for deploy in deploys {
            let failure = &deploy["last_failure"];
            if let Some(reason) = failure["reason"].as_str() {
                let text = |key: &str| table::shown(failure[key].as_str().unwrap_or_default());
                print::line(format_args!(
                    "{}: {} failed the event `{}` of {} at {}, and was taken back: {}",
                    table::shown(deploy["target"].as_str().unwrap_or_default()),
                    short(&failure["hash"]),
                    text("event"),
                    text("place"),
                    time(&failure["at"]),
                    table::shown(reason),
                ))?;
            }
        }
        Ok(())
    })
}

/// A row for each version of a target.
fn rows(deploy: &Value) -> Vec<Vec<String>> {
    let items = |key: &str| deploy[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let rooms = |hash: &Value, key: &str| {
        let found = items("rooms").iter().find(|rooms| rooms["hash"] == *hash);
        found.map_or("0".to_owned(), |rooms| rooms[key].to_string())
    };
    let row = |version: &Value, state: String| {
        let target = deploy["target"].as_str().unwrap_or_default().to_owned();
        let hash = &version["hash"];
        let (running, migrated) = (rooms(hash, "rooms"), rooms(hash, "migrated"));
        vec![target, short(hash).to_owned(), state, time(&version["since"]), running, migrated]
    };
    let (version, candidate) = (&deploy["version"], &deploy["candidate"]);
    let configured = |version: &Value| if version["configured"] == true { ", of the configuration" } else { "" };
    let mut rows = vec![row(version, format!("runs{}", configured(version)))];
    if !candidate.is_null() {
        let share = match (&candidate["settles_after_s"], candidate["pattern"].as_str()) {
            (Value::Number(seconds), _) => format!("watched for {seconds} s"),
            (_, Some(pattern)) => format!("{} % of {pattern}", candidate["percent"]),
            _ => format!("{} % of the rooms", candidate["percent"]),
        };
        rows.push(row(candidate, format!("deploying, {share}")));
    }
    let is_shown = |hash: &Value| *hash == version["hash"] || *hash == candidate["hash"];
    let earlier = items("versions").iter().filter(|version| !is_shown(&version["hash"]));
    rows.extend(earlier.map(|version| row(version, format!("kept{}", configured(version)))));
    let is_kept = |hash: &Value| items("versions").iter().any(|version| version["hash"] == *hash);
    let running = items("rooms").iter().filter(|rooms| rooms["rooms"].as_u64() > Some(0));
    let older = running.filter(|rooms| !is_shown(&rooms["hash"]) && !is_kept(&rooms["hash"]));
    rows.extend(older.map(|rooms| row(rooms, "until the next event".into())));
    rows
}

/// A time in Unix milliseconds, for people.
fn time(millis: &Value) -> String {
    let Some(millis) = millis.as_u64() else { return String::new() };
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(millis);
    humantime::format_rfc3339_seconds(time).to_string()
}
