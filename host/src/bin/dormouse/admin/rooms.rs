//! `dormouse rooms`: lists rooms, shows one, and acts on one.

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Value, json};

use super::room_file;
use super::table::{self, ago, count_of, size, text, until};
use super::{AdminArgs, AdminClient, path, whole};
use crate::print;

/// The arguments of `dormouse rooms`.
#[derive(Args)]
pub(crate) struct Rooms {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List rooms
    List(List),
    /// Show a room: its sockets, timers, posts, last failures, and why it is awake
    Show(One),
    /// Print the storage of a room, a page at a time
    Storage(Storage),
    /// Close all sockets of a room; their clients may come back
    Close(Close),
    /// Send a text to all clients of a room
    Broadcast(Broadcast),
    /// Drop the instance of a room now; its sockets stay open
    Sleep(One),
    /// Delete a room for good: its storage, timers and posts
    Delete(Delete),
    /// Print a room as JSON lines: its storage, its timers and its posts
    Export(room_file::Export),
    /// Make a room from what `rooms export` printed, read from stdin
    Import(room_file::Import),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    admin: AdminArgs,
    /// Only this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only names that begin with this
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// Only rooms that are awake
    #[arg(long, conflicts_with = "asleep")]
    awake: bool,
    /// Only rooms that sleep
    #[arg(long)]
    asleep: bool,
    /// The order. All but `name` show only rooms in memory
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    sort: Sort,
    #[command(flatten)]
    page: Page,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sort {
    Name,
    Sockets,
    Cpu,
    Memory,
    Storage,
    Messages,
    Active,
    Awake,
}

/// Which part of a list.
#[derive(Args)]
pub(super) struct Page {
    /// The most lines, 1 to 1000
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Go on behind an earlier page
    #[arg(long, value_name = "NEXT", allow_hyphen_values = true)]
    after: Option<String>,
}

#[derive(Args)]
struct One {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    room: Room,
}

#[derive(Args)]
struct Room {
    /// The room, such as ROOMS/lobby
    #[arg(value_name = "NAMESPACE/NAME", value_parser = address)]
    room: (String, String),
}

#[derive(Args)]
struct Storage {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    room: Room,
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prefix: Option<String>,
    /// How values are shown
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Show long values whole
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    page: Page,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// As text where they are UTF-8
    Text,
    /// As JSON where they are JSON
    Json,
    /// In hexadecimal digits
    Hex,
}

#[derive(Args)]
struct Close {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    room: Room,
    /// The reason that clients see, at most 123 bytes
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Args)]
struct Broadcast {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    room: Room,
    /// The message as clients receive it: for chat rooms, JSON
    #[arg(value_name = "TEXT")]
    text: String,
}

#[derive(Args)]
struct Delete {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    room: Room,
    /// Close its sockets first; without this a room with sockets is refused
    #[arg(long)]
    force: bool,
}

fn address(text: &str) -> Result<(String, String), String> {
    let (namespace, name) = text.split_once('/').ok_or("a room is named as NAMESPACE/NAME, such as ROOMS/lobby")?;
    Ok((namespace.into(), name.into()))
}

impl Page {
    pub(super) fn parameters(&self) -> [(&'static str, Option<String>); 2] {
        [("limit", Some(self.limit.to_string())), ("after", self.after.clone())]
    }
}

/// Says how to get the next page, if there is one.
pub(super) fn print_next(answer: &Value) -> anyhow::Result<()> {
    match answer["next"].as_str() {
        Some(next) => match table::as_argument(next) {
            Some(next) => print::line(format_args!("More follow: add --after={next}")),
            None => print::line("More follow, behind a name that a terminal cannot show: --json has it as `next`"),
        },
        None => Ok(()),
    }
}

impl Room {
    /// The path of the room, or of something of it.
    fn path(&self, of: &[&str], parameters: &[(&str, Option<String>)]) -> String {
        let (namespace, name) = &self.room;
        path(&[&["rooms", namespace, name][..], of].concat(), parameters)
    }

    async fn act(&self, client: &AdminClient, action: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        whole(client.send(Method::POST, &self.path(&[action], &[]), body.into()).await?).await
    }
}

/// Runs the command.
pub(crate) fn run(args: &Rooms) -> anyhow::Result<()> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Show(args) => show(args),
        Command::Storage(args) => storage(args),
        Command::Export(args) => room_file::export(args),
        Command::Import(args) => room_file::import(args),
        Command::Close(args) => args.admin.run(async |client| {
            let body = args.reason.as_ref().map(|reason| json!({ "reason": reason }));
            let answer = args.room.act(client, "close", body).await?;
            args.admin.print(&answer, |answer| print::line(table::closed_sockets(answer)))
        }),
        Command::Broadcast(args) => args.admin.run(async |client| {
            let answer = args.room.act(client, "broadcast", Some(json!({ "text": args.text }))).await?;
            args.admin
                .print(&answer, |answer| print::line(format_args!("sent to {}", count_of(answer, "sockets", "socket"))))
        }),
        Command::Sleep(args) => args.admin.run(async |client| {
            let answer = args.room.act(client, "sleep", None).await?;
            args.admin.print(&answer, |answer| {
                let state = match (answer["asleep"].as_bool(), answer["wasAwake"].as_bool()) {
                    (Some(true), Some(true)) => "asleep",
                    (Some(true), _) => "it was asleep already",
                    _ => "still awake; it sleeps when its turn is over",
                };
                print::line(state)?;
                print_reasons("woken soon by", answer)
            })
        }),
        Command::Delete(args) => args.admin.run(async |client| {
            let force = args.force.then(|| "true".into());
            let path = args.room.path(&[], &[("force", force)]);
            let answer = whole(client.send(Method::DELETE, &path, Default::default()).await?).await?;
            args.admin.print(&answer, |answer| {
                let closed = answer["closed"].as_u64().filter(|closed| *closed > 0);
                let closed = closed.map(|closed| format!("; sockets that were closed: {closed}")).unwrap_or_default();
                print::line(format_args!("{} is deleted{closed}", table::shown(&text(answer, "deleted"))))
            })
        }),
    }
}

fn list(args: &List) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let sort = args.sort.to_possible_value().map(|sort| sort.get_name().to_owned());
        let awake = (args.awake || args.asleep).then(|| args.awake.to_string());
        let namespace = ("namespace", args.namespace.clone());
        let [limit, after] = args.page.parameters();
        let parameters = [namespace, ("prefix", args.prefix.clone()), ("awake", awake), ("sort", sort), limit, after];
        let answer = client.get(&path(&["rooms"], &parameters)).await?;
        args.admin.print(&answer, |answer| {
            let is_cluster = answer["missing"].is_array();
            let row = |room: &Value| {
                let state = match (room["awake"].as_bool(), room["inMemory"].as_bool()) {
                    (Some(true), _) => "awake",
                    (_, Some(true)) => "asleep",
                    _ => "on disk",
                };
                let mut columns = vec![text(room, "room"), state.into()];
                columns.extend(is_cluster.then(|| text(room, "node")));
                columns.extend([
                    text(room, "sockets"),
                    rate(&room["messagesPerSecond"]),
                    percent(&room["cpuShare"]),
                    size(&room["memoryBytes"]),
                    size(&room["storageBytes"]),
                    ago(&room["lastEventAt"]),
                ]);
                columns
            };
            let rows = answer["rooms"].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
            let mut heading = vec!["ROOM", "STATE"];
            heading.extend(is_cluster.then_some("NODE"));
            heading.extend(["SOCKETS", "MSG/S", "CPU", "MEMORY", "STORAGE", "LAST EVENT"]);
            table::print_table(&heading, &rows)?;
            table::print_missing(answer)?;
            print_next(answer)
        })
    })
}

fn rate(value: &Value) -> String {
    format!("{:.1}", value.as_f64().unwrap_or_default())
}

fn percent(value: &Value) -> String {
    format!("{:.1} %", value.as_f64().unwrap_or_default() * 100.0)
}

fn show(args: &One) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let answer = client.get(&args.room.path(&[], &[])).await?;
        args.admin.print(&answer, print_room)
    })
}

fn print_room(room: &Value) -> anyhow::Result<()> {
    let flag = |key: &str| room[key].as_bool().unwrap_or_default();
    let state = match (flag("awake"), flag("inMemory")) {
        (true, _) => format!("awake for {}", table::since(&room["since"])),
        (_, true) => format!("asleep for {}, in memory", table::since(&room["since"])),
        _ => "asleep, on disk".into(),
    };
    let entries = match flag("moreEntries") {
        true => format!("{} or more entries", text(room, "entries")),
        false => count_of(room, "entries", "entry"),
    };
    let node = room["node"].as_u64().map(|node| format!(", at node {node}")).unwrap_or_default();
    let facts = [
        ("room", text(room, "room")),
        ("state", format!("{state}{node}")),
        ("component", format!("{}, contract {}", text(room, "component"), text(room, "contract"))),
        ("version", text(room, "version")),
        ("storage", format!("{} in {entries}", size(&room["storageBytes"]))),
        ("commit", format!("{}, incarnation {}", text(room, "commit"), text(room, "incarnation"))),
        ("data", format!("version {}", text(room, "dataVersion"))),
        ("last event", ago(&room["lastEventAt"])),
        ("events", format!("{}, {} a second", text(room, "events"), rate(&room["eventsPerSecond"]))),
        ("messages", format!("{}, {} a second", text(room, "messages"), rate(&room["messagesPerSecond"]))),
        ("CPU", format!("{} ms, {}", text(room, "cpuMs"), percent(&room["cpuShare"]))),
        ("memory", size(&room["memoryBytes"])),
        ("sockets", text(room, "sockets")),
        ("timers", text(room, "timers")),
        ("posts", text(room, "posts")),
        ("failures", text(room, "failures")),
    ];
    for (name, fact) in facts {
        print::line(format_args!("{name:<12}{}", table::shown(&fact)))?;
    }
    print_reasons("awake because of", room)?;
    if flag("busy") {
        print::line("It is busy and did not show its sockets, timers and posts: try again.")?;
    }
    let section = |key: &str, heading: &[&str], row: &dyn Fn(&Value) -> Vec<String>| {
        let rows = room[key].as_array().into_iter().flatten().map(row).collect::<Vec<_>>();
        if rows.is_empty() {
            return Ok(());
        }
        print::line("")?;
        table::print_table(heading, &rows)
    };
    section("clients", &["SOCKET", "USER", "NAME", "KIND", "CONNECTED", "QUEUED", "TAGS"], &|client| {
        let tags = client["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
        vec![
            text(client, "id"),
            text(client, "user"),
            text(client, "userName"),
            text(client, "kind"),
            ago(&client["since"]),
            size(&client["queuedBytes"]),
            tags.join(" "),
        ]
    })?;
    section("nextTimers", &["TIMER", "DUE", "FAILURES"], &|timer| {
        vec![text(timer, "name"), until(&timer["dueAt"]), text(timer, "failures")]
    })?;
    section("waitingPosts", &["POST TO", "TRIED", "FAILURES", "SIZE"], &|post| {
        vec![text(post, "to"), until(&post["dueAt"]), text(post, "failures"), size(&post["bytes"])]
    })?;
    section("lastFailures", &["FAILED", "EVENT", "USER", "ERROR"], &|failure| {
        vec![ago(&failure["time"]), text(failure, "event"), text(failure, "user"), text(failure, "error")]
    })
}

/// Prints why a room is awake, a reason a line.
fn print_reasons(heading: &str, answer: &Value) -> anyhow::Result<()> {
    for because in answer["awakeBecause"].as_array().into_iter().flatten() {
        let reason = match because["reason"].as_str().unwrap_or_default() {
            "turn" => format!("a turn that has run for {}", table::since(&because["since"])),
            "events-waiting" => format!("waiting events: {}", because["events"]),
            "disk" => format!("turns that wait for the disk: {}", because["turns"]),
            "events" => format!("{} events a second", rate(&because["perSecond"])),
            "timer" => format!("a timer, due {}", until(&because["dueAt"])),
            "posts" => format!("posts that are not accepted yet: {}", because["waiting"]),
            "recent-event" => format!("a recent event; without another it sleeps {}", until(&because["sleepsAt"])),
            other => table::shown(other),
        };
        print::line(format_args!("{heading} {reason}"))?;
    }
    Ok(())
}

fn storage(args: &Storage) -> anyhow::Result<()> {
    args.admin.run(async |client| {
        let format = args.format.to_possible_value().map(|format| format.get_name().to_owned());
        let full = args.full.then(|| "true".into());
        let [limit, after] = args.page.parameters();
        let parameters = [("prefix", args.prefix.clone()), ("format", format), ("full", full), limit, after];
        let answer = client.get(&args.room.path(&["storage"], &parameters)).await?;
        args.admin.print(&answer, |answer| {
            for entry in answer["entries"].as_array().into_iter().flatten() {
                let key = entry["key"].as_str().map_or_else(|| format!("0x{}", text(entry, "keyHex")), table::shown);
                let value = match (entry["text"].as_str(), entry["hex"].as_str()) {
                    (Some(text), _) => table::shown(text),
                    (_, Some(hex)) => format!("0x{hex}"),
                    _ => table::shown(&entry["json"].to_string()),
                };
                let cut = entry["cut"].as_bool().unwrap_or_default();
                let cut = if cut { format!(" … ({} in all)", size(&entry["bytes"])) } else { String::new() };
                print::line(format_args!("{key} = {value}{cut}"))?;
            }
            print_next(answer)
        })
    })
}
